"""A table for programs: one record a cell, scores in 0..1 at full precision, with the fingerprints behind each.

Several records where a cell's runs differ in more than their seed; counts of questions are sums over its seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from smx.report.labels import OLDER, without_mark
from smx.report.table import Cell, SeedRuns, Table


def records(table: Table) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(position on the axes, what there is) of every group of every cell; missing cells too."""
    for row in table.row_keys:
        for col in table.col_keys:
            if not table.applies(row, col):
                continue
            cell = table.cell(row, col)
            axes = zip(table.rows + table.cols, row + col, strict=True)
            position = {axis: plain(axis, value) for axis, value in axes}
            for group in cell.groups or [SeedRuns(())]:
                yield position, _record(cell, group)


def plain(axis: str, value: Any) -> Any:
    """The value itself: untrained weights or poses, imported frames and older code are fields of their own."""
    if axis not in ("model", "sampler", "bench") or value is None:
        return value
    value = value.replace(OLDER, "")
    return value.replace(" (imported)", "") if axis == "sampler" else without_mark(value)


def _record(cell: Cell, group: SeedRuns) -> dict[str, Any]:
    entries = group.entries
    scores = [entry.score for entry in entries if entry.score]
    interval = group.interval
    return {
        "untrained": any(entry.run.untrained for entry in entries),
        "pose_untrained": any(entry.run.pose_untrained for entry in entries),
        "imported_frames": any(entry.run.imported for entry in entries),
        "older_code": ", ".join(sorted({change for entry in entries for change in entry.changes})),
        "state": group.state if entries else "missing",
        "value": group.mean,
        "sd": group.sd,
        "ci_low": interval[0] if interval else None,
        "ci_high": interval[1] if interval else None,
        "majority_score": group.majority_score,
        "above_majority": group.above_majority,
        "seeds": len(group.values),
        "n": sum(score.n for score in scores),
        "unparsed": sum(score.unparsed for score in scores),
        "cut": _total([score.cut for score in scores]),
        "done": sum(entry.run.done for entry in entries),
        "items": sum(entry.run.items or 0 for entry in entries),
        "failed": sum(entry.run.failed for entry in entries),
        "doubtful": any(score.doubtful for score in scores),
        "differs": cell.differences(),
        "runs": [
            {
                **{"fingerprint": e.run.fingerprint, "folder": e.run.folder, "seed": e.run.seed},
                **{"state": e.state, "value": e.value, "n": e.score.n if e.score else 0},
                **{"done": e.run.done, "items": e.run.items, "failed": e.run.failed},
            }
            for e in entries
            if e.run.folder
        ],
    }


def _total(counts: Sequence[int | None]) -> int | None:
    """None where any is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
