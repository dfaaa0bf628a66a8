"""One task of an array: finds its shard in the map beside the script, works on it, and asks to be started again.

python -m smx.executors._slurm.array_task PART.json      (inside a job, in the submission's folder)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from smx.atomic_io import load_json
from smx.executors._shards import call
from smx.executors._slurm.circuit_breaker import brake_own
from smx.executors._slurm.commands import ask
from smx.runfolder import AttemptFolder, ShardFolder, now

_AGAIN = 75  # exit code of a task that was stopped before its work was done (EX_TEMPFAIL)


def main(map_file: Path) -> int:
    """Do the task this process is. Returns the exit code."""
    # Kept back until the work can answer it: by default this signal would kill the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    map_file = map_file.resolve()  # work changes folders
    part = load_json(map_file)
    index = os.environ["SLURM_ARRAY_TASK_ID"]
    task = part["tasks"][int(index)]
    attempt = Path(task["folder"])
    shard = AttemptFolder(attempt).shard(task["shard"])
    shard.path.mkdir(parents=True, exist_ok=True)
    first = int(os.environ.get("SLURM_PROCID", "0")) == 0
    starts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if first and (code := _before(shard, map_file.with_suffix("") / index, starts, part["requeue"])) is not None:
        return code
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        if os.environ.get("SLURM_JOB_NUM_NODES") == "1":
            os.environ["MASTER_ADDR"] = "127.0.0.1"  # a node's name need not be one that its own resolver knows
    os.chdir(part["cwd"])
    if not first:
        # The first rank must live to ask for another start, and one that leaves with an error takes the others along.
        return 0 if (code := call(part["entry"], attempt, task["shard"])) == _AGAIN else code
    with _preemption_watchdog(lambda: _leave_midway(shard, part, starts), part["grace"]):
        code = call(part["entry"], attempt, task["shard"])
    end = shard.exit()
    if end and end["how"] == "failed":
        brake_own(map_file.parent, map_file.stem)
    return _again(shard, part, starts) if end and end["how"] == "preempted" else code


def _before(shard: ShardFolder, printed: Path, starts: int, limit: int) -> int | None:
    """Note this start; the exit code where there is nothing (more) to do. `printed`: its output, less the ending."""
    for ending in ("out", "err"):
        with contextlib.suppress(OSError):  # it is there from an earlier start, or cannot be: the handle says it too
            (shard.path / f"log.{ending}").symlink_to(os.path.relpath(f"{printed}.{ending}", shard.path))
    job = {name: os.environ.get(f"SLURM_{name.upper()}", "") for name in ("array_job_id", "array_task_id", "job_id")}
    record = {"at": now(), "restart": starts, "node": os.environ.get("SLURMD_NODENAME", ""), **job}
    record["items"] = _recorded(shard)
    if starts and (signs := [said["at"] for said in (shard.heartbeat(), shard.exit()) if said]):
        record["until"] = max(signs)
    with (shard.path / "starts.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    end = shard.exit()
    if end is None:
        pass
    elif end["how"] in ("done", "failed"):  # its node died after the work was done
        return 0 if end["how"] == "done" else 1
    else:
        (shard.path / "exit.json").unlink()
    if starts > limit:
        shard.end("preempted", reason=f"stopped {starts} times; the site allows {limit} new starts")
        return 1
    return None


def _again(shard: ShardFolder, part: dict[str, Any], starts: int) -> int:
    """What a stopped task leaves with: it asks for another start, where one is of use and the site allows it."""
    if _no_progress(shard, part["grace"]):
        line = "no item was finished within the time limit, and none would be the next time"
        shard.end("failed", kind="timeout", line=line)
        return 1
    return _requeue(shard) if starts < part["requeue"] else _AGAIN


def _leave_midway(shard: ShardFolder, part: dict[str, Any], starts: int) -> NoReturn:
    """End this process in the middle of a call that does not come back in time; the item in hand is done again."""
    shard.end("preempted", reason="asked to make room in the middle of one long call, which was dropped")
    code = _again(shard, part, starts)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def _preemption_watchdog(leave: Callable[[], NoReturn], grace: int) -> Iterator[None]:
    """`leave`, from another thread, where the work inside cannot answer the signal for half of the grace.

    Python answers a signal between two of its own instructions, so not while one call into a library goes on.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    over, leaving = threading.Event(), threading.Lock()

    def listen() -> None:
        while said := heard.recv(64):
            if signal.SIGUSR2 in said:
                with contextlib.suppress(OSError):
                    over.wait(grace / 2)
                    with leaving:
                        if not over.is_set():
                            leave()
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        with leaving:
            over.set()
        signal.set_wakeup_fd(before)
        told.close()
        listener.join()
        heard.close()


def _no_progress(shard: ShardFolder, grace: int) -> bool:
    """Whether its time limit stopped it, and nothing was finished since this start: another would end the same way."""
    if _recorded(shard) > shard.starts()[-1]["items"]:
        return False
    said = ask(["squeue", "--noheader", f"--jobs={os.environ['SLURM_JOB_ID']}", "--format=%S %e"]).out.split()
    if len(said) != 2 or not all(word.isdigit() for word in said):
        return False
    began, limit = map(int, said)
    # The signal comes up to a minute before the grace begins; where a limit is of minutes, it has hardly begun.
    return time.time() > max(limit - grace - 90, (began + limit) / 2)


def _recorded(shard: ShardFolder) -> int:
    """How many items it has recorded, done or failed."""
    try:
        return (shard.path / "items.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _requeue(shard: ShardFolder) -> int:
    kept = {key: value for key, value in (shard.exit() or {}).items() if key not in ("how", "at")}
    shard.end("preempted", **kept, requeued=True)
    asked = subprocess.run(
        ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        shard.end("preempted", reason=f"it could not be requeued: {asked.stderr.strip()}")
    return _AGAIN


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
