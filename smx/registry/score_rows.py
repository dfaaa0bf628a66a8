"""A result's scores as rows of the registry."""

from __future__ import annotations

from typing import Any

from smx.registry.rows import ScoreRow


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
