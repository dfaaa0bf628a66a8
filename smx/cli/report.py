"""`smx report`: comparison tables."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smx.report.formats import names

if TYPE_CHECKING:
    from smx.report.query import Query
    from smx.report.table import Table


# A format is a file of smx/report/formats, so mypy cannot know their names.
Format = StrEnum("Format", {name: name for name in names()})  # type: ignore[misc]

_EMPTY = "There are no scores yet. This makes some: smx eval --model prope --bench vsibench"
_IMPORTED = " (imported ones: smx report --imported)"


def report(
    rows: Annotated[str, typer.Option(metavar="AXES", help="What the rows are; default model.")] = "",
    cols: Annotated[str, typer.Option(metavar="AXES", help="What the columns are; default sampler,frames.")] = "",
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="all.micro, all.macro (default: both), acc and mra likewise; type or task: each of them.",
        ),
    ] = "",
    bench: Annotated[str | None, typer.Option(metavar="NAME", help="Only this bench.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Score by this one; all: each in a table. Default: the bench's own."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only such runs: model, sampler, frames, seed, state or a key of specs; a,b for either. Repeatable.",
        ),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="Default: table, or what FILE's ending says.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")] = None,
    runs: Annotated[bool, typer.Option("--runs", help="Name the runs behind each cell.")] = False,
    intervals: Annotated[bool, typer.Option("--intervals", help="95 % intervals, by how scenes vary.")] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Two models, or two runs: what b gains on the same questions, and p."),
    ] = None,
    power: Annotated[
        str,
        typer.Option(
            metavar="POINTS",
            help="With --compare: how many scenes a difference of so many points needs; observed: the one there is.",
        ),
    ] = "",
    imported: Annotated[bool, typer.Option("--imported", help="Also imported scores, in tables of their own.")] = False,
    with_published: Annotated[
        bool, typer.Option("--with-published", help="Also published numbers of these benches, in tables of their own.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Compare models, samplers and frame counts in tables fit for a paper.

    Benches, scorers and averages are never mixed: each has its own table, and
    an average is never shown without its name. AXES are comma lists of model,
    sampler, frames, bench, scorer, metric, seed, type, task and keys of specs
    (sampler_options.window, recipe.lr). What differs in more than its seed has
    a row or column of its own. Tables show scores times 100; csv and json have
    them in 0..1, unrounded.

    Example: smx report --rows model --cols sampler,frames -o table.md
    """
    from smx.atomic_io import write_output
    from smx.cli._common import say, say_removed, workspace
    from smx.errors import UserError
    from smx.report.formats import render
    from smx.report.page import Style
    from smx.report.query import parse

    if compare is not None:
        if any((rows, cols, metric, where, imported, runs, output, intervals, with_published)):
            raise UserError("--compare has a table of its own", "with it go --bench, --scorer, --power and --json")
        if format not in (None, "table", "json"):
            raise UserError(f"--compare is not written as {format}", "as a table without --format, or --json")
        _compare(*compare, bench, scorer, power, as_json=as_json or format == "json")
        return
    if power:
        raise UserError("--power is about a comparison", f"smx report --compare A B --power {power}")
    chosen = "json" if as_json else format or _of_ending(output)
    query = parse(rows, cols, metric, bench, scorer, where or ())
    with _without_collector():
        found = _tables(query, imported=imported, published=with_published)
        style = Style(
            runs, intervals, None if output else _width(), workspace(quiet=True).root / "templates" / "reports"
        )
        text = render(found, chosen, style)
    say_removed(workspace(quiet=True))
    if not found:
        say(_why_empty(query, imported=imported))
        if not text:
            return
    if output is None:
        sys.stdout.write(text)
    else:
        write_output(output, text.encode())
        say(f"wrote {output}")


def _of_ending(output: Path | None) -> str:
    from smx.atomic_io import is_special
    from smx.errors import UserError
    from smx.report.formats import endings

    ending, formats = output.suffix.lower() if output and not is_special(output) else "", endings()
    if ending not in formats:  # a page that is none, opened by whoever is handed it
        there = ", ".join(filter(None, formats))
        raise UserError(f"-o {output}: there is no report that ends in {ending}", f"one of {there}; or say --format")
    return formats[ending]


def _compare(a: str, b: str, bench: str | None, scorer: str | None, power: str, *, as_json: bool) -> None:
    from smx.cli._common import out, out_json, registry_as_it_is, workspace
    from smx.report.paired_test import lines, pairs, plan

    difference = _points(power) if power not in ("", "observed") else None
    place = workspace()
    with registry_as_it_is(place) as registry:
        found = pairs(registry, place.runs, a, b, bench, scorer)
    if power:
        plan(found, difference)
    if as_json:
        out_json(found)
    else:
        out("\n\n".join("\n".join(lines(entry)) for entry in found))


def _points(text: str) -> float:
    """`2.5` points as a difference of scores in 0..1."""
    from smx.errors import UserError

    try:
        points = float(text)
    except ValueError:
        points = 0.0
    if not 0 < points <= 100:
        raise UserError(f"--power {text}: points are a number above 0, at most 100", "--power 2.5, or --power observed")
    return points / 100


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A large report makes hundreds of thousands of rows and no cycles: looking for some is a third of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _tables(query: Query, *, imported: bool, published: bool) -> list[Table]:
    from smx.cli._common import registry_as_it_is, say, workspace
    from smx.report.published import BENCHES
    from smx.report.tables import imported_tables, published_tables, tables

    place = workspace()
    with registry_as_it_is(place) as registry:
        if registry.attempts(live=True):
            from smx.control.sync import refresh

            refresh(place, registry, say)
        asked = registry.benches()
        others_only = published and query.bench in BENCHES - asked  # nothing of ours yet, which is no mistake
        found = [] if others_only else tables(registry, query, place.runs)
        found += imported_tables(registry, query) if imported else []
        if published:
            found += published_tables(query, {query.bench} if query.bench else asked or BENCHES)
        return found


def _why_empty(query: Query, *, imported: bool) -> str:
    if query.where:
        shown = " ".join(f"{key}={','.join(values)}" for key, values in query.where.items())
        return f"No run fits {shown}. All there is: smx report"
    return _EMPTY if imported else _EMPTY + _IMPORTED


def _width() -> int | None:
    """Of the terminal; a pipe has none, unless COLUMNS says so."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None
