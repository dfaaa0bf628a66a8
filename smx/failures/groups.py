"""Equal failures together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smx.failures.kinds import group_key


@dataclass
class FailureGroup:
    """Equal failures together."""

    count: int
    kind: str
    line: str
    where: str = ""
    nodes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of what failed so
    key: str = ""

    @property
    def label(self) -> str:
        """`oom-gpu in vit.forward`, `node-fail on n042`."""
        if self.nodes:
            return f"{self.kind} on {', '.join(self.nodes[:3])}{' …' if len(self.nodes) > 3 else ''}"
        return f"{self.kind} in {self.where}" if re.fullmatch(r"[\w<>]+\.[\w<>]+", self.where) else self.kind


def group(failures: Iterable[tuple[str, Mapping[str, Any]]]) -> list[FailureGroup]:
    """Groups of (name, failure as JSON), the largest first."""
    found: dict[str, FailureGroup] = {}
    for name, failure in failures:
        where, type_ = failure.get("where", ""), failure.get("type", "")
        key = failure.get("group") or group_key(failure["kind"], failure["line"], type_, where)
        entry = found.setdefault(key, FailureGroup(0, failure["kind"], failure["line"], where, key=key))
        entry.count += 1
        entry.names.append(name)
        if failure.get("node") and failure["node"] not in entry.nodes:
            entry.nodes.append(failure["node"])
    return sorted(found.values(), key=lambda entry: (-entry.count, entry.key))


def headline(groups: Sequence[FailureGroup], most: int = 6) -> str:
    """`37 failed: 30 × oom-gpu in vit.forward, 6 × timeout, 1 × node-fail on n042`."""
    shown = ", ".join(f"{entry.count} × {entry.label}" for entry in groups[:most])
    rest = sum(entry.count for entry in groups[most:])
    return f"{sum(entry.count for entry in groups)} failed: {shown}" + (f", {rest} × other" if rest else "")
