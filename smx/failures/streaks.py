"""The same failure again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# These say nothing of what the next job will meet.
_ITS_OWN = {"cancelled", "dependency", "preempted", "node-fail", "submit"}


@dataclass(frozen=True)
class Streak:
    """Failures without anything else in between."""

    count: int
    kind: str
    line: str
    group: str  # the key they share, `group_key`


def streak(ends: Iterable[tuple[str, Mapping[str, Any] | None]]) -> Streak | None:
    """The last failures among `ends`, where they are the same one; None where the last one ended well.

    `ends`: when each ended (ISO time), and its failure as JSON, None where there was none.
    """
    found: Streak | None = None
    for _, failure in sorted(ends, key=lambda end: end[0], reverse=True):
        if failure is not None and failure["kind"] in _ITS_OWN:
            continue
        if failure is None or (found and failure["group"] != found.group):
            break
        kind, line, group = str(failure["kind"]), str(failure["line"]), str(failure["group"])
        found = Streak(1 + (found.count if found else 0), kind, line, group)
    return found
