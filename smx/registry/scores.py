"""Scores: a result's as rows, and all of them with their runs, fast enough for a report over every run of a lab."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from smx.registry.filters import Filter, Where, of_runs
from smx.registry.rows import CellScore, ScoreRow

Query = Callable[[str, Iterable[object]], list[tuple[Any, ...]]]


def cell_scores(
    query: Query,
    *,
    runs: Mapping[str, Filter],
    scores: Mapping[str, Filter],
    tag: Filter,
    since: str | None,
    imported: bool,
) -> list[CellScore]:
    """What the view `score_table` holds, filtered by columns of runs and of scores.

    Own scores are joined here rather than in SQL: 100,000 of them in less than half the time, because a
    run's columns are made into Python objects once and not once per score.
    """
    found = _own(query, runs, scores, tag, since)
    if imported and tag is None:
        where = Where({**runs, **scores, "origin": "imported"})
        if since is not None:
            where.add("created >= ?", [since])
        past = query(f"select {', '.join(CellScore._fields)} from score_table {where.sql}", where.values)
        found += map(CellScore._make, past)
    return found


def _own(
    query: Query, runs: Mapping[str, Filter], scores: Mapping[str, Filter], tag: Filter, since: str | None
) -> list[CellScore]:
    which = of_runs({**runs, "tag": tag, "since": since})
    which.add("fingerprint not in (select fingerprint from excluded_runs)", [])
    cells = {
        cell[0]: cell
        for cell in query(
            f"""select fingerprint, kind, variant, sampler, frames, dataset, seed, state, items, done, failed, labels,
                       fingerprint in (select fingerprint from doubtful_runs), created
                from runs {which.sql}""",
            which.values,
        )
    }
    numbers = Where(scores)
    if any(value is not None for value in (*runs.values(), tag, since)):
        numbers.add(f"fingerprint in (select fingerprint from runs {which.sql})", which.values)
    found = []
    for fingerprint, bench, scorer, metric, task, value, n, unparsed, ci_low, ci_high, floor, gain_low, usual in query(
        f"""select fingerprint, bench, scorer, metric, task, value, n, unparsed, ci_low, ci_high, floor, gain_low, usual
            from scores {numbers.sql}""",
        numbers.values,
    ):
        cell = cells.get(fingerprint)
        if cell is not None:
            _, kind, variant, sampler, frames, dataset, seed, state, items, done, failed, labels, doubtful, created = (
                cell
            )
            found.append(
                CellScore(
                    kind, variant, sampler, frames, bench, dataset, seed, scorer, metric, task,
                    value, n, unparsed, ci_low, ci_high,
                    state, items, done, failed, labels, doubtful, "run", fingerprint, created,
                    floor, gain_low, usual,
                )
            )  # fmt: skip
    return found


def score_rows(fingerprint: str, bench: str, scores: dict[str, Any]) -> list[ScoreRow]:
    """`{"official@1": summary}` as rows of the registry."""
    rows = []
    for scorer, summary in scores.items():
        counts = summary.get("counts", {})  # not in results of older versions
        for name in ("all", "acc", "mra"):
            n, unparsed = counts.get("average", {}).get(name, (summary["n"], summary["unparsed"]))
            for average, value in summary.get(name, {}).items():
                if value is not None:
                    metric = f"{name}.{average}"
                    sure = _how_sure(summary, metric, "")
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, value, n, "", unparsed, *sure))
        for metric, key in (("type", "types"), ("task", "tasks")):
            for name, entry in summary.get(key, {}).items():
                if entry["score"] is not None:
                    n, unparsed = counts.get(metric, {}).get(name, (entry["n"], 0))
                    score, sure = entry["score"], _how_sure(summary, metric, name)
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, score, n, name, unparsed, *sure))
    return rows


def _how_sure(summary: dict[str, Any], metric: str, task: str) -> tuple[Any, ...]:
    """Columns ci_low, ci_high, floor, gain_low and usual of a score; None where nothing was drawn."""
    low, high = summary.get("ci", {}).get(metric, {}).get(task, (None, None))
    floors = summary.get("floor", {}) if metric == "type" else summary.get("floor_of", {}).get(metric, {})
    floor = floors.get(task, {})
    return low, high, floor.get("score"), floor["gain"][0] if floor else None, floor.get("answer")
