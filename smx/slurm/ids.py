"""Job ids in all the forms that squeue, sacct and sbatch print."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(
    r"(?P<job>\d+)"
    r"(?:\+(?P<part>\d+))?"
    r"(?:_(?:(?P<index>\d+)|\[(?P<list>[^\]]*)\]?))?"
    r"(?:\.(?P<step>.+))?"
)


@dataclass(frozen=True)
class JobId:
    """`123`, `123_4`, `123_[5-9,12%3]`, `123+0` (a part of a heterogeneous job), each also with `.step`."""

    job: str
    indices: tuple[int, ...] | None = None  # None where it is no array
    part: int | None = None
    step: str | None = None
    whole: bool = True  # False where a long list of indices was cut short ("...")


def parse(text: str) -> JobId | None:
    """The id in `text`, or None where it is none."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    indices: tuple[int, ...] | None = None
    whole = True
    if found["index"] is not None:
        indices = (int(found["index"]),)
    elif found["list"] is not None:
        listed = ranges(found["list"])
        if listed is None:
            return None
        indices, whole = listed
    part = None if found["part"] is None else int(found["part"])
    return JobId(found["job"], indices, part, found["step"], whole)


def ranges(text: str) -> tuple[tuple[int, ...], bool] | None:
    """`5-9,12%3` or `0-8:2` as indices, and whether all were listed; None for anything else."""
    found: list[int] = []
    for piece in text.partition("%")[0].split(","):
        if piece.strip() in ("...", ""):
            return tuple(found), False
        bounds = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", piece.strip())
        if bounds is None:
            return (tuple(found), False) if piece.strip().endswith("...") else None
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        found += range(first, last + 1, max(1, int(bounds[3] or 1)))
    return tuple(found), True


def compact(indices: list[int]) -> str:
    """Indices as `--array` takes them: [0, 1, 2, 5] -> `0-2,5`."""
    pieces: list[list[int]] = []
    for index in sorted(set(indices)):
        if pieces and index == pieces[-1][1] + 1:
            pieces[-1][1] = index
        else:
            pieces.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pieces)
