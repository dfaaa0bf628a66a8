"""Jobs into arrays: as few as there can be, none longer than the cluster takes, and together no wider than a throttle.

Tasks that wait for one task each make an array beside the one they wait for, index by index (`aftercorr`). A canary is
an array of its own, before the others of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    throttle: int | None = None  # how many of its tasks run at once
    behind: Path | None = None  # attempt folder of the canary it waits for
    at: tuple[int, ...] | None = None  # each task's index in the array; None: they are counted from 0
    beside: int | None = None  # number of the array whose tasks with the same indices its tasks wait for
    turn: tuple[int, ...] = ()  # numbers of arrays that have to be over, however they end: a throttle is theirs first

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


@dataclass(frozen=True)
class _Stage:
    """What tasks of one array have in common."""

    depth: int
    ask: str  # resources, as JSON
    behind: Path | None
    first: bool  # whether it is a canary


def divide(
    jobs: Sequence[Job], resources: Mapping[Path, Resources], most: int, scopes: Mapping[Path, str] | None = None
) -> list[Part]:
    """Arrays of at most `most` tasks, producers before consumers. `resources` by attempt folder.

    A throttle holds for all tasks of one of `scopes`, by attempt folder; without them, for all together.
    """
    depth = _depths(jobs)
    written = {id(asked): asked.model_dump_json() for asked in {id(r): r for r in resources.values()}.values()}
    stages: dict[_Stage, list[Task]] = {}
    for job in jobs:
        for shard in range(job.shards):
            first = _first(job, shard)
            ask = written[id(resources[job.folder])]
            stage = _Stage(depth[job.folder, first], ask, None if first else job.canary, first)
            stages.setdefault(stage, []).append((job, shard))
    parts: list[Part] = []
    single = {job.folder for job in jobs if job.shards == 1}
    for stage, tasks in sorted(stages.items(), key=lambda entry: entry[0].depth):
        placed = {
            task[0].folder: (part.number, k) for part in parts for k, task in zip(part.indices, part.tasks, strict=True)
        }
        for members, at, beside in _arrays(tasks, {f: placed[f] for f in placed.keys() & single}, most):
            after = () if beside is not None else tuple(sorted(members[0][0].after))
            asked = resources[members[0][0].folder]
            parts.append(Part(len(parts), asked, tuple(members), after, None, stage.behind, at, beside))
    depths = [depth[part.tasks[0][0].folder, part.first] for part in parts]
    return _throttled(parts, depths, scopes or {})


def _arrays(
    tasks: Sequence[Task], placed: Mapping[Path, tuple[int, int]], most: int
) -> Iterator[tuple[list[Task], tuple[int, ...] | None, int | None]]:
    """Tasks of one stage as arrays: members, their indices, the array they stand beside.

    `placed`: (number of its array, index) of each job of one task.
    """
    waiting: dict[tuple[Path, ...], list[Task]] = {}  # by what they wait for
    for task in tasks:
        waiting.setdefault(tuple(sorted(task[0].after)), []).append(task)
    beside: dict[int, list[tuple[Path, ...]]] = {}
    for after in waiting:
        if len(after) == 1 and after[0] in placed:
            beside.setdefault(placed[after[0]][0], []).append(after)
    for number, group in sorted(beside.items()):
        layers = max(len(waiting[after]) for after in group)
        if layers >= len(group):  # one array for each producer is as few
            continue
        for layer in range(layers):
            rows = sorted(
                ((placed[after[0]][1], waiting[after][layer]) for after in group if layer < len(waiting[after])),
                key=lambda row: row[0],
            )
            yield [task for _, task in rows], tuple(index for index, _ in rows), number
        for after in group:
            del waiting[after]
    for members in waiting.values():
        for begin in range(0, len(members), most):
            yield members[begin : begin + most], None, None


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


def _throttled(parts: Sequence[Part], depths: Sequence[int], scopes: Mapping[Path, str]) -> list[Part]:
    """With a throttle each: those of arrays that run at once add up to no more than theirs. A canary takes none.

    Where not all fit, the arrays of a stage wait until those before are over: each has the whole throttle then, which
    a share of it for everything at once would leave unused.
    """
    found = list(parts)
    together: dict[tuple[str, int], list[Part]] = {}
    for part in parts:
        if (throttle := part.resources.throttle) and not part.first:
            together.setdefault((scopes.get(part.tasks[0][0].folder, ""), throttle), []).append(part)
    for (_, throttle), sharing in together.items():
        wave: list[Part] = []
        waves = [wave]
        alone = sum(len(part.tasks) for part in sharing) <= throttle
        for part in sharing:
            other_stage = wave and depths[part.number] != depths[wave[0].number] and not alone
            if other_stage or len(wave) == throttle:
                wave = []
                waves.append(wave)
            wave.append(part)
        for k, wave in enumerate(waves):
            turn = tuple(part.number for part in waves[k - 1]) if k else ()
            for part, share in zip(wave, _shares([len(part.tasks) for part in wave], throttle), strict=True):
                found[part.number] = replace(part, throttle=share, turn=turn)
    return found


def _shares(sizes: Sequence[int], throttle: int) -> list[int]:
    """At least 1 each, none more than its size, `throttle` together at most; small ones leave theirs to others."""
    shares = [0] * len(sizes)
    left = throttle
    while left and (open_ := [k for k, size in enumerate(sizes) if shares[k] < size]):
        for k in open_[:left]:
            shares[k] += 1
        left -= min(left, len(open_))
    return shares
