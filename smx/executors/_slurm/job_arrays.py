"""Jobs into arrays: equal resources and equal producers together, none longer than the cluster takes.

A canary is an array of its own, before the others of its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smx.executors import Job
from smx.executors._slurm.options import Resources
from smx.slurm.ids import compact

Task = tuple[Job, int]  # one shard of a job
CODE = Path("code")  # beside the scripts: a link to the copy of the code that tasks run


@dataclass(frozen=True)
class Part:
    """One array, which is one sbatch."""

    number: int
    resources: Resources
    tasks: tuple[Task, ...]
    after: tuple[Path, ...]
    throttle: int | None = None  # its share
    behind: Path | None = None  # attempt folder of the canary it waits for
    at: tuple[int, ...] | None = None  # each task's index in the array; None: they are counted from 0

    @property
    def first(self) -> bool:
        """Whether it is a canary."""
        return _first(*self.tasks[0])

    @property
    def code(self) -> Path | None:
        """The copy of the code its tasks run."""
        return self.tasks[0][0].code

    @property
    def indices(self) -> tuple[int, ...]:
        """Of its tasks in the array, in their order."""
        return self.at if self.at is not None else tuple(range(len(self.tasks)))

    @property
    def array(self) -> str:
        """What `--array` is given."""
        indices = f"0-{len(self.tasks) - 1}" if self.at is None else compact(list(self.at))
        return indices + (f"%{self.throttle}" if self.throttle else "")


def one_task(resources: Resources) -> Part:
    """An array that asks for this; there is nothing to do in it."""
    return Part(0, resources, ((Job("", Path()), 0),), ())


def divide(jobs: Sequence[Job], resources: Mapping[Path, Resources], most: int) -> list[Part]:
    """Arrays of at most `most` tasks, producers before consumers. `resources` by attempt folder."""
    depth = _depths(jobs)
    groups: dict[tuple[int, str, tuple[Path, ...], Path | None, bool], list[Task]] = {}
    for job in jobs:
        ask = resources[job.folder].model_dump_json()
        for shard in range(job.shards):
            first = _first(job, shard)
            behind = None if first else job.canary
            key = (depth[job.folder, first], ask, tuple(sorted(job.after)), behind, first)
            groups.setdefault(key, []).append((job, shard))
    chunks = [
        (key, tasks[begin : begin + most])
        for key, tasks in sorted(groups.items(), key=lambda group: group[0][0])
        for begin in range(0, len(tasks), most)
    ]
    shares = _shares([("" if first else ask, len(tasks)) for (_, ask, _, _, first), tasks in chunks])
    return [
        Part(number, resources[tasks[0][0].folder], tuple(tasks), after, share, behind)
        for number, (((_, _, after, behind, _), tasks), share) in enumerate(zip(chunks, shares, strict=True))
    ]


def _first(job: Job, shard: int) -> bool:
    return job.canary == job.folder and shard == 0


def _depths(jobs: Sequence[Job]) -> dict[tuple[Path, bool], int]:
    """How many tasks of this submission stand one behind the other before a job's canary (True), and its others."""
    known = {job.folder: job for job in jobs}
    found: dict[tuple[Path, bool], int] = {}

    def depth(folder: Path, first: bool) -> int:
        if (folder, first) not in found:
            job = known[folder]
            before = [depth(a, False) for a in job.after if a in known]
            if not first and job.canary in known:
                before.append(depth(known[job.canary].folder, True))
            found[folder, first] = 1 + max(before, default=-1)
        return found[folder, first]

    return {(folder, first): depth(folder, first) for folder in known for first in (True, False)}


def _shares(parts: Sequence[tuple[str, int]]) -> list[int | None]:
    """A throttle counts per array, so arrays of equal resources divide it; each needs one at least.

    A canary ("" for its resources) is over before they begin.
    """
    found: list[int | None] = []
    for number, (ask, size) in enumerate(parts):
        throttle = Resources.model_validate_json(ask).throttle if ask else None
        if throttle is None:
            found.append(None)
            continue
        same = [k for k, (other, _) in enumerate(parts) if other == ask]
        share = throttle // len(same) + (same.index(number) < throttle % len(same))
        found.append(min(max(1, share), size))
    return found
