"""Pivot scores into tables: one per bench, scorer and average, every cell with the runs behind it.

Nothing is mixed that should not be: another bench, subset of it, scorer or average is another table, unless
it was put on an axis; a model, sampler or frame count that varies unseen becomes part of the rows; what else
differs between runs of a model or sampler is part of its name; runs of one cell are averaged only where nothing
but their seed tells them apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from smx.dotted import flat
from smx.registry.rows import CellScore, RunRow, RunScore
from smx.report.labels import BASELINES, Input, Known, known_runs, require_keys, seeds_of, value_of, words
from smx.report.query import AXES, BREAKDOWNS, Query, metric_names
from smx.states import RunState

Key = tuple[Any, ...]
Slot = tuple[str, str, str]  # scorer, metric, task
Weak = Mapping[str, Mapping[str, Collection[str]]]  # run -> scorer -> types at which one answer would do as well

NEVER_HIDDEN = ("model", "sampler", "frames")


class Entry(NamedTuple):
    """One run in a cell. `state`: the run's own, or `unscored`, `excluded`, `no items` (none in its subset)."""

    run: RunRow
    score: RunScore | None
    state: str
    alike: str = ""  # equal for runs that only seeds tell apart
    seeds: tuple[int, ...] = ()
    changes: tuple[str, ...] = ()  # of a lab's own code since it ran, in words

    @property
    def value(self) -> float | None:
        """The score, 0..1."""
        return self.score.value if self.score else None


@dataclass(frozen=True)
class SeedRuns:
    """Runs of one cell that only their seed tells apart."""

    entries: tuple[Entry, ...]

    @cached_property
    def values(self) -> list[float]:
        """Scores 0..1 of the runs that have one."""
        return [e.score.value for e in self.entries if e.score and e.score.value is not None]

    @cached_property
    def mean(self) -> float | None:
        """Over seeds."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @cached_property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        if self.mean is None or len(self.values) < 2:
            return None
        # Not statistics.stdev: its exact fractions are half of a large report's time.
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (len(self.values) - 1))

    @cached_property
    def above_majority(self) -> bool | None:
        """Whether it is better than always giving each type's most frequent answer; None where nothing tells.

        By the mean over seeds: their scenes are the same, so its lower end is no lower than the mean of theirs.
        """
        gains = [e.score.majority_gain_low for e in self.entries if e.score and e.score.value is not None]
        return None if not gains or None in gains else math.fsum(gain for gain in gains if gain is not None) > 0

    @property
    def majority_score(self) -> float | None:
        """What always giving each type's most frequent answer would score; the mean where that differs by run."""
        scores = [e.score.majority_score for e in self.entries if e.score and e.score.majority_score is not None]
        return math.fsum(scores) / len(scores) if scores else None

    @property
    def marked(self) -> bool:
        """Whether a reader must be told that it is not."""
        return self.above_majority is False and not self.baseline

    @property
    def baseline(self) -> bool:
        """Whether nobody expects it to be any better: one of the two baselines, or random weights."""
        run = self.entries[0].run
        return run.base in BASELINES or run.untrained

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of a group of one run, 0..1; seeds have their spread instead."""
        scores = [entry.score for entry in self.entries if entry.score]
        if len(scores) != 1 or scores[0].ci_low is None or scores[0].ci_high is None:
            return None
        return scores[0].ci_low, scores[0].ci_high

    @property
    def state(self) -> str:
        """`done` where every run is, else the first other state."""
        return next((e.state for e in self.entries if e.state != RunState.done), RunState.done)


@dataclass
class Cell:
    """The runs at one place of a table; none of them: missing."""

    entries: list[Entry] = field(default_factory=list)

    @cached_property
    def groups(self) -> list[SeedRuns]:
        """One group, unless the runs differ in more than their seed."""
        if len(self.entries) < 2:
            return [SeedRuns(tuple(self.entries))] if self.entries else []
        groups: dict[tuple[str, int], list[Entry]] = {}
        copies: dict[tuple[str, tuple[int, ...]], int] = {}
        for entry in sorted(self.entries, key=lambda e: (e.seeds, e.run.created)):
            copy = copies[entry.alike, entry.seeds] = copies.get((entry.alike, entry.seeds), 0) + 1
            groups.setdefault((entry.alike, copy), []).append(entry)
        return [SeedRuns(tuple(entries)) for entries in groups.values()]

    @cached_property
    def scored(self) -> list[SeedRuns]:
        """Groups that have a value."""
        return [group for group in self.groups if group.values]

    def differences(self) -> list[str]:
        """What tells the scored groups apart: keys of their specs, or `inputs` (checkpoint, data, versions)."""
        if len(self.scored) < 2:
            return []
        specs = [flat(json.loads(group.entries[0].run.spec)) for group in self.scored]
        keys = sorted({key for spec in specs for key in spec} - {"seed"})
        differing = [key for key in keys if len({words(spec.get(key)) for spec in specs}) > 1]
        return [key for key in differing if not any(k.startswith(f"{key}.") for k in differing)] or ["inputs"]


@dataclass
class Table:
    """Cells by row and column key. `fixed` holds for all of it: bench, scorer, metric, and axes with one value."""

    fixed: Mapping[str, Any]
    rows: tuple[str, ...]
    cols: tuple[str, ...]
    row_keys: list[Key]
    col_keys: list[Key]
    cells: Mapping[tuple[Key, Key], Cell]
    added: tuple[str, ...] = ()  # axes on the rows that were not asked for
    imported: bool = False
    sources: tuple[str, ...] = ()  # where published numbers come from; empty for all others
    decimals: int = 1  # of a score × 100; as many as the source prints of a published one
    weak: Weak = field(default_factory=dict)

    def cell(self, row: Key, col: Key) -> Cell:
        """The cell there; an empty one where nothing was run."""
        return self.cells.get((row, col)) or Cell()

    def applies(self, row: Key, col: Key) -> bool:
        """False where nothing could be run: a model that looks at no frames has no place under a sampler."""
        return (row, col) in self.cells or (row in self._blind) == (col in self._blind)

    @cached_property
    def seeds(self) -> int | None:
        """How many seeds every mean here is over, where that is one number."""
        counts = {len(group.values) for cell in self.cells.values() for group in cell.scored} - {1}
        return counts.pop() if len(counts) == 1 else None

    @cached_property
    def items(self) -> int | None:
        """How many questions every run here has, where that is one number."""
        counts = {entry.run.items for cell in self.cells.values() for entry in cell.entries if entry.run.items}
        return next(iter(counts)) if len(counts) == 1 else None

    @cached_property
    def _blind(self) -> set[Key]:
        seeing = {key for keys, cell in self.cells.items() for key in keys if any(e.run.frames for e in cell.entries)}
        return {*self.row_keys, *self.col_keys} - seeing


def build(
    runs: Iterable[RunRow],
    scores: Iterable[RunScore],
    query: Query,
    excluded: Collection[str] = (),
    inputs: Mapping[str, Input] = MappingProxyType({}),
    trainings: Mapping[str, RunRow] = MappingProxyType({}),
    weak: Weak = MappingProxyType({}),
) -> list[Table]:
    """Tables of eval runs and their scores, ordered by bench, scorer and metric.

    A run without a score is in every table of its bench, with its state. `excluded`: fingerprints of runs
    whose attempts were marked so. `inputs`: fingerprint -> what it was made from. `trainings`: train runs by
    fingerprint. `weak`: question types at which a run is no better than one constant answer. `UserError` for an
    axis or filter that no run's spec has.
    """
    spec_axes = query.spec_axes
    asked = [run for run in runs if run.kind == "eval" and _is_wanted(run, query)]
    about = known_runs(asked, inputs, trainings, spec_axes)
    require_keys((*spec_axes, *query.spec_filters), about.values())
    chosen = [run for run in asked if _has(about[run.fingerprint], query.spec_filters)]
    if query.spec_filters:
        about = known_runs(chosen, inputs, trainings, spec_axes)
    by_run: dict[str, dict[Slot, RunScore]] = {}
    for score in scores:
        if query.scorer in (None, score.scorer, score.scorer.split("@")[0]):
            by_run.setdefault(score.fingerprint, {})[score.scorer, score.metric, score.task] = score
    benches = [about[run.fingerprint].bench for run in chosen]
    slots: dict[str, dict[Slot, None]] = {}
    for run, bench in zip(chosen, benches, strict=True):
        slots.setdefault(bench, {}).update(dict.fromkeys(by_run.get(run.fingerprint, ())))
    metrics = metric_names(query.metrics)
    axes = query.rows + query.cols
    separate = ["bench", "scorer"] if query.breakdown else ["bench", "scorer", "metric"]
    apart = tuple(axis for axis in separate if axis not in axes)
    every = AXES + spec_axes
    table_of = _picker(apart, every)
    tables: dict[Key, list[tuple[Key, Entry]]] = {}
    for run, bench in zip(chosen, benches, strict=True):
        own = by_run.get(run.fingerprint, {})
        known = about[run.fingerprint]
        more = tuple([value_of(known, key) for key in spec_axes])
        seeds = seeds_of(run, inputs, trainings)
        for slot in slots[bench] or [("", metrics[0], "")]:
            scorer, metric, task = slot
            found = own.get(slot)
            valued = found is not None and found.value is not None
            state = run.state if valued else _why_no_value(run, scorer, own, excluded)
            changes = tuple(inputs[run.fingerprint].code.changes.values()) if run.fingerprint in inputs else ()
            entry = Entry(run, found, state, known.alike, seeds, changes)
            at = (known.model, known.sampler, run.frames, bench, scorer, metric, run.seed, task or metric, *more)
            tables.setdefault(table_of(at), []).append((at, entry))
    keys = sorted(tables, key=lambda key: _order(apart, key, metrics))
    made = [_pivot(dict(zip(apart, key, strict=True)), tables[key], query, metrics) for key in keys]
    return [replace(table, weak=weak) for table in made]


def as_runs(scores: Iterable[CellScore]) -> tuple[list[RunRow], list[RunScore]]:
    """Imported scores in the shape of runs, so that they pivot like them. They have no run folder to show.

    Numbers of one cell over one set of questions make one run. Their question type is part of the subset.
    """
    runs: dict[str, RunRow] = {}
    own: dict[tuple[str, str, str], RunScore] = {}
    for score in scores:
        subset = {"dataset": score.dataset, "question_type": score.task if score.metric not in BREAKDOWNS else None}
        where = {name: value for name, value in subset.items() if value}
        place = (score.variant or "model not recorded", score.sampler, score.frames, score.bench, score.dataset)
        spec = json.dumps({"bench_options": {"where": where}, "n": score.n}, sort_keys=True, separators=(",", ":"))
        only = json.dumps(where, sort_keys=True) if where else None
        task = score.task if score.metric in BREAKDOWNS else ""
        copies = (f"imported {place} {score.scorer} {spec} {copy}" for copy in count())
        key = next(key for key in copies if (key, score.metric, task) not in own)
        runs[key] = RunRow(
            *(key, "eval", "", "", spec, *place), state=RunState.done, items=score.n, done=score.n, where_filter=only
        )
        scorer = score.scorer or "scorer not recorded"
        number = RunScore(key, score.bench, scorer, score.metric, score.value, score.n, task, doubtful=score.doubtful)
        own[key, score.metric, task] = number
    return list(runs.values()), list(own.values())


def _pivot(fixed: dict[str, Any], placed: list[tuple[Key, Entry]], query: Query, metrics: tuple[str, ...]) -> Table:
    hidden = [axis for axis in NEVER_HIDDEN if axis not in query.rows + query.cols]
    every = AXES + query.spec_axes
    values = {axis: {at[every.index(axis)] for at, _ in placed} for axis in hidden}
    added = tuple(axis for axis in hidden if len(values[axis]) > 1)
    fixed |= {axis: values[axis].pop() for axis in hidden if axis not in added}
    rows, cols = query.rows + added, query.cols
    row_of, col_of = _picker(rows, every), _picker(cols, every)
    cells: dict[tuple[Key, Key], Cell] = {}
    for at, entry in placed:
        key = row_of(at), col_of(at)
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell()
        cell.entries.append(entry)
    row_keys = sorted({row for row, _ in cells}, key=lambda key: _order(rows, key, metrics))
    col_keys = sorted({col for _, col in cells}, key=lambda key: _order(cols, key, metrics))
    return Table(fixed, rows, cols, row_keys, col_keys, cells, added)


def _picker(axes: tuple[str, ...], every: tuple[str, ...]) -> Callable[[Key], Key]:
    """Takes the values of `axes` out of a place, which has one for each of `every`."""
    where = [every.index(axis) for axis in axes]
    if len(where) > 1:
        return itemgetter(*where)
    return lambda at: tuple([at[i] for i in where])


def _is_wanted(run: RunRow, query: Query) -> bool:
    if query.bench not in (None, run.bench):
        return False
    own = {"model": run.variant, "sampler": run.sampler, "frames": run.frames, "seed": run.seed, "state": run.state}
    return all(str(own[key]) in values for key, values in query.where.items() if key in own)


def _has(known: Known, filters: Mapping[str, tuple[str, ...]]) -> bool:
    return all(key in known.spec and words(known.spec[key]) in values for key, values in filters.items())


def _why_no_value(run: RunRow, scorer: str, own: Mapping[Slot, RunScore], excluded: Collection[str]) -> str:
    if run.fingerprint in excluded:
        return "excluded"
    if any(slot[0] == scorer for slot in own):
        return "no items"
    return "unscored" if run.state == RunState.done else run.state


def _order(axes: tuple[str, ...], key: Key, metrics: tuple[str, ...]) -> list[Any]:
    """Numbers by size, metrics as asked for (before question types), the rest by name; nothing comes first."""
    order: list[Any] = []
    for axis, value in zip(axes, key, strict=True):
        rank = metrics.index(value) if axis in ("metric", "type") and value in metrics else len(metrics)
        number = value if isinstance(value, int) else -1
        text = "" if value is None or (axis == "sampler" and value == "none") else str(value)
        order += [rank, number, _natural(text)]
    return order


def _natural(text: str) -> list[tuple[int, str]]:
    """`tiny-7b` before `tiny-32b`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
