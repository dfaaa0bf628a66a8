"""One task of an array: finds its shard in the map beside the script, works on it, and asks to be started again.

python -m smx.executors._slurm.array_task PART.json      (inside a job, in the submission's folder)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from smx.atomic_io import load_json
from smx.executors._shards import call
from smx.executors._slurm.circuit_breaker import brake_own
from smx.executors._slurm.task_start import note, other_job, unmet
from smx.executors._slurm.task_stop import AGAIN, ASKED, JobTimes, again, job_times, requeue
from smx.runfolder import AttemptFolder, ShardFolder


def main(map_file: Path) -> int:
    """Do the task this process is. Returns the exit code."""
    # Kept back until the work can answer it: by default this signal would kill the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    map_file = map_file.resolve()  # work changes folders
    part = load_json(map_file)
    index = os.environ["SLURM_ARRAY_TASK_ID"]
    task = part["tasks"][index]
    attempt = _at(map_file, task["folder"])
    shard = AttemptFolder(attempt).shard(task["shard"])
    shard.path.mkdir(parents=True, exist_ok=True)
    first = int(os.environ.get("SLURM_PROCID", "0")) == 0
    starts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if first and (code := _before(shard, map_file, task, starts, part)) is not None:
        return code
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        if os.environ.get("SLURM_JOB_NUM_NODES") == "1":
            os.environ["MASTER_ADDR"] = "127.0.0.1"  # a node's name need not be one that its own resolver knows
    os.chdir(part["cwd"])
    os.environ["SMX_GRACE"] = str(part["grace"])  # a training saves within a third of it
    if not first:
        # The first rank must live to ask for another start, and one that leaves with an error takes the others along.
        code = call(part["entry"], attempt, task["shard"])
        return 0 if code in (AGAIN, ASKED) else code
    with _preemption_watchdog(lambda times: _leave_midway(shard, part, starts, times), part["grace"]):
        code = call(part["entry"], attempt, task["shard"])
    end = shard.exit()
    if end and end["how"] == "failed":
        brake_own(map_file.parent, map_file.stem)
    if end and end["how"] == "preempted":
        return again(shard, part, starts, job_times())
    # With a GraceTime, SLURM asks what is preempted to stop in the same way as what somebody cancels.
    if end and end["how"] == "cancelled" and code == ASKED and (times := job_times()).preempted:
        return again(shard, part, starts, times, "other work needs its node")
    return code


def _at(map_file: Path, relative: str) -> Path:
    """A folder that the map names, as seen from the map: both move with the workspace."""
    return Path(os.path.normpath(map_file.parent / relative))


def _before(
    shard: ShardFolder, map_file: Path, task: Mapping[str, Any], starts: int, part: Mapping[str, Any]
) -> int | None:
    """Note this start; the exit code where there is nothing (more) to do."""
    if other := other_job(shard):
        sys.stderr.write(f"job {other} is at this shard already: this one ends without work\n")
        return 0
    printed = map_file.with_suffix("") / os.environ["SLURM_ARRAY_TASK_ID"]  # its output, less the ending
    for ending in ("out", "err"):
        with contextlib.suppress(OSError):  # it is there from an earlier start, or cannot be: the handle says it too
            (shard.path / f"log.{ending}").symlink_to(os.path.relpath(f"{printed}.{ending}", shard.path))
    note(shard, starts)
    end = shard.exit()
    if end is not None and end["how"] == "done":  # its node died after the work was done
        return 0
    if end is not None:  # one that failed and was started again by hand does what it has not recorded
        (shard.path / "exit.json").unlink()
    canary = task.get("behind")
    lacking = unmet([_at(map_file, name) for name in task["after"]], _at(map_file, canary) if canary else None)
    if lacking and lacking.may_come and starts < part["requeue"]:
        return requeue(shard, {"reason": lacking.reason, "cause": "dependency"})
    if lacking:
        shard.end("cancelled", reason=lacking.reason)
        return 1
    if starts > part["requeue"]:
        shard.end("preempted", reason=f"stopped {starts} times; the site allows {part['requeue']} new starts")
        return 1
    return None


def _leave_midway(shard: ShardFolder, part: dict[str, Any], starts: int, times: JobTimes) -> NoReturn:
    """End this process in the middle of a call that does not come back in time; the item in hand is done again."""
    shard.end("preempted", reason="asked to make room in the middle of one long call, which was dropped")
    code = again(shard, part, starts, times)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def _preemption_watchdog(leave: Callable[[JobTimes], NoReturn], grace: int) -> Iterator[None]:
    """`leave`, from another thread, where the work inside cannot answer the signal for half of the grace.

    Python answers a signal between two of its own instructions, so not while one call into a library goes on.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    over, leaving = threading.Event(), threading.Lock()

    def listen() -> None:
        while signals := heard.recv(64):
            if signal.SIGUSR2 not in signals and signal.SIGTERM not in signals:
                continue
            with contextlib.suppress(OSError):
                began, times = time.time(), job_times()
                if signal.SIGUSR2 not in signals and not times.preempted:
                    return  # somebody cancelled it
                left = max(0.0, times.end - began) if times.preempted and times.end else float(grace)
                over.wait(max(0.0, left / 2 - (time.time() - began)))
                with leaving:
                    if not over.is_set():
                        leave(times)
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
