"""`smx db`: check the registry, query it, print it as text, make it again from the run folders."""

from __future__ import annotations

import csv
import dataclasses
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from smx.atomic_io import expanded
from smx.cli._common import counted, out, out_json, say, workspace
from smx.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Check, query, export or rebuild the registry (registry.db).")


@app.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Is the registry whole, and does it agree with the run folders? Exit code 1 if not.

    Example: smx db check
    """
    from smx.registry import export
    from smx.registry.store import Registry

    place = workspace()
    with Registry.open(place.registry, create=False) as registry:
        found = export.check(registry, place.runs)
    if as_json:
        out_json(dataclasses.asdict(found))
    else:
        for problem in found.problems:
            out(problem)
        size = f"schema {found.schema}, {counted(found.runs, 'run')}, {counted(found.attempts, 'attempt')}"
        if found.problems:
            number = counted(len(found.problems), "problem")
            say(f"{number} ({size}). smx db rebuild makes it again from the run folders.")
        else:
            say(f"{place.registry} is fine: {size}.")
    if found.problems:
        raise typer.Exit(1)


@app.command()
def export(
    to: Annotated[str, typer.Argument(help="A folder, or - for SQL on standard output.", metavar="DIR|-")],
) -> None:
    """The registry as text: a folder of <table>.jsonl, or one SQL script.

    Example: smx db export registry-text; smx db export - | sqlite3 copy.db
    """
    from smx.registry.export import as_sql, to_folder
    from smx.registry.store import Registry

    place = workspace()
    with Registry.open(place.registry, create=False) as registry:
        if to == "-":
            for statement in as_sql(registry.path):
                out(statement)
            return
        try:
            counts = to_folder(registry, Path(expanded(to)))
        except OSError as error:
            raise UserError(f"cannot write to {to}: {error.strerror}", "name another folder") from None
    say(f"{sum(counts.values())} rows of {len(counts)} tables in {to}")


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One select statement.", metavar="SQL", show_default=False)],
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, with a head line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: a list of objects.")] = False,
) -> None:
    """Ask the registry in SQL. The views score_table and ledger are made for it; nothing can be changed.

    Example: smx db query "select variant, frames, value from score_table where metric = 'all.micro'" --csv
    """
    from smx.registry.select import select
    from smx.registry.store import Registry

    if as_csv and as_json:
        raise UserError("--csv and --json are two formats", "choose one")
    place = workspace()
    # Says what is wrong with the file; brings its schema up to date.
    Registry.open(place.registry, create=False).close()
    names, values = select(place.registry, sql)
    rows = [tuple(map(_plain, row)) for row in values]
    if as_json:
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"two columns are called {twice!r}, and JSON has one key for both", "name them: … as other")
        out_json([dict(zip(names, row, strict=True)) for row in rows])
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
    else:
        _print_rows(names, rows)


def _plain(value: Any) -> Any:
    """What JSON and CSV have: bytes in hex, as SQLite writes them; no number that is not finite."""
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return None if isinstance(value, float) and not math.isfinite(value) else value


@app.command()
def rebuild() -> None:
    """Make the registry again from the run folders, the imported history and the notes.

    The new one takes the old one's place only when it is complete; the old one is kept as registry.db.bak. Imported
    entries whose history file is gone are taken over from it. A run whose folder is damaged is left out and named, and
    the exit code is 1; its folder stays as it is.

    Example: smx db rebuild
    """
    from smx.control.rebuild import rebuild as make_again

    place = workspace()
    place.require_writable()
    place.share()
    replaced = place.registry.exists()
    rebuilt = make_again(place)
    sizes = rebuilt.sizes
    made = f"{counted(sizes['runs'], 'run')}, {counted(sizes['attempts'], 'attempt')}"
    kept = f"{counted(sizes['imports'], 'imported entry/imported entries')}, {counted(sizes['notes'], 'note')}"
    say(f"{place.registry}: {made}, {kept}.")
    if replaced:
        say(f"The old one is {place.registry}.bak.")
    for file, taken in rebuilt.fileless.items():
        entries = counted(taken, "imported entry/imported entries")
        say(f"taken over from the old one: {entries} of {file}, gone from {place.experiments / 'history'}.")
    for folder, problem in rebuilt.left_out.items():
        say(f"left out: {folder.relative_to(place.runs)}: {problem}")
    for line in rebuilt.damage:
        say(f"done without: {line}")
    for line in rebuilt.doubts:
        say(f"not known yet: {line}")
    if rebuilt.left_out:
        number = counted(len(rebuilt.left_out), "run")
        say(f"{number} left out: put those files back from a copy, then smx db rebuild again.")
    if rebuilt.left_out or rebuilt.damage:
        raise typer.Exit(1)


def _print_rows(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from smx.cli._common import print_tables

    table = Table(box=SIMPLE_HEAD)
    for k, name in enumerate(names):
        numbers = all(isinstance(row[k], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    print_tables(table)
    say(counted(len(rows), "row"))
