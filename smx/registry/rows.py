"""The registry's rows as frozen dataclasses: one class per table, one field per column."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeGuard, TypeVar

from smx.runfolder import now
from smx.states import BAD, LIVE, AttemptState, RunState

_JSON = {"labels", "handle", "failure", "provenance", "resources", "usage"}
_TRUTH = {"blind", "imported", "canary"}  # 0 and 1 in SQLite
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One spec of kind gen, train or eval, and how it stands."""

    fingerprint: str
    kind: str
    name: str
    folder: str  # below the workspace's runs folder
    spec: str  # canonical JSON
    variant: str | None = None
    sampler: str | None = None
    frames: int | None = None
    bench: str | None = None
    dataset: str | None = None
    seed: int = 0
    labels: Mapping[str, Any] = field(default_factory=dict)
    state: str = RunState.new
    items: int | None = None
    done: int = 0
    failed: int = 0
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    # What kind of run it is; `Registry.add_run` reads it from the spec: see `smx.registry.spec_columns`.
    blind: bool = False
    input: str | None = None
    frame_order: str | None = None
    imported: bool = False  # another tool chose its frames
    base: str | None = None
    subset: str | None = None
    where_filter: str | None = None  # canonical JSON; None: all questions of the bench or subset
    question_file: str | None = None
    seedless: str | None = None

    @property
    def title(self) -> str:
        """How people see it, and its folder's name: name and eight digits."""
        return self.folder.split("/", 1)[1]

    @property
    def untrained(self) -> bool:
        """Whether its weights are random."""
        return bool(self.labels.get("untrained"))

    @property
    def pose_untrained(self) -> bool:
        """Whether cameras enter the attention of weights that never saw poses, as far as is known."""
        return bool(self.labels.get("pose_untrained"))


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """One call of an executor, written down before it is made."""

    id: str
    executor: str
    name: str
    job: str | None = None
    script_digest: str | None = None
    created: str = field(default_factory=now)
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try at a run."""

    fingerprint: str
    attempt: int
    executor: str
    state: str
    items: int
    submission: str | None = None
    handle: Mapping[str, Any] | None = None
    job: str | None = None
    unknown_since: str | None = None
    done: int = 0
    failed: int = 0
    mark: str | None = None
    created: str = field(default_factory=now)
    started: str | None = None
    ended: str | None = None
    reason: str | None = None
    failure: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    canary: bool = False  # its first items went before everything else, which waits for them

    @property
    def live(self) -> bool:
        """Whether it may still produce items."""
        return self.state in LIVE

    @property
    def bad(self) -> bool:
        """Whether it ended and did not do its work, by its state or because too many of its items failed."""
        return self.state in BAD or (self.state == AttemptState.done and self.failure is not None)

    @property
    def excluded(self) -> bool:
        """Whether somebody marked it so: its items count in nothing."""
        return self.mark == "excluded"


def excluded_attempts(attempts: Iterable[AttemptRow]) -> frozenset[int]:
    """Numbers of those attempts at one run whose items count in nothing."""
    return frozenset(row.attempt for row in attempts if row.excluded)


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One array task of an attempt."""

    fingerprint: str
    attempt: int
    shard: int
    state: str
    host: str | None = None
    done: int = 0
    failed: int = 0
    heartbeat: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One number of one run. `task` is empty where the metric is over all questions."""

    fingerprint: str
    bench: str
    scorer: str
    metric: str
    value: float | None
    n: int
    task: str = ""
    unparsed: int = 0
    ci_low: float | None = None
    ci_high: float | None = None
    majority_score: float | None = None  # of always giving each type's most frequent true answer
    majority_gain_low: float | None = None  # how much better this is at least, in 95 % of draws; up to 0: no better
    majority_answer: str | None = None  # that answer, of a single type
    cut: int | None = None  # answers that ended at the run's `max_new_tokens`; None: an older smx did not count them


@dataclass(frozen=True, slots=True)
class InputRow:
    """What a run was made from: `input` is the fingerprint of another run, or a digest."""

    fingerprint: str
    role: str
    input: str


@dataclass(frozen=True, slots=True)
class NoteRow:
    """Something a person wanted remembered about a run."""

    fingerprint: str
    text: str
    author: str = ""
    created: str = field(default_factory=now)


class Stamps(NamedTuple):
    """When a run, an attempt at it and the submission of that were entered, ISO times."""

    run: str
    attempt: str
    submission: str


class RunScore(NamedTuple):
    """A ScoreRow, and whether the attempt behind it is marked doubtful. A tuple, because there are many."""

    fingerprint: str
    bench: str
    scorer: str
    metric: str
    value: float | None
    n: int
    task: str = ""
    unparsed: int = 0
    ci_low: float | None = None
    ci_high: float | None = None
    majority_score: float | None = None
    majority_gain_low: float | None = None
    majority_answer: str | None = None
    cut: int | None = None
    doubtful: int = 0


class CellScore(NamedTuple):
    """One row of the view `score_table`: a number and its cell.

    `labels` is JSON text; `origin` is "run" or "imported" (then `fingerprint` is None).
    """

    kind: str
    variant: str | None
    sampler: str | None
    frames: int | None
    bench: str
    dataset: str | None
    seed: int
    scorer: str
    metric: str
    task: str
    value: float | None
    n: int
    unparsed: int
    ci_low: float | None
    ci_high: float | None
    state: str
    items: int | None
    done: int
    failed: int
    labels: str
    doubtful: int
    origin: str
    fingerprint: str | None
    created: str | None
    majority_score: float | None = None  # as in ScoreRow
    majority_gain_low: float | None = None
    majority_answer: str | None = None
    blind: int = 0  # as in RunRow
    input: str | None = None
    frame_order: str | None = None
    imported: int = 0  # frames that another tool chose; not `origin`
    base: str | None = None
    subset: str | None = None
    where_filter: str | None = None
    question_file: str | None = None
    untrained: int = 0
    seedless: str | None = None
    cut: int | None = None  # as in ScoreRow


def is_many(cut: int | None, n: int) -> TypeGuard[int]:
    """Whether so many of n answers were cut off that whoever reads the score should know: from 1 %."""
    return bool(cut) and 100 * (cut or 0) >= n


def columns(cls: type[Any]) -> tuple[str, ...]:
    """Column names of a row class, in the order of its fields."""
    found = _COLUMNS.get(cls)
    if found is None:
        found = _COLUMNS[cls] = tuple(f.name for f in fields(cls))
    return found


def to_sql(name: str, value: object) -> object:
    """`value` as SQLite stores column `name` (JSON columns as canonical text)."""
    if name in _JSON and value is not None:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return value


def from_sql(cls: type[Row], found: list[tuple[Any, ...]]) -> list[Row]:
    """Rows of `cls` from values selected in the order of `columns(cls)`."""
    encoded = [k for k, name in enumerate(columns(cls)) if name in _JSON]
    truths = [k for k, name in enumerate(columns(cls)) if name in _TRUTH]
    rows = []
    for values in found:
        fields_ = list(values)
        for k in encoded:
            if fields_[k] is not None:
                fields_[k] = {} if fields_[k] == "{}" else json.loads(fields_[k])
        for k in truths:
            fields_[k] = bool(fields_[k])
        rows.append(cls(*fields_))
    return rows


_COLUMNS: dict[type[Any], tuple[str, ...]] = {}
