"""Runs in a list: how each stands, its score, loss and time, and whatever tells runs of one name apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from smx import plugins
from smx.dotted import flat
from smx.errors import UserError, unknown
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.workspace import Workspace

METRIC = "all.micro"  # of the bench's first scorer: the number a list shows
FIXED = ("run", "state", "items", "score", "loss", "took", "tags", "note", "made")
_BIGGEST_FIRST = ("score", "made")
_FIELDS = ("kind", "fingerprint", "state", "variant", "sampler", "frames", "bench", "dataset", "seed", "items", "done")


@dataclass(frozen=True)
class Listed:
    """One line of the list. `score`: value and interval, 0 to 1; `took`: seconds of its attempts' work, one by one."""

    row: RunRow
    score: tuple[float, float | None, float | None] | None = None
    loss: float | None = None
    took: float | None = None
    tags: Sequence[str] = ()
    note: str = ""  # the newest
    keys: Mapping[str, Any] = field(default_factory=dict)  # its spec's leaves

    def value(self, column: str) -> Any:
        """What a column holds of this run, as it is sorted by; None where it has nothing."""
        row = self.row
        own = {
            "run": row.title,
            "state": str(row.state),
            "items": row.done,
            "score": self.score and self.score[0],
            "loss": self.loss,
            "took": self.took,
            "tags": ", ".join(self.tags) or None,
            "note": self.note or None,
            "made": row.created,
        }
        return own[column] if column in own else self.keys.get(column)

    def json(self) -> dict[str, Any]:
        """For programs."""
        value, low, high = self.score or (None, None, None)
        return {
            **run_json(self.row),
            "score": None if value is None else {"metric": METRIC, "value": value, "ci": [low, high]},
            "loss": self.loss,
            "seconds": self.took,
            "tags": list(self.tags),
            "note": self.note,
        }


def run_json(row: RunRow) -> dict[str, Any]:
    """A run for programs."""
    fields = {name: getattr(row, name) for name in (*_FIELDS, "failed", "created")}
    return {"run": row.title, **fields, "labels": dict(row.labels)}


def listed(
    workspace: Workspace, registry: Registry, filters: Mapping[str, Any], *, sort: str, experiment: str, limit: int
) -> tuple[list[Listed], int]:
    """The runs that fit, at most `limit` of them, and how many fit in all.

    `sort`: a column of `FIXED` or a key of specs; scores and dates from the biggest, all else from the smallest, and
    runs without it at the end. `experiment`: the matrix they were asked for by, "" for all. `UserError` for a key that
    no run has.
    """
    rows = registry.runs(**filters)
    if experiment:
        rows = [row for row in rows if experiment in row.labels.get("experiment", ())]
    if sort == "made":
        return _lines(workspace, registry, rows[:limit]), len(rows)
    lines = _lines(workspace, registry, rows)
    _require_columns([sort], lines)
    having = [line for line in lines if line.value(sort) is not None]
    try:
        having.sort(key=lambda line: line.value(sort), reverse=sort in _BIGGEST_FIRST)
    except TypeError:  # of several kinds, like a list and a word
        having.sort(key=lambda line: json.dumps(line.value(sort)))
    return [*having, *(line for line in lines if line.value(sort) is None)][:limit], len(rows)


def columns(lines: Sequence[Listed], asked: Sequence[str] = ()) -> list[str]:
    """The columns to show: those asked for, else those that hold anything, and the keys that tell runs apart.

    A key that differs only where the names do too is left out: the name says it.
    """
    if asked:
        _require_columns(asked, lines)
        return ["run", *(column for column in asked if column != "run")]
    names: dict[str, list[Listed]] = {}
    for line in lines:
        names.setdefault(f"{line.row.kind}/{line.row.name}", []).append(line)
    differing = {
        key
        for group in names.values()
        for key in {key: None for line in group for key in line.keys}
        if len({json.dumps(line.keys.get(key)) for line in group}) > 1
    }
    optional = [name for name in FIXED[3:-1] if any(line.value(name) is not None for line in lines)]
    numbers = [name for name in optional if name in ("score", "loss", "took")]
    words = [name for name in optional if name in ("tags", "note")]
    return [*FIXED[:3], *numbers, *sorted(differing), *words, "made"]


def _require_columns(asked: Iterable[str], lines: Sequence[Listed]) -> None:
    keys = {key for line in lines for key in line.keys}
    for column in asked:
        if column not in FIXED and column not in keys and lines:
            raise unknown("column", column, [*FIXED, *sorted(keys)], "or a key of the specs of the runs listed")
        if not column:
            raise UserError("a column without a name", "for example --cols score,seed,recipe.lr")


def _lines(workspace: Workspace, registry: Registry, rows: Sequence[RunRow]) -> list[Listed]:
    fingerprints = [json.dumps([row.fingerprint for row in rows])]
    among = "where fingerprint in (select value from json_each(?))"
    scores = _scores(registry, rows)
    took: dict[str, float] = {}
    for fingerprint, started, ended in registry.query(
        f"select fingerprint, started, ended from attempts {among} and started != '' and ended != ''",
        fingerprints,
    ):
        seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
        took[fingerprint] = took.get(fingerprint, 0.0) + seconds
    tags: dict[str, list[str]] = {}
    for fingerprint, tag in registry.query(f"select fingerprint, tag from tags {among} order by tag", fingerprints):
        tags.setdefault(fingerprint, []).append(tag)
    notes = dict(registry.query(f"select fingerprint, text from notes {among} order by created", fingerprints))
    return [
        Listed(
            row,
            scores.get(row.fingerprint),
            _loss(workspace, row),
            took.get(row.fingerprint),
            tags.get(row.fingerprint, ()),
            notes.get(row.fingerprint, ""),
            {key: value for key, value in flat(json.loads(row.spec)).items() if key != "kind"},
        )
        for row in rows
    ]


def _scores(registry: Registry, rows: Sequence[RunRow]) -> dict[str, tuple[float, float | None, float | None]]:
    """Of each run, its main number by its bench's first scorer; by another where the bench is not here."""
    first = {
        bench: plugins.load("benches", bench).scorers[0]
        for bench in {row.bench for row in rows if row.bench}
        if bench in plugins.names("benches")
    }
    benches = {row.fingerprint: row.bench for row in rows}
    chosen: dict[str, tuple[float, float | None, float | None]] = {}
    for fingerprint, scorer, value, low, high in registry.query(
        "select fingerprint, scorer, value, ci_low, ci_high from scores where metric = ? and task = '' "
        "and fingerprint in (select value from json_each(?))",
        [METRIC, json.dumps([*benches])],
    ):
        bench = benches.get(fingerprint)
        if bench and first.get(bench, scorer.split("@")[0]) == scorer.split("@")[0]:
            chosen[fingerprint] = value, low, high
    return chosen


def _loss(workspace: Workspace, row: RunRow) -> float | None:
    """The last step's of a training."""
    if row.kind != "train":
        return None
    try:
        losses = (RunFolder(workspace.runs / row.folder).result() or {}).get("losses")
    except UserError:  # a damaged result: `smx show` names it
        return None
    return float(losses[-1]) if losses else None
