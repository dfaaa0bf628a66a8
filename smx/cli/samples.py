"""`smx samples`: what is in the sample sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    name="samples", no_args_is_help=True, help="Look into sample sets: overlap, coverage, trends, pictures."
)


@app.callback()
def samples() -> None:
    """Look into sample sets: overlap, coverage, trends, pictures."""


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
    plot: Annotated[
        Path | None, typer.Option(help="Also draw overlap and coverage against the frame count: .png, .svg or .html.")
    ] = None,
    cameras: Annotated[
        bool, typer.Option("--cameras", help="Compare cameras that a network or a file gave with the dataset's.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, shares in 0..1.")] = False,
) -> None:
    """Overlap of merged frames, coverage and their trend with the frame count.

    A row per sampler, dataset (and its root, where there are several) and
    frame count: mean and 10th percentile of the overlap within pairs, the
    share of pairs below the sampler's min_overlap (0.5 where it has none),
    the share of the scene's voxels covered, and how many frames are those
    that sa chose. Below it, fits of the mean overlap against the frame count.

    --cameras needs samples of one scene by two geometry sources (gen --set
    geometry.source=vggt, and dataset). Over the frames they share it prints
    the scale between the two worlds, and what is left after the best fit:
    median angle, median distance of the centres, error of the focal length.

    Example: smx samples stats --sampler mergeaware_sa --plot overlap.png
    """
    from smx.cli._common import console, out_json, print_tables, say, workspace
    from smx.samples.stats import stats as statistics
    from smx.samples.stats import unshared

    place = workspace().samples
    if cameras:
        _say_cameras(place, _names(dataset), as_json)
        return
    if plot is not None:
        from smx.atomic_io import write_output
        from smx.samples import trend_plot

        trend_plot.check_suffix(plot)
    found = statistics(place, _names(sampler), _counts(frames), _names(dataset))
    if plot is not None:
        write_output(plot, trend_plot.plot(found, plot.suffix.lower()))
        say(f"Drawn: {plot}")
    if as_json:
        out_json(found)
        return
    screen = console()
    if not found["rows"]:
        screen.print(f"No samples under {place} yet; smx gen --sampler mergeaware_sa --frames 16 makes some.")
    else:
        print_tables(_overview(found["rows"]))
        for line in (*unshared(found["rows"]), *(f"{name}: {root}" for name, root in found["roots"].items())):
            screen.print(line, soft_wrap=True)
    if found["fits"]:
        print_tables(_trends(found["fits"]))
    for line in found["damaged"]:
        console(stderr=True).print(f"left out: {line}", soft_wrap=True)


@app.command()
def view(
    sample_set: Annotated[str, typer.Argument(metavar="SET", help="SAMPLER/FRAMES, or the path of a sample set.")],
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="Scene id, with its dataset where that is needed.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to draw: .png or .html. Default: a .png named after both, here."),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN", help="Also what this eval run said about the scene, as .html. Repeatable."),
    ] = None,
) -> None:
    """Draw one sample: a contact sheet of its frames, and the scene from above.

    The frames in their order, pairs joined and coloured by overlap; a map of
    the scene with the cameras, and the voxels that the frames see; and the
    overlap of every two frames. An .html page holds everything in itself;
    with --answers also each question, what runs answered, and the truth.

    Example: smx samples view mergeaware_sa/16 test-000 -o sheet.png
    """
    from smx import sampleset
    from smx.atomic_io import is_special, write_output
    from smx.cli._common import out, registry_as_it_is, workspace
    from smx.errors import SceneError, UserError
    from smx.samples.answers import answered
    from smx.samples.contact_sheet import as_html, as_png, sheet_of
    from smx.samples.lookup import find_sample

    ending = ".html" if answers else ".png"
    if output is not None and not is_special(output):
        ending = output.suffix.lower()
    if answers and ending != ".html":
        raise UserError(f"{output and output.name!r} is a picture, and --answers are text", "such a page ends in .html")
    if ending not in (".png", ".html"):
        raise UserError(f"{output and output.name!r} ends in {ending or 'nothing'}", "a sheet ends in .png or .html")
    space = workspace()
    folder = find_sample(space.samples, sample_set, scene)
    said = ""
    if answers:
        with registry_as_it_is(space) as registry:
            said = answered(registry, space, folder, answers)
    try:
        sheet = sheet_of(sampleset.read(folder))
    except SceneError as error:
        raise UserError(str(error)) from None
    if output is None:
        output = Path(f"{sheet.sample.record['sampler']}-{len(sheet.sample.ids)}f-{folder.name}{ending}")
    write_output(output, as_html(sheet, said).encode() if ending == ".html" else as_png(sheet))
    if not is_special(output):
        out(str(output))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="SAMPLER/FRAMES, or the path of a sample set.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    scenes: Annotated[str, typer.Option(help="Only scenes that fit this glob.")] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, shares in 0..1.")] = False,
) -> None:
    """Two sample sets side by side: frames that differ, overlap, coverage.

    Example: smx samples diff sa/16 mergeaware_sa/16
    """
    from smx.cli._common import console, out_json, print_tables, workspace
    from smx.samples.compare import compare

    found = compare(workspace().samples, first, second, scenes)
    if as_json:
        out_json(found)
        return
    print_tables(_differences(found))
    for key, name in (("only_a", first), ("only_b", second)):
        if found[key]:
            console().print(f"only in {name}: {', '.join(found[key])}", soft_wrap=True)
    for line in found["damaged"]:
        console(stderr=True).print(f"left out: {line}", soft_wrap=True)


@app.command(name="import")
def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="For example sa_sampling_16f/, with DATASET/SCENE/*.png.")
    ],
    name: Annotated[
        str | None, typer.Option("--as", help="What to call its sampler. Default: the folder's name.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Dataset of all scenes. Default: the first folder below DIR.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=0.001, help="Frames a second: times from frame numbers.", show_default="unknown"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read frames that another tool chose and saved, to view, diff and evaluate.

    Pictures only: overlap, coverage and cameras stay unknown. A frame's id
    is the number in its picture's name. Where that counts the frames of the
    video, --fps gives it a time; the same command again may add that.
    Evals and trainings look at them with --sampler NAME.

    Example: smx samples import sa_sampling_16f --dataset vsibench
    """
    from smx.cli._common import counted, out, out_json, say, workspace
    from smx.samples.import_frames import bring_in

    space = workspace()
    space.require_writable()
    found = bring_in(folder, space.samples, name, dataset, fps, say)
    if as_json:
        out_json(found)
    else:
        for place in found["sets"]:
            out(place)
        say(f"{counted(found['scenes'], 'scene')} read" + (f", {len(found['failed'])} not" if found["failed"] else ""))
    if found["failed"]:
        raise typer.Exit(1)


@app.command()
def export(
    sample_set: Annotated[str, typer.Argument(metavar="SET", help="Sample set: SAMPLER/FRAMES, or its folder.")],
    kind: Annotated[
        str, typer.Option("--as", help="lmms-eval or vlmevalkit (task folders), list (pictures), video (clips).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new or empty folder.")],
    bench: Annotated[
        str | None, typer.Option(help="Whose questions are asked.", show_default="the bench of the set's dataset")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the bench's questions are. Default: the site's.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Option of the bench: KEY=VALUE.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write frames for other tools: any of their models sees what a sampler chose.

    Example: smx samples export mergeaware_sa/16 --as lmms-eval -o tasks/
    """
    from smx.cli._common import counted, out, out_json, say, workspace
    from smx.cli._launch import settings
    from smx.errors import unknown
    from smx.samples.export import KINDS, WITH_QUESTIONS, by_scene
    from smx.samples.export import export as write
    from smx.samples.lookup import samples_of
    from smx.samples.questions import questions_for

    if kind not in KINDS:
        raise unknown("kind of export", kind, KINDS)
    space = workspace()
    samples = by_scene(samples_of(space.samples, sample_set))
    asked = questions_for(space, samples, bench, root, settings(set_)) if kind in WITH_QUESTIONS else None
    found = write(samples, sample_set, kind, output, asked, say)
    if as_json:
        out_json(found)
    else:
        out(f"{found['folder']}: {counted(found['scenes'], 'scene')}, {counted(found['questions'], 'question')}")
        for line in found["use"]:
            out(f"  {line}")
    if found["failed"]:
        raise typer.Exit(1)


def _differences(found: Mapping[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title=f"A: {found['a']}   B: {found['b']}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("scene", overflow="fold")
    for name in ("both", "only A", "only B", "same pairs", "overlap A", "B", "coverage A", "B"):
        table.add_column(name, justify="right", overflow="fold")
    for row in found["rows"]:
        shares = [_percent(share) for key in ("overlap", "coverage") for share in row[key]]
        alone = [_few_ids(row[key]) for key in ("only_a", "only_b")]
        order = "" if row["same_order"] or row["only_a"] or row["only_b"] else " (other order)"
        pairs = f"{row['same_pairs']}{order}"
        table.add_row(row["scene"], str(row["shared"]), *alone, pairs, *shares)
    if len(found["rows"]) > 1:
        means = [_percent(share) for key in ("overlap", "coverage") for share in found["mean"][key] or (None, None)]
        table.add_row("mean", "", "", "", "", *means)
    return table


def _few_ids(ids: list[int]) -> str:
    """Frame ids, the first of many."""
    return "-" if not ids else ",".join(map(str, ids[:6])) + (f",… ({len(ids)})" if len(ids) > 6 else "")


def _say_cameras(place: Path, datasets: list[str], as_json: bool) -> None:
    from rich.table import Table

    from smx.cli._common import console, out_json, print_tables
    from smx.samples.camera_errors import camera_stats

    found = camera_stats(place, datasets)
    if as_json:
        out_json(found)
        return
    if not found["rows"]:
        hint = "smx gen --set geometry.source=vggt --dataset NAME makes some beside those of the dataset"
        console().print(f"No scene under {place} has cameras of two sources; {hint}.", soft_wrap=True)
    else:
        title = "Cameras against the dataset's, medians over scenes"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("source")
        table.add_column("dataset", overflow="fold")
        for name in ("scenes", "frames", "scale", "angle °", "distance", "of path %", "focal %"):
            table.add_column(name, justify="right")
        for row in found["rows"]:
            numbers = [f"{row['scale']:.3f}", f"{row['rotation']:.2f}", f"{row['translation']:.3f}"]
            shares = [_percent(row["relative"]), _percent(row["focal"])]
            table.add_row(row["source"], row["dataset"], str(row["scenes"]), str(row["frames"]), *numbers, *shares)
        print_tables(table)
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
    from smx.samples.stats import label

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
    from smx.samples.stats import label

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
