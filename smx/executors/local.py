"""In separate processes on this machine, several at once; goes on when the terminal closes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from smx.atomic_io import claim, load_json, read_json, write_json
from smx.errors import UserError
from smx.executors import BaseExecutor, Job, ShardStatus, start
from smx.processes import is_alive, process
from smx.states import SchedulerState

# Stands in driver.json where the driver never came up: one that comes up late finds it and leaves.
_NOBODY = 0


class Executor(BaseExecutor):
    """One detached driver process per submission works through a queue file, `slots` tasks at a time.

    (submitit's local executor sleeps 0.2 s per job, starts all of them at once, hides GPUs and stops after
    120 s unless told otherwise; a queue of plain processes is both simpler and quicker.)
    """

    poll_interval: ClassVar[float] = 0.5

    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="tasks running at once")

    def submit(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        tasks = [
            {"entry": job.entry, "folder": str(job.folder), "shard": shard, "after": [str(a) for a in job.after]}
            for job in jobs
            for shard in range(job.shards)
        ]
        if not (folder / "queue.json").exists():
            code = jobs[0].code
            about = {"submission": submission, "slots": self.slots, "code": str(code) if code else None}
            write_json(folder / "queue.json", {**about, "tasks": tasks})
            claim(folder / "driver.json", process(_spawn(folder, code)))
        return _handles(folder, jobs)

    def recover(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        if not (folder / "queue.json").exists():
            return [None] * len(jobs)
        # The launcher may have been killed with a driver started that has not drawn breath. Whoever writes
        # driver.json first decides: the driver, and the tasks are its; or this, and there never was one.
        claim(folder / "driver.json", {**process(os.getpid()), "pid": _NOBODY, "start": None})
        started = load_json(folder / "driver.json")["pid"] != _NOBODY
        return _handles(folder, jobs) if started else [None] * len(jobs)

    def poll(self, handles: Sequence[Mapping[str, Any]]) -> list[list[ShardStatus]]:
        return [[_fact(Path(h["queue"]), task) for task in range(*h["tasks"])] for h in handles]

    def cancel(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """Waiting tasks are struck from the queue, running ones get SIGTERM and end after the item in hand."""
        foreign = []
        for handle in handles:
            queue = Path(handle["queue"])
            for task in range(*handle["tasks"]):
                write_json(queue / f"task-{task}.cancel.json", {})
                started = read_json(queue / f"task-{task}.json")
                if started and is_alive(started):
                    try:
                        with contextlib.suppress(ProcessLookupError):  # it ended this very moment
                            os.killpg(started["pid"], signal.SIGTERM)
                    except PermissionError:
                        foreign.append(str(started["pid"]))
        if foreign:
            raise UserError(f"processes of another user: {', '.join(foreign)}", "only who started them can stop them")


def _spawn(folder: Path, code: Path | None) -> int:
    """Start the driver in a session of its own: closing the terminal or Ctrl-C in it does not reach it."""
    log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess.Popen, which expects to be waited for.
    return os.posix_spawn(
        sys.executable,
        [sys.executable, *start(code, "smx.executors._local_queue"), str(folder)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / "driver.log"), log, 0o666),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _handles(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
    places = {(t["folder"], t["shard"]): i for i, t in enumerate(load_json(folder / "queue.json")["tasks"])}
    first = [places[str(job.folder), 0] for job in jobs]
    return [
        {"executor": "local", "queue": str(folder), "tasks": [a, a + job.shards]}
        for a, job in zip(first, jobs, strict=True)
    ]


def _fact(queue: Path, task: int) -> ShardStatus:
    process = read_json(queue / f"task-{task}.json")
    cancelled = (queue / f"task-{task}.cancel.json").exists()
    if process is None:
        driver = read_json(queue / "driver.json")
        if driver is None:
            return ShardStatus(SchedulerState.absent, reason=f"its queue {queue} is gone")
        alive = is_alive(driver)
        if alive is None:
            return ShardStatus(SchedulerState.unknown, driver["host"], f"it runs on {driver['host']}; ask there")
        if alive:
            return ShardStatus(SchedulerState.waiting, driver["host"], "behind other tasks")
        process = read_json(queue / f"task-{task}.json")  # again: the driver may have started it and then ended
        if process is None:
            if cancelled:
                return ShardStatus(SchedulerState.cancelled, driver["host"], "cancelled before it began")
            return ShardStatus(SchedulerState.absent, driver["host"], "its driver process ended before its turn came")
    where = f"{process['host']} pid {process['pid']}"
    alive = is_alive(process)
    if alive is None:
        return ShardStatus(SchedulerState.unknown, where, f"it runs on {process['host']}; ask there")
    if alive:
        return ShardStatus(SchedulerState.running, where)
    # Asked to stop while it was still starting, it had no time to say so itself.
    return (
        ShardStatus(SchedulerState.cancelled, where, "asked to stop")
        if cancelled
        else ShardStatus(SchedulerState.ended, where)
    )
