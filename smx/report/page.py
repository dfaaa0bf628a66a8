"""A table in words, as every format for people shows it: title, headings, cells, notes.

People see scores times 100 with one decimal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from smx.report.footnotes import NO_BETTER, explanation, heading, notes, wording
from smx.report.table import Entry, Key, SeedRuns, Table
from smx.states import RunState

MISSING = "—"
_STANDING_STILL = ("excluded", "no items", "unscored")  # states whose progress is beside the point


class Style(NamedTuple):
    """What cells say besides their score, and how a page is set."""

    runs: bool = False  # fingerprints of the runs behind a cell
    intervals: bool = False  # 95 %, by scenes
    width: int | None = None  # characters that a text table may be wide; None: as many as it takes
    templates: Path | None = None  # folder whose templates come before those that smx ships


class Page(NamedTuple):
    """One table in words."""

    title: str
    about: str  # in a line: what its numbers are
    rows: Sequence[str]  # names of the row axes
    cols: Sequence[str]  # names of the column axes
    stubs: Sequence[Sequence[str]]  # of each row: its values of the row axes
    heads: Sequence[Sequence[str]]  # of each column: its values of the column axes, outermost first
    names: Sequence[str]  # of each column: all its headings in one line
    body: Sequence[Sequence[str]]  # cells by row and column
    notes: Sequence[str]  # what its signs mean

    def levels(self) -> Iterator[list[tuple[str, int]]]:
        """Of each level of headings: (heading, columns it stands over), from left to right. Innermost last."""
        for level in range(len(self.cols) - 1):
            spans = [list(columns) for _, columns in groupby(self.heads, key=lambda head: tuple(head[: level + 1]))]
            yield [(columns[0][level], len(columns)) for columns in spans]
        yield [(head[-1] if head else "score", 1) for head in self.heads]


def page_of(table: Table, style: Style) -> Page:
    """`table` with every cell as text."""
    return Page(
        title=heading(table),
        about=explanation(table),
        rows=table.rows,
        cols=table.cols,
        stubs=[wording(table.rows, row) for row in table.row_keys],
        heads=[wording(table.cols, col) for col in table.col_keys],
        names=[", ".join(filter(None, wording(table.cols, col, alone=True))) or "score" for col in table.col_keys],
        body=[[cell_text(table, row, col, style) for col in table.col_keys] for row in table.row_keys],
        notes=notes(table, MISSING),
    )


def cell_text(table: Table, row: Key, col: Key, style: Style) -> str:
    """`48.4`, `48.4 (237/240)`, `48.4 ± 0.6`, `running 12/240`, `failed`, `—`; empty where nothing could be run."""
    cell = table.cell(row, col)
    if not cell.entries:
        return MISSING if table.applies(row, col) else ""
    shown = cell.scored or cell.groups
    text = " or ".join(dict.fromkeys(_group_text(table, group, style) for group in shown))
    others = [_state_text(entry) for group in cell.groups if group not in shown for entry in group.entries]
    return text + "".join(f" +{state}" for state in dict.fromkeys(others))


def _group_text(table: Table, group: SeedRuns, style: Style) -> str:
    scored = [entry for entry in group.entries if entry.value is not None]
    states = list(dict.fromkeys(_state_text(entry) for entry in group.entries if entry.value is None))
    if group.mean is None:
        text = ", ".join(states)
    else:
        text = f"{100 * group.mean:.{table.decimals}f}"
        text += "?" if any(entry.score and entry.score.doubtful for entry in scored) else ""
        text += NO_BETTER if group.marked else ""
        text += f" ± {100 * group.sd:.1f}" if group.sd is not None else ""
        if style.intervals and (interval := group.interval):
            text += f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
        remarks = _remarks(table, group, scored)
        text += f" ({', '.join(remarks)})" if remarks else ""
        text += "".join(f" +{state}" for state in states)
    if style.runs and not table.imported:
        text += f" [{' '.join(entry.run.fingerprint[:8] for entry in group.entries)}]"
    return text


def _remarks(table: Table, group: SeedRuns, scored: Sequence[Entry]) -> list[str]:
    remarks = [f"{len(scored)} seeds"] if group.sd is not None and table.seeds is None else []
    done, items = sum(e.run.done for e in scored), sum(e.run.items or 0 for e in scored)
    if done < items:
        remarks.append(f"{done}/{items}")
    elif items and table.items is None:
        remarks.append(f"n={items // len(scored)}")
    remarks += dict.fromkeys(e.state for e in scored if e.state != RunState.done)
    if "model" not in table.rows + table.cols and any(e.run.untrained for e in scored):
        remarks.append("untrained")
    elif "model" not in table.rows + table.cols and any(e.run.pose_untrained for e in scored):
        remarks.append("poses untrained")
    return remarks


def _state_text(entry: Entry) -> str:
    progress = entry.run.done and entry.state not in _STANDING_STILL
    return f"{entry.state} {entry.run.done}/{entry.run.items}" if progress else entry.state
