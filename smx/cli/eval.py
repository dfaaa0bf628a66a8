"""`smx eval`: ask a model every question of a bench."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli import _launch as L

if TYPE_CHECKING:
    from smx.registry.rows import RunRow
    from smx.registry.store import Registry
    from smx.resolve import Resolver
    from smx.run import Run


class Input(StrEnum):
    """What a model is told about its frames."""

    video = "video"
    frames = "frames"


class Order(StrEnum):
    """In which order pairs of frames are shown."""

    given = "given"
    reversed = "reversed"
    shuffled = "shuffled"


def evaluate(
    model: Annotated[str, typer.Option(help="Variant, or several separated by commas: smx list models.")] = "tiny",
    bench: Annotated[str, typer.Option(help="Benchmark: smx list benches.")] = "rooms",
    sampler: Annotated[str, typer.Option(help="Sampler, or imported frames; or several, by commas.")] = "uniform",
    frames: Annotated[str, typer.Option(help="Frames per scene, or several counts separated by commas.")] = "16",
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: a folder, or a train run (smx ls --kind train).")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the bench's questions and videos are.")] = None,
    where: Annotated[str | None, typer.Option(help="Only some questions: question_type=…,dataset=… ")] = None,
    subset: Annotated[str | None, typer.Option(help="Published subset of the bench, e.g. debiased (vsibench).")] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt of the bench, e.g. official or spatial-mllm.")] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Ask without frames: what the questions give away.")] = False,
    input: Annotated[
        Input, typer.Option(help="frames: as a list of pictures, two a second, not a video with its times.")
    ] = Input.video,
    frame_order: Annotated[Order, typer.Option(help="Show pairs of frames in another order.")] = Order.given,
    allow_position_mismatch: L.AllowMismatch = False,
    seed: L.Seeds = "0",
    executor: L.Executor = None,
    shards: L.Shards = 1,
    set_: L.Sets = None,
    max_failed: L.MaxFailed = None,
    canary: L.Canary = False,
    retry: L.Retry = False,
    watch: L.Watch = False,
    dry_run: L.DryRun = False,
    as_json: L.AsJson = False,
) -> None:
    """Ask a model every question of a benchmark; a missing sample set is made first.

    Example: smx eval --model prope --bench vsibench
    """
    from smx.cli._common import out, workspace

    named = (("where", where), ("subset", subset), ("prompt", prompt))
    options = {key: value for key, value in named if value is not None}
    given: dict[str, Any] = {"bench": bench, "root": root, "checkpoint": checkpoint}
    if allow_position_mismatch:
        given["allow_position_mismatch"] = True
    if options:
        given["bench_options"] = options
    if blind:
        given["blind"] = True
    if input is not Input.video:
        given["input"] = input.value
    if frame_order is not Order.given:
        given["frame_order"] = frame_order.value
    given = L.changed(given, L.settings(set_))
    how = L.LaunchOptions(executor, dry_run, retry, shards, max_failed, watch, as_json, canary)

    def build(resolver: Resolver) -> tuple[list[Run], set[str]]:
        cells, asked = [], set()
        for name in L.choices(model):
            for rule in L.choices(sampler):
                for count in L.integers(frames, "frames"):
                    for number in L.integers(seed, "seed"):
                        request = {"model": name, "sampler": rule, "frames": count, "seed": number, **given}
                        made = resolver.eval(request)
                        cells += made
                        asked.add(made[-1].fingerprint)
        return cells, asked

    def find_trained(registry: Registry, resolver: Resolver) -> None:
        if checkpoint and not Path(checkpoint).is_dir():
            resolver.trained = {checkpoint: trained_cell(space, registry, checkpoint)}

    space = workspace()
    done = L.launch(space, how, build, before=find_trained)
    if not dry_run and not as_json:
        L.summary(space, done)
        _say_scores(space, done)
        out("table: smx report")
    raise typer.Exit(done.code)


def trained_cell(space: Any, registry: Registry, text: str) -> Run:
    """The train run a person names as a checkpoint. `UserError` when it is none, or has not been done."""
    from smx.control.sync import cell_of, sync
    from smx.errors import UserError
    from smx.runfolder import RunFolder

    if Path(text).is_absolute() or text.startswith((".", "~")):
        raise UserError(f"there is no checkpoint folder {text!r}", "--checkpoint takes a folder, or a train run's name")
    sync(space, registry)
    row = registry.find(text)
    if row.kind != "train":
        raise UserError(f"{text!r} is a {row.kind} run, not a checkpoint", "smx ls --kind train")
    if row.state != "done" and not registry.attempts(row.fingerprint, live=True):
        raise UserError(f"train run {text!r} is {row.state}: it has no finished checkpoint", f"smx show {text}")
    return cell_of(RunFolder(space.runs / row.folder))


def _say_scores(space: Any, done: L.Launch) -> None:
    from smx.cli._common import out
    from smx.runfolder import RunFolder

    for row in done.rows:
        result = RunFolder(space.runs / row.folder).result()
        for scorer, found in ((result or {}).get("scores") or {}).items():
            averages = found["all"]
            if averages["micro"] is not None:
                micro, macro = 100 * averages["micro"], 100 * averages["macro"]
                counts = f"n {found['n']}/{row.items}, {found['unparsed']} unparsed"
                mark = " (untrained)" if row.untrained else ""
                name = f"{row.variant}{mark}{_among(row, done.rows)}"
                out(f"          {name} {scorer}: all micro {micro:.1f}, macro {macro:.1f} ({counts})")


def _among(row: RunRow, rows: Sequence[RunRow]) -> str:
    """What tells a run from the others of its model that were asked for together."""
    own = [other for other in rows if other.variant == row.variant]
    frames = f"{row.sampler} {row.frames} frames" if len({(r.sampler, r.frames) for r in own}) > 1 else ""
    seed = f"seed {row.seed}" if len({r.seed for r in own}) > 1 else ""
    return "".join(f", {part}" for part in (frames, seed) if part) + ("," if frames or seed else "")
