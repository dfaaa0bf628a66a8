"""What a report shows: which axes, which numbers, which runs. Parsed from words as typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from smx.errors import UserError, unknown

AXES = ("model", "sampler", "frames", "bench", "scorer", "metric", "seed", "type")
BREAKDOWNS = ("type", "task")  # metrics with one number per question type, or per task
DEFAULT_METRICS = ("all.micro", "all.macro")
FILTERS = ("model", "sampler", "frames", "seed", "state")
SPEC_KEYS = ("dtype", "loop", "max_new_tokens", "decoding")  # keys of a spec without a dot in them


@dataclass(frozen=True)
class Query:
    """The cut of a report. `metrics` empty: micro and macro average over all questions."""

    rows: tuple[str, ...] = ("model",)
    cols: tuple[str, ...] = ("sampler", "frames")
    metrics: tuple[str, ...] = ()
    bench: str | None = None
    scorer: str | None = None
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def spec_axes(self) -> tuple[str, ...]:
        """Axes that are keys of specs, dotted."""
        return tuple(axis for axis in self.rows + self.cols if axis not in AXES)

    @property
    def spec_filters(self) -> dict[str, tuple[str, ...]]:
        """Filters that are keys of specs."""
        return {key: values for key, values in self.where.items() if key not in FILTERS}

    @property
    def breakdown(self) -> str | None:
        """`type` or `task` where each of them has its own number."""
        return next((m for m in self.metrics if m in BREAKDOWNS), None)


def parse(
    rows: str = "",
    cols: str = "",
    metric: str = "",
    bench: str | None = None,
    scorer: str | None = None,
    where: Sequence[str] = (),
) -> Query:
    """A query from comma lists and `KEY=VALUE` filters; what is left empty gets its default.

    `UserError` for an axis or filter that does not exist, or that contradicts another.
    """
    metrics, row_axes, col_axes = _words(metric), _words(rows), _words(cols)
    for axis in (*row_axes, *col_axes):
        if axis not in (*AXES, "task", *SPEC_KEYS) and "." not in axis:
            raise unknown("axis", axis, (*AXES, "task", *SPEC_KEYS), "or a key of specs, like recipe.lr")
    breakdowns = {w for w in (*row_axes, *col_axes, *metrics) if w in BREAKDOWNS}
    if len(breakdowns) > 1:
        raise UserError("a table is either by type or by task, not both", "make two reports")
    for breakdown in breakdowns:
        metrics = metrics or (breakdown,)
        if breakdown not in metrics:
            wanted = ",".join((*metrics, breakdown))
            raise UserError(f"{breakdown!r} is an axis, and the metric is {','.join(metrics)}", f"--metric {wanted}")
    row_axes, col_axes = (tuple("type" if a == "task" else a for a in axes) for axes in (row_axes, col_axes))
    row_axes, col_axes = _defaults(row_axes, col_axes, by_type=bool(breakdowns))
    for axis in row_axes:
        if axis in col_axes or row_axes.count(axis) > 1:
            raise UserError(f"axis {axis!r} is named twice", "an axis is on the rows or on the columns")
    return Query(row_axes, col_axes, metrics, bench, scorer, _filters(where))


def metric_names(asked: Iterable[str]) -> tuple[str, ...]:
    """Names as stored: `acc` stands for its micro and macro average, nothing for the default ones."""
    names = [
        name
        for metric in asked
        for name in ((metric,) if "." in metric or metric in BREAKDOWNS else (f"{metric}.micro", f"{metric}.macro"))
    ]
    return tuple(dict.fromkeys(names)) or DEFAULT_METRICS


def _defaults(
    rows: tuple[str, ...], cols: tuple[str, ...], *, by_type: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    cell = ["model", "sampler", "frames"]
    if by_type and "type" not in rows + cols:
        cols = (*cols, "type")
    if not rows:
        wanted = cell if cols == ("type",) else cell[:1]
        rows = tuple(axis for axis in wanted if axis not in cols) or tuple(axis for axis in cell if axis not in cols)
    if not cols:
        wanted = cell if by_type else cell[1:]
        cols = tuple(axis for axis in wanted if axis not in rows)
    return rows, cols


def _filters(where: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`["model=a,b", "frames=8"]` -> `{"model": ("a", "b"), "frames": ("8",)}`."""
    filters: dict[str, tuple[str, ...]] = {}
    for text in where:
        key, equals, value = text.partition("=")
        if not equals:
            keys = f"{', '.join(FILTERS)}, or a key of specs, like recipe.lr"
            raise UserError(f"--where {text!r} is not KEY=VALUE", f"keys: {keys}; several values: a,b")
        if key.strip() not in (*FILTERS, *SPEC_KEYS) and "." not in key:
            raise unknown(
                "filter", key.strip(), (*FILTERS, *SPEC_KEYS), "--bench and --scorer are options of their own"
            )
        filters[key.strip()] = (*filters.get(key.strip(), ()), *_words(value))
    return filters


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
