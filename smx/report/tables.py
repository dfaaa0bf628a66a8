"""Comparison tables over the registry: of what smx ran, of the lab's past, and of what others published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from smx import plugins
from smx.errors import unknown
from smx.registry.store import Registry
from smx.registry.table_queries import table_inputs, weak_types
from smx.report.labels import Input
from smx.report.own_code import OwnCode, own_code
from smx.report.published import NOT_SAID, by_source
from smx.report.query import Query, metric_names
from smx.report.table import Table, as_runs, build
from smx.states import RunState

EVERY = "all"  # as a scorer: each in a table of its own
_FEW = 1000  # runs: of more, how many are weak at which types is a long line that tells nothing


def tables(registry: Registry, query: Query, folder: Path) -> list[Table]:
    """Tables of what smx ran, by each bench's own scorer unless one is named (or `EVERY`). `folder`: of all runs.

    `UserError` for a bench, scorer or metric that nothing here has.
    """
    runs = registry.runs(kind="eval", bench=query.bench)
    if query.bench and not runs:
        _refuse("bench", query.bench, registry.benches())
    scores = registry.run_scores(bench=query.bench, metric=metric_names(query.metrics))
    if not scores and query.metrics and (others := registry.run_scores(bench=query.bench)):
        _refuse("metric", ",".join(query.metrics), {score.metric for score in others})
    if query.scorer is None and "scorer" not in query.rows + query.cols:
        own = {bench: _own_scorer(bench) for bench in {score.bench for score in scores}}
        scores = [s for s in scores if own[s.bench] in (None, s.scorer.split("@")[0])]
    elif query.scorer == EVERY:
        query = replace(query, scorer=None)
    elif query.scorer and scores:
        known = {score.scorer for score in scores}
        if query.scorer not in known | {scorer.split("@")[0] for scorer in known}:
            _refuse("scorer", query.scorer, known)
    scored = {score.fingerprint for score in scores}
    scoreless = [run for run in runs if run.fingerprint not in scored]
    silent = [run.fingerprint for run in scoreless if run.state in (RunState.done, RunState.new)]
    excluded = {f for f in silent if any(attempt.excluded for attempt in registry.attempts(f))}
    weak = weak_types(registry) if len(runs) <= _FEW else {}
    trainings = {run.fingerprint: run for run in registry.runs(kind="train")}
    inputs = _inputs(registry, own_code([*runs, *trainings.values()], folder))
    return build(runs, scores, query, excluded, inputs, trainings, weak)


def _inputs(registry: Registry, code: Mapping[str, OwnCode]) -> dict[str, Input]:
    """Run -> digests of its questions and frames, its weights, and a lab's own code."""
    given = {fingerprint: Input(*made_of) for fingerprint, made_of in table_inputs(registry).items()}
    return given | {run: given.get(run, Input())._replace(code=own) for run, own in code.items()}


def _own_scorer(bench: str) -> str | None:
    """The scorer that counts where none is named: the bench's first. None for a bench that is not here."""
    if bench not in plugins.names("benches"):
        return None
    first: str = plugins.load("benches", bench).scorers[0]
    return first


def imported_tables(registry: Registry, query: Query) -> list[Table]:
    """Tables of the lab's past, in the same cut."""
    past = registry.scores(bench=query.bench, metric=metric_names(query.metrics), origin="imported")
    found = build(*as_runs(past), query)
    for table in found:
        table.imported = True
    return found


def published_tables(query: Query, benches: Collection[str]) -> list[Table]:
    """Tables of numbers that others published about `benches`, in the same cut: one for each table of a source."""
    metrics = metric_names(query.metrics)
    wanted = None if query.scorer in (None, EVERY) else str(query.scorer).split("@")[0]
    found = []
    for bench in sorted(benches):
        for (source, scorer, _, decimals), scores in by_source(bench, metrics).items():
            if wanted not in (None, scorer) and scorer != NOT_SAID:
                continue
            for table in build(*as_runs(scores), replace(query, scorer=None, where={})):
                table.imported, table.sources, table.decimals = True, (source,), decimals
                found += [table] if any(cell.scored for cell in table.cells.values()) else []
    return found


def _refuse(what: str, name: str, known: set[str]) -> None:
    if known:
        raise unknown(what, name, known, "these have runs here; smx report without filters shows them all")
