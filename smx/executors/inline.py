"""In this process, one run after the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PrivateAttr

from smx.executors import BaseExecutor, Job, ShardStatus
from smx.executors._shards import call, skip, standing
from smx.processes import is_alive, this_process
from smx.runfolder import AttemptFolder
from smx.states import SchedulerState

_STOPPED = 130  # what a job returns when it was asked to stop
_WAIT = 1.0  # seconds between looks at a producer that another process is working on


class Executor(BaseExecutor):
    """Work is done by `drive`; Ctrl-C ends the item in hand and cancels what has not begun."""

    poll_interval: ClassVar[float] = 0.5
    in_process: ClassVar[bool] = True

    _jobs: list[Job] = PrivateAttr(default_factory=list)

    def submit(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        self._jobs.extend(jobs)
        return [{"executor": "inline", "process": this_process(), "shards": job.shards} for job in jobs]

    def recover(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        return [None] * len(jobs)  # the process that would have done the work is gone

    def drive(self) -> None:
        try:
            while self._jobs:
                _work(self._jobs[0])
                self._jobs.pop(0)  # only now: of a job that is interrupted, what has not begun is cancelled below
        finally:
            for job in self._jobs:  # interrupted
                for shard in range(job.shards):
                    if AttemptFolder(job.folder).shard(shard).exit() is None:
                        skip(job.folder, shard, "interrupted before it began")
            self._jobs.clear()

    def poll(self, handles: Sequence[Mapping[str, Any]]) -> list[list[ShardStatus]]:
        return [[_fact(handle["process"])] * handle["shards"] for handle in handles]

    def cancel(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """An inline run ends with its own process: interrupt that one (Ctrl-C)."""


def _work(job: Job) -> None:
    waiting = threading.Event()
    for producer in job.after:
        while (state := standing(producer)) == "live":
            waiting.wait(_WAIT)
        if state == "bad":
            for shard in range(job.shards):
                skip(job.folder, shard, f"dependency {producer.parent.parent.name} did not succeed")
            return
    for shard in range(job.shards):
        if call(job.entry, job.folder, shard) == _STOPPED:
            raise KeyboardInterrupt  # SIGTERM means this whole process, like Ctrl-C, not just the shard in hand


def _fact(process: Mapping[str, Any]) -> ShardStatus:
    where = f"{process['host']} pid {process['pid']}"
    alive = is_alive(dict(process))
    if alive is None:
        return ShardStatus(SchedulerState.unknown, where, f"it runs inside a process on {process['host']}; ask there")
    return ShardStatus(SchedulerState.running if alive else SchedulerState.ended, where)
