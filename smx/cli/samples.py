"""`smx samples`: what is in the sample sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(name="samples", no_args_is_help=True, help="Look into sample sets: overlap, coverage, trends.")


@app.callback()
def samples() -> None:
    """Look into sample sets: overlap, coverage, trends."""


@app.command()
def stats(
    sampler: Annotated[
        str | None, typer.Option(help="Only these samplers, separated by commas.", show_default="all")
    ] = None,
    frames: Annotated[
        str | None, typer.Option(help="Only these frame counts, separated by commas.", show_default="all")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Only these datasets, separated by commas.", show_default="all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, shares in 0..1.")] = False,
) -> None:
    """Overlap of merged frames, coverage and their trend with the frame count.

    A row per sampler, dataset and frame count: mean and 10th percentile of
    the overlap within pairs, the share of pairs below the sampler's
    min_overlap (0.5 where it has none), the share of the scene's voxels
    covered, and how many frames are those that sa chose. Below it, fits of
    the mean overlap against the frame count.

    Example: smx samples stats --sampler mergeaware_sa
    """
    from smx.cli._common import console, out_json, print_tables, workspace
    from smx.report.samples import stats as statistics

    place = workspace().samples
    found = statistics(place, _names(sampler), _counts(frames), _names(dataset))
    if as_json:
        out_json(found)
        return
    screen = console()
    if not found["rows"]:
        screen.print(f"No samples under {place} yet; smx gen --sampler mergeaware_sa --frames 16 makes some.")
    else:
        print_tables(_overview(found["rows"]))
    if found["fits"]:
        print_tables(_trends(found["fits"]))
    for line in found["damaged"]:
        console(stderr=True).print(f"left out: {line}", soft_wrap=True)


def _names(given: str | None) -> list[str]:
    return [name.strip() for name in (given or "").split(",") if name.strip()]


def _counts(given: str | None) -> list[int]:
    from smx.errors import UserError

    wrong = [name for name in _names(given) if not name.isdigit()]
    if wrong:
        raise UserError(f"--frames {wrong[0]!r} is no frame count", "for example: --frames 8,16")
    return [int(name) for name in _names(given)]


def _overview(rows: list[Mapping[str, Any]]) -> Table:
    from smx.report.samples import label

    table = _table("Pair overlap and coverage, shares in %")
    for name in ("n", "scenes", "overlap", "p10", "below", "coverage", "as sa", "fill"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = [row[k] for k in ("overlap", "overlap_p10", "below", "coverage", "shared_with_sa", "fill")]
        table.add_row(
            label(row, rows), row["dataset"], str(row["frames"]), str(row["scenes"]), *(_percent(x) for x in numbers)
        )
    return table


def _trends(fits: list[Mapping[str, Any]]) -> Table:
    from smx.report.samples import label

    table = _table("Mean pair overlap against the frame count n")
    for name in ("n", "a + b·n", "R²", "1 − c/n", "R²"):
        table.add_column(name, justify="right")
    for fit in fits:
        line, curve = fit["linear"], fit["reciprocal"]
        table.add_row(
            label(fit, fits),
            fit["dataset"],
            ",".join(str(n) for n, _ in fit["points"]),
            f"{line['a']:.3f} {line['b']:+.4f}·n",
            _number(line["r2"]),
            f"1 − {curve['c']:.2f}/n",
            _number(curve["r2"]),
        )
    return table


def _table(title: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("sampler", overflow="fold", min_width=18)
    table.add_column("dataset", overflow="fold")
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
