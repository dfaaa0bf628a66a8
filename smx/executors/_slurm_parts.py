"""Jobs into arrays: equal resources and equal producers together, none longer than the cluster takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smx.executors import Job
from smx.executors._slurm_options import Resources

Task = tuple[Job, int]  # one shard of a job


@dataclass(frozen=True)
class Part:
    """One array, which is one sbatch."""

    number: int
    resources: Resources
    tasks: tuple[Task, ...]
    after: tuple[Path, ...]
    throttle: int | None = None  # its share

    @property
    def array(self) -> str:
        """What `--array` is given."""
        return f"0-{len(self.tasks) - 1}" + (f"%{self.throttle}" if self.throttle else "")


def divide(jobs: Sequence[Job], resources: Mapping[Path, Resources], most: int) -> list[Part]:
    """Arrays of at most `most` tasks, producers before consumers. `resources` by attempt folder."""
    depth = _depths(jobs)
    groups: dict[tuple[int, str, tuple[Path, ...]], list[Task]] = {}
    for job in jobs:
        ask = resources[job.folder]
        key = (depth[job.folder], ask.model_dump_json(), tuple(sorted(job.after)))
        groups.setdefault(key, []).extend((job, shard) for shard in range(job.shards))
    chunks = [
        (key, tasks[first : first + most])
        for key, tasks in sorted(groups.items(), key=lambda group: group[0][0])
        for first in range(0, len(tasks), most)
    ]
    shares = _shares([(ask, len(tasks)) for (_, ask, _), tasks in chunks])
    return [
        Part(number, resources[tasks[0][0].folder], tuple(tasks), after, share)
        for number, (((_, _, after), tasks), share) in enumerate(zip(chunks, shares, strict=True))
    ]


def _depths(jobs: Sequence[Job]) -> dict[Path, int]:
    """How many producers of this submission stand one behind the other before a job."""
    known = {job.folder: job for job in jobs}
    found: dict[Path, int] = {}

    def depth(job: Job) -> int:
        if job.folder not in found:
            found[job.folder] = 1 + max((depth(known[a]) for a in job.after if a in known), default=-1)
        return found[job.folder]

    return {job.folder: depth(job) for job in jobs}


def _shares(parts: Sequence[tuple[str, int]]) -> list[int | None]:
    """A throttle counts per array, so arrays of equal resources divide it; each needs one at least."""
    found: list[int | None] = []
    for number, (ask, size) in enumerate(parts):
        throttle = Resources.model_validate_json(ask).throttle
        if throttle is None:
            found.append(None)
            continue
        same = [k for k, (other, _) in enumerate(parts) if other == ask]
        share = throttle // len(same) + (same.index(number) < throttle % len(same))
        found.append(min(max(1, share), size))
    return found
