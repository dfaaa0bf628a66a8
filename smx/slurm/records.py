"""Lines of squeue and sacct as records, one per array task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from smx.slurm import ids, states

# `%j` is a name smx gave, and the reason comes last: the only field that might hold the separator.
SQUEUE = "%F|%K|%T|%V|%S|%N|%j|%r"
# The job's name comes last for the same reason.
SACCT = ("JobID", "State", "ExitCode", "Submit", "Start", "End", "NodeList", "MaxRSS", "JobName")
_OVER = states.KNOWN - states.WAITING - states.RUNNING


@dataclass(frozen=True)
class Step:
    """One step of a job: the batch script, or an srun."""

    name: str
    state: str
    exit: str = ""  # "code:signal"
    rss: int | None = None  # bytes, at its largest


@dataclass(frozen=True)
class Record:
    """What one line says about one array task. Times are seconds since 1970."""

    job: str
    index: int | None
    state: str
    name: str = ""
    by: str = ""  # who cancelled
    exit: str = ""  # "code:signal"; means nothing before the job has ended
    submitted: int | None = None
    started: int | None = None
    ended: int | None = None
    node: str = ""
    reason: str = ""
    steps: tuple[Step, ...] = field(default=())


def squeue(text: str) -> list[Record]:
    """Records of `squeue --noheader --format=SQUEUE`. A line that is not understood is left out."""
    found = []
    for line in text.splitlines():
        parts = line.split("|", 7)
        if len(parts) < 8:
            continue
        job, index, state, submitted, started, node, name, reason = (part.strip() for part in parts)
        if not job.isdigit():
            continue
        state, by = states.word(state)
        one = int(index) if index.isdigit() else None
        base = Record(job, one, state, name, by, "", _time(submitted), _time(started), None, _named(node), reason)
        listed = None if one is not None else ids.ranges(index.strip("[]"))
        found += [replace(base, index=k) for k in listed[0]] if listed and listed[0] else [base]
    return found


def sacct(text: str) -> list[Record]:
    """Records of `sacct --parsable2 --noheader --format=SACCT`; those of jobs that are over with their steps.

    With --duplicates a requeued task has several, oldest first here. A line that is not understood is left out.
    """
    jobs: list[Record] = []
    steps: dict[int, list[Step]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("|")
        name, _, step = name.partition(".")
        if step and not (jobs and jobs[-1].state in _OVER):
            continue  # a step follows its job; of one that goes on they are not read: there may be many
        parts = rest.split("|", len(SACCT) - 2)
        if len(parts) < len(SACCT) - 1 or (job := ids.parse(name)) is None:
            continue
        word, code, submitted, started, ended, node, rss, called = map(str.strip, parts)
        state, by = states.word(word)
        if step:
            steps.setdefault(len(jobs) - 1, []).append(Step(step, state, code, size(rss)))
            continue
        index = job.indices[0] if job.indices else None
        times = _time(submitted), _time(started), _time(ended)
        base = Record(job.job, index, state, called, by, code, *times, _named(node))
        jobs += [base, *(replace(base, index=k) for k in (job.indices or ())[1:])]
    whole = [replace(job, steps=tuple(steps[k])) if k in steps else job for k, job in enumerate(jobs)]
    return sorted(whole, key=lambda r: (r.job, r.index or 0, r.submitted or 0, r.started or 2**62))


def newest(records: Iterable[Record]) -> dict[tuple[str, int | None], Record]:
    """The last record of each (name, index): a job that was started again counts as it is now.

    Of two jobs with one name, made by one script, the one that is not over counts.
    """
    found: dict[tuple[str, int | None], Record] = {}
    for record in records:
        before = found.get((record.name, record.index))
        if before and before.job != record.job and before.state not in _OVER and record.state in _OVER:
            continue
        found[record.name, record.index] = record
    return found


def garbled(text: str) -> str:
    """The first line of squeue's that is neither a record nor a site's news, which has no separators; "" if none."""
    lines = (line for line in text.splitlines() if "|" in line)
    return next((line for line in lines if not (parts := line.split("|", 7))[7:] or not parts[0].strip().isdigit()), "")


def size(text: str) -> int | None:
    """`3501608K`, `1.5G`, `4G`, `0` in bytes; None where it says nothing."""
    text = text.strip().upper().removesuffix("B")
    unit = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50}.get(text[-1:])
    try:
        return int(float(text[:-1] if unit else text) * 2 ** (unit or 0))
    except ValueError:
        return None


def _time(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _named(node: str) -> str:
    return "" if node in ("None assigned", "(null)", "n/a") else node
