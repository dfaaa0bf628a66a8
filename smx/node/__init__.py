"""What a job executes: one shard of one run, from its run folder alone. Never opens the registry."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from smx import plugins
from smx.errors import Exited, UserError
from smx.node.resource_usage import Meter
from smx.node.shard import Shard, describe
from smx.node.stopping import Cancelled, Preempted
from smx.run import Item
from smx.runfolder import AttemptFolder, ShardFolder
from smx.spec import carried_out, named_plugins, recorded
from smx.states import ShardState

_BEAT = 15.0  # seconds between heartbeats while an item takes long


def main(folder: Path, index: int) -> int:
    """Work through shard `index` of the attempt in `folder`. Returns the exit code; exit.json says how it ended.

    Of several ranks (RANK of WORLD_SIZE, as torchrun and the executor slurm set them), the first one records.
    """
    attempt = AttemptFolder(folder)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    leads = ranks == 1 or os.environ.get("RANK", "0") == "0"
    target = (_FirstRank if leads else _OtherRank)(attempt.shard(index).path)
    target.begin()
    for place in attempt.plan["plugin_folders"]:
        plugins.add_folder(Path(place))
    record = attempt.run.spec
    ended = {r["item"] for r in target.items()}  # a requeued job goes on where it was
    shard = Shard(
        spec=carried_out(recorded(record), attempt.plan.get("training", {})),
        fingerprint=record["fingerprint"],
        paths=attempt.plan["paths"],
        items=[Item(**i) for i in attempt.plan["shards"][index] if i["id"] not in ended],
        attempt=attempt,
        folder=target,
        failed=sum(not r["ok"] for r in target.items()),
        done=sum(r["ok"] for r in target.items()),
        ranks=ranks,
        leads=leads,
    )
    meter = Meter(target, asked=_asks_gpus(attempt)) if leads else nullcontext()
    try:
        with _cancellable(), _heartbeat(shard), meter:
            _work(shard)
    except (KeyboardInterrupt, Cancelled) as stop:
        target.end(
            ShardState.cancelled, reason="interrupted" if isinstance(stop, KeyboardInterrupt) else "asked to stop"
        )
        if isinstance(stop, KeyboardInterrupt):
            raise
        return 130
    except Preempted:
        target.end(
            ShardState.preempted, reason="asked to make room: its time limit is near, or other work needs the node"
        )
        return 75  # for whoever can start it again
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the shard's failure, recorded whole
        target.end(ShardState.failed, **describe(Exited(error) if isinstance(error, SystemExit) else error))
        return 1
    too_many = shard.failed > _may_fail(attempt, index)
    if too_many:
        line = f"{shard.failed} of {shard.failed + shard.done} items failed"
        target.end(ShardState.failed, kind="items", line=line)
    else:
        target.end(ShardState.done, done=shard.done, failed=shard.failed)
    if leads:
        _finish(attempt)
    return 1 if too_many else 0


class _FirstRank(ShardFolder):
    """Records for all ranks; what another one failed of is not covered up by its echo in this one."""

    def end(self, how: str, **details: Any) -> None:
        if how == ShardState.done or (self.exit() or {}).get("how") != ShardState.failed:
            super().end(how, **details)


class _OtherRank(ShardFolder):
    """Leaves recording to the first rank, but for its own failure, which takes the others along."""

    def begin(self) -> None:
        pass

    def append(self, record: dict[str, Any]) -> None:
        pass

    def beat(self, state: dict[str, Any]) -> None:
        pass

    def end(self, how: str, **details: Any) -> None:
        if how == ShardState.failed and self.exit() is None:
            super().end(how, **details)


def _may_fail(attempt: AttemptFolder, index: int) -> int:
    """How many items may fail: none of a canary, or what waits for it would meet the same."""
    return 0 if index == 0 and attempt.is_canary else int(attempt.plan["max_failed"])


def _work(shard: Shard) -> None:
    _require_same_code(shard)
    if shard.spec.kind == "gen":
        from smx.node.gen import work
    elif shard.spec.kind == "train":
        from smx.node.train import work
    else:
        from smx.node.eval import work
    shard.beat()
    work(shard)


def _require_same_code(shard: Shard) -> None:
    """`UserError` where a plugin was edited between the start of the command and its copy for this job."""
    here = named_plugins(shard.spec)
    for name, identity in shard.attempt.run.spec["plugins"].items():
        if isinstance(identity, str) and here[name] != identity:
            change = plugins.change(name, identity, here[name])
            raise UserError(f"{change}: edited while the job was submitted", "type the command again")


def _asks_gpus(attempt: AttemptFolder) -> bool:
    return bool(attempt.plan.get("resources", {}).get("gpus"))


def _finish(attempt: AttemptFolder) -> None:
    """The last shard to end derives result.json; sync does it too, where no shard lived to."""
    if all(s.exit() is not None for s in attempt.shards()):
        from smx.results.derive import derive

        derive(attempt.run)


@contextmanager
def _cancellable() -> Iterator[None]:
    """Turn SIGTERM into `Cancelled` and SIGUSR2 into `Preempted` while work is done (only in a main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # leaving once is enough
        raise Cancelled if signum == signal.SIGTERM else Preempted

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR2)}
    # A signal that came earlier was kept back until there is someone to answer it.
    masked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _heartbeat(shard: Shard) -> Iterator[None]:
    """Beat while an item takes long, so that others can tell slow from dead."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            with suppress(OSError):  # a full disk ends the shard where results are written, not here
                shard.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
