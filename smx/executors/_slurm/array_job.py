"""A shard on SLURM as submitit's job: its output, its state, and a way to stop it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submitit import SlurmJob
from submitit.core.utils import JobPaths
from submitit.slurm.slurm import SlurmInfoWatcher

from smx.executors._slurm.commands import history, queue

Task = tuple[str, int, float]  # name of its array, index in that, when it was submitted (seconds since 1970)


def array_jobs(attempt: Path, handle: Mapping[str, Any]) -> list[SlurmJob[Any]]:
    """One for each shard of the attempt in this folder that SLURM took, lost answers looked up by name."""
    nameless = {name for job, _, name in handle["shards"] if name and not job}
    live = queue(nameless)[1] | history(nameless, handle["at"] - 3600)[1] if nameless else {}
    jobs: list[SlurmJob[Any]] = []
    printed = handle.get("logs") or [f"shards/{k}/log" for k in range(len(handle["shards"]))]  # of handles before these
    for (job, index, name), logs in zip(handle["shards"], printed, strict=True):
        if name and not job and (record := live.get((name, index))):
            job = record.job
        if job:
            jobs.append(ArrayJob(Path(os.path.normpath(attempt / logs)), f"{job}_{index}", name, handle["at"]))
    return jobs


class _Paths(JobPaths):
    """Where smx has a shard print; `printed`: less its ending. submitit would put the job's id into the name."""

    def __init__(self, printed: Path, job_id: str) -> None:
        super().__init__(printed.parent, job_id)
        self._printed = printed

    @property
    def stdout(self) -> Path:
        return self._printed.with_name(f"{self._printed.name}.out")

    @property
    def stderr(self) -> Path:
        return self._printed.with_name(f"{self._printed.name}.err")


class _Watcher(SlurmInfoWatcher):
    """Asks squeue and sacct for jobs by the names smx gave them.

    sacct alone says UNKNOWN where there is no accounting, and by its id a job may be another of years ago.
    """

    def __init__(self) -> None:
        super().__init__(delay_s=15)
        self._tasks: dict[str, Task] = {}  # by job id

    def follow(self, job: str, task: Task) -> None:
        if self._tasks.get(job) != task:  # the id of another, of which nothing is true any more
            self._finished.discard(job)
            self._info_dict.pop(job, None)
        self._tasks[job] = task

    def update(self) -> None:
        tasks = {job: self._tasks[job] for job in self._registered - self._finished}
        if not tasks:
            return
        self._num_calls += 1
        names = {name for name, _, _ in tasks.values()}
        since = min(at for _, _, at in tasks.values()) - 86400  # clocks differ
        for _, records in (history(names, since), queue(names)):  # what squeue lists is newer
            for job, (name, index, _) in tasks.items():
                # squeue has one entry, without an index, for an array that was cancelled before any task began
                if record := records.get((name, index)) or records.get((name, None)):
                    self._info_dict[job] = {"JobID": job, "State": record.state, "NodeList": record.node}
        self._last_status_check = time.time()
        self._finished |= {job for job in tasks if self.is_done(job, mode="cache")}


class ArrayJob(SlurmJob[Any]):
    """One shard. It has no pickled result: what it computed is in its run folder."""

    watcher = _Watcher()

    def __init__(self, printed: Path, job_id: str, name: str, at: float) -> None:
        self._task = (name, int(job_id.rpartition("_")[2]), at)
        super().__init__(printed.parent, job_id)
        self._paths = _Paths(printed, job_id)

    def _register_in_watcher(self) -> None:
        self.watcher.follow(self.job_id, self._task)
        super()._register_in_watcher()
