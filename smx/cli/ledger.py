"""`smx ledger`: the notes' view, every job by date; and the import of past ones."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smx.cli._common import counted, out, out_json, say, workspace

if TYPE_CHECKING:
    from smx.registry.ledger import LedgerRow

app = typer.Typer()

_SHORT = {"done": "D", "failed": "X", "doubtful": "?"}
_COLOUR = {"D": "32", "X": "31", "lost": "31", "excluded": "31", "?": "33", "lucky": "33", "running": "36"}
_TWO_JOBS = 15  # remarks start after so many characters of job ids, where there is room beside them
_LEGEND = {"D": "done", "X": "failed", "?": "doubtful", "lucky": "succeeded by chance", "planned": "not started"}


class Kind(StrEnum):
    """What a run does."""

    gen = "gen"
    train = "train"
    eval = "eval"


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    kind: Annotated[Kind | None, typer.Option(help="Only gen, train or eval.")] = None,
    since: Annotated[str | None, typer.Option(help="From this day on: 2026-02-14, or 7d, 2w ago.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many cells; 0 for all.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Every job by date, newest first, as in the lab's notes.

    Own runs and imported ones together, one line per cell: its mark, what it
    is, frames, and its job ids. The first id counts; the later ones are earlier
    attempts.

    Example: smx ledger --kind eval --since 2026-02-14
    """
    if context.invoked_subcommand is not None:
        return
    from smx.registry.ledger import rows, since_date
    from smx.registry.store import Registry

    start = since_date(since) if since else None
    place = workspace()
    found: list[LedgerRow] = []
    total = everything = 0
    if place.registry.exists():
        with Registry.open(place.registry) as registry:
            found, total = rows(registry, kind=kind, since=start, limit=limit)
            everything = total if kind is None and start is None else rows(registry, limit=1)[1]
    if as_json:
        out_json([_for_programs(row) for row in found])
    elif found:
        width = shutil.get_terminal_size((100, 24)).columns
        out("\n".join(_page(found, width)))
        say(_footer(found, total))
    elif everything:
        say(f"Nothing fits; without --kind and --since there are {everything} cells.")
    else:
        say("The ledger is empty. smx demo fills it; smx ledger import FILE brings in past jobs.")


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="A history file (YAML, schema: 1).", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Take it in place of another file of that name.")] = False,
) -> None:
    """Bring past jobs and scores into the ledger, marked imported.

    Twice changes nothing. The file is copied into experiments/history, where
    smx db rebuild finds it. It looks like this:

        schema: 1
        source: research notes, 12.02-19.02
        jobs:
          - {date: 2026-02-13, kind: gen, sampler: sa, frames: 8,
             ids: [2834355, 2828004], mark: done}
        scores:
          - {model: qwen2_5vl, bench: vsibench, metric: all.micro,
             value: 0.29, n: 150}

    Example: smx ledger import experiments/history/2026-02.yaml
    """
    from smx.registry.ledger import keep_history
    from smx.registry.store import Registry

    place = workspace()
    with Registry.open(place.registry) as registry:
        done = keep_history(registry, file, place.experiments / "history", replace=replace)
    parts = [f"{counted(done.added, 'new entry/new entries')}, {done.known} known already"]
    parts += [f"{done.removed} gone"] if done.removed else []
    say(f"{done.file}: {', '.join(parts)}. smx ledger shows them, smx report --imported their scores.")


def _page(found: Sequence[LedgerRow], width: int) -> list[str]:
    cells = [(_mark(row), row.kind, _what(row), str(row.frames or ""), (row.run or "")[-8:]) for row in found]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[3] = max(widths[3], len("frames"))
    jobs_at = sum(w + 2 for w in widths if w) + 2
    remarks_at = sum(w + 2 for w in widths[:2] if w) + 2
    heads = ("", "kind", "what", "frames", "run", "jobs, newest first")
    lines = [_style("2", _line(heads, widths))]
    for day, rows in groupby(zip(found, cells, strict=True), key=lambda pair: pair[0].date):
        lines += ["", _style("1", f"{day} {date.fromisoformat(day):%A}")]
        for row, cell in rows:
            jobs, *more = _wrap(row.jobs or "", width - jobs_at) or [""]
            line = _line((*cell, jobs), widths)
            remark = "; ".join(filter(None, (_count(row), row.failure, row.note)))
            beside = f"{line:<{jobs_at + _TWO_JOBS}}  "
            if remark and not more and len(beside) + len(remark) <= width:
                line, remark = beside + _style("2", remark), ""
            lines.append(line.replace(cell[0], _style(_COLOUR.get(cell[0], ""), cell[0]), 1))
            lines += [" " * jobs_at + part for part in more]
            lines += [_style("2", " " * remarks_at + part) for part in _wrap(remark, width - remarks_at)]
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(30, width), break_on_hyphens=False, break_long_words=False)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells in columns, two blanks apart; a column that is empty everywhere is left out."""
    padded = [
        f"{c:>{w}}" if k == 3 else f"{c:<{w}}" for k, (c, w) in enumerate(zip(cells[:5], widths, strict=True)) if w
    ]
    return ("  " + "  ".join([*padded, cells[5]])).rstrip()


def _mark(row: LedgerRow) -> str:
    return _SHORT.get(row.mark or "", row.mark or "")


def _what(row: LedgerRow) -> str:
    variant = " ".join(filter(None, (row.variant, row.detail)))
    sampler = None if row.sampler == "none" else row.sampler
    return " · ".join(filter(None, (variant, sampler, row.bench, row.dataset)))


def _count(row: LedgerRow) -> str | None:
    """How far a run got, where that is not simply all of it."""
    if row.items is None or row.done == row.items or not (row.done or row.failed):
        return None
    return f"{row.done}/{row.items} items" + (f", {row.failed} failed" if row.failed else "")


def _footer(found: Sequence[LedgerRow], total: int) -> str:
    marks = {_mark(row) for row in found}
    legend = "  ".join(f"{mark} {meaning}" for mark, meaning in _LEGEND.items() if mark in marks)
    imported = sum(row.origin == "imported" for row in found)
    share = "all" if imported == len(found) else f"{imported} of them"
    cells = f"{len(found)} cell{'' if len(found) == 1 else 's'}" + (f", {share} imported." if imported else ".")
    older = f" {total - len(found)} older: --limit 0" if total > len(found) else ""
    return f"\n{cells}{older}" + (f"  {legend}" if legend else "")


def _for_programs(row: LedgerRow) -> dict[str, object]:
    return {**dataclasses.asdict(row), "jobs": row.ids}


def _style(code: str, text: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain or not text or not code else f"\x1b[{code}m{text}\x1b[0m"
