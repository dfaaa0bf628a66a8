"""Filters as SQL: which rows, with the values bound, never pasted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Filter = str | int | Collection[str] | Collection[int] | None  # one value, several to choose from, None for all


class Where:
    """A growing `where`: `sql` is its text, `values` what is bound to it."""

    def __init__(self, wanted: Mapping[str, Filter]) -> None:
        self._clauses: list[str] = []
        self.values: list[object] = []
        for column, value in wanted.items():
            if value is not None:
                self.add(*equal(column, value))

    def add(self, clause: str, values: Sequence[object]) -> None:
        """And `clause` holds too."""
        self._clauses.append(clause)
        self.values += values

    def add_tag(self, tag: Filter) -> None:
        """And the run has this tag, or one of these."""
        if tag is not None:
            clause, values = equal("tag", tag)
            self.add(f"fingerprint in (select fingerprint from tags where {clause})", values)

    @property
    def sql(self) -> str:
        """`where … and …`, or nothing."""
        return f"where {' and '.join(self._clauses)}" if self._clauses else ""


def of_runs(filters: Mapping[str, Any]) -> Where:
    """Runs that fit: columns of `runs`, `tag`, and `since` (ISO time: made, or tried again, at or after it)."""
    where = Where({name: value for name, value in filters.items() if name not in ("tag", "since")})
    where.add_tag(filters.get("tag"))
    if since := filters.get("since"):
        tried = "fingerprint in (select fingerprint from attempts where created >= ?)"
        where.add(f"(created >= ? or {tried})", [since, since])
    return where


def equal(column: str, wanted: str | int | Collection[str] | Collection[int]) -> tuple[str, list[object]]:
    """`column = ?`, or `column in (?, …)` for several values."""
    if isinstance(wanted, str | int):
        return f"{column} = ?", [wanted]
    return f"{column} in ({', '.join('?' * len(wanted))})", list(wanted)
