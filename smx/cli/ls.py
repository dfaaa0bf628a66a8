"""`smx ls`: runs, their scores, and what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from smx.cli._filters import Bench, Frames, Kind, Model, Sampler, Since, State, Tag

if TYPE_CHECKING:
    from rich.text import Text

    from smx.monitor.run_list import Listed


def ls(
    kind: Kind = None,
    model: Model = None,
    sampler: Sampler = None,
    frames: Frames = None,
    bench: Bench = None,
    state: State = None,
    since: Since = None,
    tag: Tag = None,
    experiment: Annotated[str, typer.Option(help="Asked for by this matrix.")] = "",
    sort: Annotated[str, typer.Option(help="A column: score, loss, took, items, made, or a key of specs.")] = "made",
    cols: Annotated[str, typer.Option(help="These columns: score,seed,recipe.lr.", show_default="what differs")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs with their scores, and a column for whatever tells runs of one name apart; newest first.

    On a terminal, columns that do not fit are left out and named.

    Example: smx ls --bench rooms --sort score
    """
    from smx.cli._common import counted, out, out_json, registry_as_it_is, say, say_removed, workspace
    from smx.cli._filters import filters
    from smx.control.sync import refresh
    from smx.monitor.run_list import columns, listed

    space = workspace()
    wanted = filters(
        kind=kind, model=model, sampler=sampler, frames=frames, bench=bench, state=state, since=since, tag=tag
    )
    with registry_as_it_is(space) as registry:
        refresh(space, registry, say)
        lines, fitting = listed(space, registry, wanted, sort=sort, experiment=experiment, limit=limit)
    shown = columns(lines, [name.strip() for name in cols.split(",")] if cols else ())
    if as_json:
        out_json([line.json() | ({"columns": {c: line.value(c) for c in shown}} if cols else {}) for line in lines])
        return
    if not lines:
        out("No runs fit these filters." if wanted or experiment else "No runs yet: smx demo, or smx gen --help.")
        return
    left_out = _print(lines, shown, narrow=not cols)
    if left_out:
        say(f"not shown, for want of room: {', '.join(left_out)} (--cols {left_out[0]},… names those to show)")
    say_removed(space)
    if fitting > len(lines):
        say(f"{counted(fitting - len(lines), 'run')} more: --limit {fitting}")


def _print(lines: Sequence[Listed], columns: list[str], *, narrow: bool) -> list[str]:
    """Print the table; on a terminal, if `narrow`, without the columns that do not fit, whose names are returned."""
    from rich.cells import cell_len
    from rich.table import Table

    from smx.cli._common import console, print_tables

    cells = {name: [_cell(line, name) for line in lines] for name in columns}
    widths = {name: max(cell_len(name), *(text.cell_len for text in cells[name])) for name in columns}
    left_out: list[str] = []
    room = console().width
    # The name is what other commands take; then the newest keys go, from the right.
    for name in [*columns[3:]][::-1] if narrow and console().is_terminal else []:
        if sum(widths[n] + 2 for n in columns if n not in left_out) - 2 > room:
            left_out.insert(0, name)
    shown = [name for name in columns if name not in left_out]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in shown:
        table.add_column(name, justify="right" if name in ("score", "loss", "took") else "left")
    for row in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*row)
    print_tables(table)
    return left_out


def _cell(line: Listed, column: str) -> Text:
    from rich.text import Text

    from smx.monitor.status import span
    from smx.states import BAD, LIVE, RunState

    row, value = line.row, line.value(column)
    if column == "state":
        style = "red" if value in BAD else "bold" if value in LIVE else "green" if value == RunState.done else "dim"
        return Text(value, style)
    if column == "items":
        failed = f", {row.failed} failed" if row.failed else ""
        return Text(f"{row.done}/{'?' if row.items is None else row.items}{failed}")
    if value is None:
        return Text("")
    if column == "score" and line.score:
        mean, low, high = line.score
        sure = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return Text(f"{100 * mean:.1f}{sure}")
    if column == "loss":
        return Text(f"{value:.3f}")
    if column == "took":
        return Text(span(value))
    if column == "made":
        return Text(value[:16])
    return Text(", ".join(map(str, value)) if isinstance(value, list) else str(value))
