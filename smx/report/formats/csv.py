"""CSV for programs: a line for each cell of all tables, under one heading."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from smx.report.page import Style
from smx.report.records import plain, records
from smx.report.table import Table

ENDINGS = (".csv",)
_AXES = ("bench", "scorer", "metric", "type", "model", "sampler", "frames", "seed")
_FIELDS = (
    *("untrained", "pose_untrained", "imported_frames", "older_code", "state", "value", "sd", "ci_low", "ci_high"),
    *("majority_score", "above_majority", "seeds", "n"),
    *("unparsed", "cut", "done", "items", "failed", "doubtful"),
)


def write(tables: Sequence[Table], style: Style) -> str:
    """The heading stands there also where there are no tables."""
    buffer = io.StringIO()
    more = dict.fromkeys(axis for table in tables for axis in table.rows + table.cols if axis not in _AXES)
    writer = csv.DictWriter(buffer, [*_AXES, *more, *_FIELDS, "differs", "imported", "runs"], lineterminator="\n")
    writer.writeheader()
    for table in tables:
        fixed = {axis: plain(axis, value) for axis, value in table.fixed.items()}
        for place, record in records(table):
            runs = " ".join(run["fingerprint"] for run in record.pop("runs"))
            differs = " ".join(record.pop("differs"))
            writer.writerow({**fixed, **place, **record, "differs": differs, "imported": table.imported, "runs": runs})
    return buffer.getvalue()
