"""Scores: a result's as rows, and all of them with their runs, fast enough for a report over every run of a lab."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from smx.registry.filters import Filter, Where, of_runs
from smx.registry.rows import CellScore, RunScore, ScoreRow, columns

Query = Callable[[str, Iterable[object]], list[tuple[Any, ...]]]


def run_scores(query: Query, wanted: Mapping[str, Filter]) -> list[RunScore]:
    """Scores of runs that count, filtered by columns of scores: those of `score_table`, in a third of its time."""
    where = Where(wanted)
    where.add("fingerprint not in (select fingerprint from excluded_runs)", [])
    doubtful = "fingerprint in (select fingerprint from doubtful_runs)"
    sql = f"select {', '.join(columns(ScoreRow))}, {doubtful} from scores {where.sql}"
    return list(map(RunScore._make, query(sql, where.values)))


def cell_scores(
    query: Query,
    runs: Mapping[str, Filter],
    scores: Mapping[str, Filter],
    *,
    tag: Filter,
    since: str | None,
    origin: Filter,
) -> list[CellScore]:
    """Rows of the view `score_table`, filtered by columns of runs and of scores, by tags and by when runs were tried.

    Own scores are joined here rather than in SQL: 100,000 of them in less than half the time, because a run's columns
    are made into Python objects once and not once per score.
    """
    if origin == "run":
        return _own(query, runs, scores, tag, since)
    where = of_runs({**runs, **scores, "origin": origin, "tag": tag, "since": since})
    sql = f"select {', '.join(CellScore._fields)} from score_table {where.sql}"
    return list(map(CellScore._make, query(sql, where.values)))


def _own(
    query: Query, runs: Mapping[str, Filter], scores: Mapping[str, Filter], tag: Filter, since: str | None
) -> list[CellScore]:
    which = of_runs({**runs, "tag": tag, "since": since})
    which.add("fingerprint not in (select fingerprint from excluded_runs)", [])
    cell, outcome = "kind, variant, sampler, frames, dataset, seed", "state, items, done, failed, labels"
    kind_of_run = "blind, input, frame_order, imported, base, subset, where_filter, question_file, untrained, seedless"
    doubtful = "fingerprint in (select fingerprint from doubtful_runs)"
    runs_sql = f"select fingerprint, created, {cell}, {outcome}, {doubtful}, {kind_of_run} from runs {which.sql}"
    parts = {  # what a run gives to each of its rows: before and after the bench, after the number, at the end
        run[0]: (run[2:6], run[6:8], (*run[8:14], "run", *run[:2]), run[14:]) for run in query(runs_sql, which.values)
    }
    numbers = Where(scores)
    if any(value is not None for value in (*runs.values(), tag, since)):
        numbers.add(f"fingerprint in (select fingerprint from runs {which.sql})", which.values)
    score = "scorer, metric, task, value, n, unparsed, ci_low, ci_high"
    majority = "majority_score, majority_gain_low, majority_answer, cut"
    rows = []
    for fingerprint, bench, *values in query(
        f"select fingerprint, bench, {score}, {majority} from scores {numbers.sql}", numbers.values
    ):
        if fingerprint in parts:
            place, apart, state, kind = parts[fingerprint]
            rows.append(
                CellScore._make((*place, bench, *apart, *values[:8], *state, *values[8:11], *kind, *values[11:]))
            )
    return rows


def score_rows(fingerprint: str, bench: str, scores: dict[str, Any]) -> list[ScoreRow]:
    """`{"official@1": summary}` as rows of the registry."""
    rows = []
    for scorer, summary in scores.items():
        counts = summary.get("counts", {})  # not in results of older versions
        for name in ("all", "acc", "mra"):
            whole = (summary["n"], summary["unparsed"], summary.get("cut"))
            n, unparsed, cut = _counted(counts.get("average", {}).get(name, whole))
            for average, value in summary.get(name, {}).items():
                if value is not None:
                    metric = f"{name}.{average}"
                    sure = _how_sure(summary, metric, "", cut)
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, value, n, "", unparsed, *sure))
        for metric, key in (("type", "types"), ("task", "tasks")):
            for name, entry in summary.get(key, {}).items():
                if entry["score"] is not None:
                    n, unparsed, cut = _counted(counts.get(metric, {}).get(name, (entry["n"], 0)))
                    score, sure = entry["score"], _how_sure(summary, metric, name, cut)
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, score, n, name, unparsed, *sure))
    return rows


def _counted(counts: Sequence[int | None]) -> tuple[Any, ...]:
    """(n, unparsed, cut); results of older versions do not have the last."""
    return (*counts, None) if len(counts) == 2 else tuple(counts)


def majority_baseline(summary: dict[str, Any], metric: str, task: str = "") -> dict[str, Any]:
    """`{"score", "gain": [low, high], "better"}` of the majority baseline, for a type its `answer` too.

    Empty where nothing was drawn. Results of older versions have it as `floor` and `floor_of`.
    """
    if "majority" in summary:
        by_task = summary["majority"].get(metric, {})
    else:
        by_task = summary.get("floor", {}) if metric == "type" else summary.get("floor_of", {}).get(metric, {})
    found: dict[str, Any] = by_task.get(task, {})
    return found


def _how_sure(summary: dict[str, Any], metric: str, task: str, cut: int | None) -> tuple[Any, ...]:
    """Columns ci_low, ci_high and those of the majority baseline (None where nothing was drawn), and `cut`."""
    low, high = summary.get("ci", {}).get(metric, {}).get(task, (None, None))
    majority = majority_baseline(summary, metric, task)
    gain_low = majority["gain"][0] if majority else None
    return low, high, majority.get("score"), gain_low, majority.get("answer"), cut
