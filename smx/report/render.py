"""Tables as text for a terminal, Markdown, LaTeX and HTML for papers and pages, CSV and JSON for programs.

People see scores times 100 with one decimal. Programs get them in 0..1 at full precision, one record per
cell (several where a cell's runs differ in more than their seed), with the fingerprints behind it; counts of
questions are sums over its seeds.
"""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from smx.report.footnotes import FLOOR, explanation, heading, notes, wording
from smx.report.latex_html import Page, html, latex
from smx.report.layout import lay_out
from smx.report.table import Cell, Entry, Group, Key, Table, looked_at_imported
from smx.states import RunState

FORMATS = ("table", "md", "latex", "html", "csv", "json")
MISSING = "—"

_PAGE = 100  # characters of prose a line, where nothing says how wide the page is
_STANDING_STILL = ("excluded", "no items", "unscored")  # states whose progress is beside the point


class Extras(NamedTuple):
    """What cells say besides their score."""

    runs: bool = False  # fingerprints of the runs behind it
    intervals: bool = False  # 95 %, by bootstrap over scenes


def render(
    tables: Sequence[Table],
    format: str,
    *,
    width: int | None = None,
    show_runs: bool = False,
    intervals: bool = False,
) -> str:
    """`tables` in one of `FORMATS`; nothing for no tables. `width`: text tables are cut to so many characters."""
    if format == "json":
        return json.dumps({"tables": [_as_json(table) for table in tables]}, indent=2, ensure_ascii=False) + "\n"
    if format == "csv":
        return _as_csv(tables)
    extras = Extras(show_runs, intervals)
    if format in ("latex", "html"):
        pages = [_as_page(table, extras) for table in tables]
        return "\n".join(map(latex, pages)) if format == "latex" else html(pages) if pages else ""
    if format == "md":
        parts = ["\n".join(_as_markdown(table, extras)) for table in tables]
        return "\n\n".join(parts) + "\n" if parts else ""
    said = dict.fromkeys(note for table in tables for note in notes(table, MISSING))
    below = "\n".join(textwrap.fill(note, width or _PAGE, subsequent_indent="   ") for note in said)
    parts = ["\n".join(_as_text(table, width, extras)) for table in tables] + ([below] if below else [])
    return "\n\n".join(parts) + "\n" if parts else ""


def cell_text(table: Table, row: Key, col: Key, extras: Extras) -> str:
    """`48.4`, `48.4 (237/240)`, `48.4 ± 0.6`, `running 12/240`, `failed`, `—`; empty where nothing could be run."""
    cell = table.cell(row, col)
    if not cell.entries:
        return MISSING if table.applies(row, col) else ""
    shown = cell.scored or cell.groups
    text = " or ".join(dict.fromkeys(_group_text(table, group, extras) for group in shown))
    others = [_state_text(entry) for group in cell.groups if group not in shown for entry in group.entries]
    return text + "".join(f" +{state}" for state in dict.fromkeys(others))


def _group_text(table: Table, group: Group, extras: Extras) -> str:
    scored = [entry for entry in group.entries if entry.value is not None]
    states = list(dict.fromkeys(_state_text(entry) for entry in group.entries if entry.value is None))
    if group.mean is None:
        text = ", ".join(states)
    else:
        text = f"{100 * group.mean:.{table.decimals}f}"
        text += "?" if any(entry.score and entry.score.doubtful for entry in scored) else ""
        text += FLOOR if group.marked else ""
        text += f" ± {100 * group.sd:.1f}" if group.sd is not None else ""
        if extras.intervals and (interval := _interval(group)):
            text += f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
        remarks = _remarks(table, group, scored)
        text += f" ({', '.join(remarks)})" if remarks else ""
        text += "".join(f" +{state}" for state in states)
    if extras.runs and not table.imported:
        text += f" [{' '.join(entry.run.fingerprint[:8] for entry in group.entries)}]"
    return text


def _interval(group: Group) -> tuple[float, float] | None:
    """Of a group of one run; seeds have their spread instead."""
    scores = [entry.score for entry in group.entries if entry.score]
    if len(scores) != 1 or scores[0].ci_low is None or scores[0].ci_high is None:
        return None
    return scores[0].ci_low, scores[0].ci_high


def _remarks(table: Table, group: Group, scored: Sequence[Entry]) -> list[str]:
    remarks = [f"{len(scored)} seeds"] if group.sd is not None and table.seeds is None else []
    done, items = sum(e.run.done for e in scored), sum(e.run.items or 0 for e in scored)
    if done < items:
        remarks.append(f"{done}/{items}")
    elif items and table.items is None:
        remarks.append(f"n={items // len(scored)}")
    remarks += dict.fromkeys(e.state for e in scored if e.state != RunState.done)
    if "model" not in table.rows + table.cols and any(e.run.labels.get("untrained") for e in scored):
        remarks.append("untrained")
    return remarks


def _state_text(entry: Entry) -> str:
    progress = entry.run.done and entry.state not in _STANDING_STILL
    return f"{entry.state} {entry.run.done}/{entry.run.items}" if progress else entry.state


def _as_text(table: Table, width: int | None, extras: Extras) -> list[str]:
    stubs = [wording(table.rows, row) for row in table.row_keys]
    heads = [wording(table.cols, col) for col in table.col_keys]
    grid = lay_out(table.rows, stubs, table.cols, heads, _body(table, extras), width)
    return [heading(table), textwrap.fill(explanation(table), width or _PAGE), "", *grid]


def _as_markdown(table: Table, extras: Extras) -> list[str]:
    """A caption, a pipe table whose column headings say all their levels, the notes."""
    heads = [", ".join(filter(None, wording(table.cols, col, alone=True))) or "score" for col in table.col_keys]
    stubs = [wording(table.rows, row) for row in table.row_keys]
    lines = [
        [*table.rows, *heads],
        *([*stub, *cells] for stub, cells in zip(stubs, _body(table, extras), strict=True)),
    ]
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    sizes = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    rules = ["-" * size if i < len(table.rows) else "-" * (size - 1) + ":" for i, size in enumerate(sizes)]
    padded = [
        [
            text.ljust(size) if i < len(table.rows) else text.rjust(size)
            for i, (text, size) in enumerate(zip(line, sizes, strict=True))
        ]
        for line in lines
    ]
    pipes = [f"| {' | '.join(line)} |" for line in (padded[0], rules, *padded[1:])]
    below = [f"- {note}" for note in notes(table, MISSING)]
    return [f"**{heading(table)}** ({explanation(table)})", "", *pipes, *([""] if below else []), *below]


def _as_page(table: Table, extras: Extras) -> Page:
    stubs = [wording(table.rows, row) for row in table.row_keys]
    heads = [wording(table.cols, col) for col in table.col_keys]
    below = notes(table, MISSING)
    return Page(heading(table), explanation(table), table.rows, table.cols, stubs, heads, _body(table, extras), below)


def _body(table: Table, extras: Extras) -> list[list[str]]:
    return [[cell_text(table, row, col, extras) for col in table.col_keys] for row in table.row_keys]


# For programs


def _as_json(table: Table) -> dict[str, Any]:
    named = {axis: _plain(axis, value) for axis, value in table.fixed.items()}
    cells = [{**place, **record} for place, record in _records(table)]
    origin = {"imported": table.imported, "sources": table.sources}
    return {**named, "rows": table.rows, "cols": table.cols, **origin, "cells": cells}


_CSV_AXES = ("bench", "scorer", "metric", "type", "model", "sampler", "frames", "seed")
_CSV_FIELDS = (
    *("untrained", "imported_frames", "state", "value", "sd", "ci_low", "ci_high"),
    *("floor", "above_floor", "seeds", "n"),
    *("unparsed", "done", "items", "failed", "doubtful"),
)


def _as_csv(tables: Sequence[Table]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*_CSV_AXES, *_CSV_FIELDS, "differs", "imported", "runs"], lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for place, record in _records(table):
            runs = " ".join(run["fingerprint"] for run in record.pop("runs"))
            differs = " ".join(record.pop("differs"))
            fixed = {axis: _plain(axis, value) for axis, value in table.fixed.items()}
            writer.writerow({**fixed, **place, **record, "differs": differs, "imported": table.imported, "runs": runs})
    return buffer.getvalue()


def _records(table: Table) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(place on the axes, what is known) of every group of every cell; missing cells too."""
    for row in table.row_keys:
        for col in table.col_keys:
            if not table.applies(row, col):
                continue
            cell = table.cell(row, col)
            axes = zip(table.rows + table.cols, row + col, strict=True)
            place = {axis: _plain(axis, value) for axis, value in axes}
            for group in cell.groups or [Group(())]:
                yield place, _record(cell, group)


def _record(cell: Cell, group: Group) -> dict[str, Any]:
    entries = group.entries
    scores = [entry.score for entry in entries if entry.score]
    interval = _interval(group)
    return {
        "untrained": any(entry.run.labels.get("untrained") for entry in entries),
        "imported_frames": any(looked_at_imported(entry.run) for entry in entries),
        "state": group.state if entries else "missing",
        "value": group.mean,
        "sd": group.sd,
        "ci_low": interval[0] if interval else None,
        "ci_high": interval[1] if interval else None,
        "floor": group.floor,
        "above_floor": group.above_floor,
        "seeds": len(group.values),
        "n": sum(score.n for score in scores),
        "unparsed": sum(score.unparsed for score in scores),
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


def _plain(axis: str, value: Any) -> Any:
    """The value itself: whether weights are random, and whether frames were imported, are fields of their own."""
    if axis == "sampler" and value is not None:
        return value.removesuffix(" (imported)")
    return value.removesuffix(" (untrained)") if axis == "model" else value
