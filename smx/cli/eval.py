"""`smx eval`: ask a model every question of a bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli import _launch as L

if TYPE_CHECKING:
    from smx.control.launch import Launch
    from smx.registry.rows import RunRow
    from smx.workspace import Workspace


class Input(StrEnum):
    """What a model is told about its frames."""

    video = "video"
    frames = "frames"


class Dtype(StrEnum):
    """Precision that a model computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Order(StrEnum):
    """In which order pairs of frames are shown."""

    given = "given"
    reversed = "reversed"
    shuffled = "shuffled"


def evaluate(
    model: Annotated[str, typer.Option(help="Variant, or several separated by commas: smx list models.")] = "tiny",
    bench: Annotated[str, typer.Option(help="Benchmark (smx list benches), or a table of questions.")] = "rooms",
    sampler: Annotated[str, typer.Option(help="Sampler, or imported frames; or several, by commas.")] = "uniform",
    frames: Annotated[str, typer.Option(help="Frames per scene, or several counts separated by commas.")] = "16",
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: a folder, a hub id in the cache (ID@REV), or a train run.")
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
    dtype: Annotated[
        Dtype | None, typer.Option(help="Precision. Default: bfloat16 for checkpoints on a GPU, else float32.")
    ] = None,
    allow_position_mismatch: L.AllowMismatch = False,
    strict: L.Strict = False,
    seed: L.Seeds = "0",
    executor: L.Executor = None,
    shards: L.Shards = 1,
    set_: L.Sets = None,
    max_failed: L.MaxFailed = None,
    canary: L.Canary = False,
    retry: L.Retry = False,
    keep: L.Keep = False,
    watch: L.Watch = False,
    dry_run: L.DryRun = False,
    as_json: L.AsJson = False,
) -> None:
    """Ask a model every question of a benchmark; a missing sample set is made first.

    Example: smx eval --model prope --bench vsibench
    """
    from smx.cli._common import out, workspace
    from smx.control.launch import LaunchOptions, combinations

    named = (("where", where), ("subset", subset), ("prompt", prompt))
    bench_options = {key: value for key, value in named if value is not None}
    given: dict[str, Any] = {"bench": bench, "root": root, "checkpoint": checkpoint}
    if strict:
        given["strict"] = True
    if allow_position_mismatch:
        given["allow_position_mismatch"] = True
    if bench_options:
        given["bench_options"] = bench_options
    if blind:
        given["blind"] = True
    if input is not Input.video:
        given["input"] = input.value
    if dtype is not None:
        given["dtype"] = dtype.value
    if frame_order is not Order.given:
        given["frame_order"] = frame_order.value
    given = L.changed(given, L.settings(set_))
    several = {"model": L.choices(model), "sampler": L.choices(sampler)}
    numbers = {"frames": L.integers(frames, "frames"), "seed": L.integers(seed, "seed")}
    options = LaunchOptions(
        executor=executor,
        dry_run=dry_run,
        retry=retry,
        shards=shards,
        max_failed=max_failed,
        watch=watch,
        canary=canary,
        keep=keep,
    )
    space = workspace()
    done = L.start(space, combinations("eval", {**several, **numbers, **given}), options, as_json=as_json)
    if not dry_run and not as_json:
        L.summary(space, done)
        _say_scores(space, done)
        out("table: smx report")
    raise typer.Exit(not done.ended_well)


def _say_scores(space: Workspace, done: Launch) -> None:
    """A line a run by the bench's own scorer, and one by each other that comes to something else."""
    from smx.cli._common import out
    from smx.runfolder import RunFolder

    for row in done.runs:
        result = RunFolder(space.runs / row.folder).result()
        if spent := (result or {}).get("spent"):
            dollars = f", {spent['dollars']:.4f} USD" if "dollars" in spent else ""
            tokens = f"{spent['prompt_tokens']:,} + {spent['new_tokens']:,} tokens"
            out(f"          {tokens} of {', '.join(spent['by'])}{dollars}")
        numbers = {
            scorer: _numbers(found, row.items)
            for scorer, found in ((result or {}).get("scores") or {}).items()
            if found["all"]["micro"] is not None
        }
        mark = " (untrained)" if row.untrained else " (poses untrained)" if row.pose_untrained else ""
        for own in list(numbers)[:1]:
            differing = [scorer for scorer in numbers if numbers[scorer] != numbers[own]]
            for scorer in (own, *differing):
                out(f"          {row.variant}{mark}{_among(row, done.runs)} {scorer}: {numbers[scorer]}")


def _numbers(summary: Mapping[str, Any], items: int | None) -> str:
    from smx.registry.rows import is_many

    micro, macro = (100 * summary["all"][mean] for mean in ("micro", "macro"))
    cut = f", {summary['cut']} cut at max_new_tokens" if is_many(summary.get("cut"), summary["n"]) else ""
    counts = f"n {summary['n']}/{items}, {summary['unparsed']} unparsed{cut}"
    return f"all micro {micro:.1f}, macro {macro:.1f} ({counts})"


def _among(row: RunRow, rows: Sequence[RunRow]) -> str:
    """What tells a run from the others of its model that were asked for together."""
    own = [other for other in rows if other.variant == row.variant]
    frames = f"{row.sampler} {row.frames} frames" if len({(r.sampler, r.frames) for r in own}) > 1 else ""
    seed = f"seed {row.seed}" if len({r.seed for r in own}) > 1 else ""
    return "".join(f", {part}" for part in (frames, seed) if part) + ("," if frames or seed else "")
