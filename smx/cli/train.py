"""`smx train`: fine-tune a variant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smx.cli import _launch as L
from smx.errors import UserError
from smx.states import RunState

if TYPE_CHECKING:
    from smx.control.launch import Launch
    from smx.workspace import Workspace


def train(
    model: Annotated[str, typer.Option(help="Variant, or several separated by commas: smx list models.")] = "tiny",
    data: Annotated[
        str, typer.Option(help="Benches whose training questions are used, separated by commas.")
    ] = "rooms",
    sampler: Annotated[str, typer.Option(help="Sampler, or imported frames; or several, by commas.")] = "uniform",
    frames: Annotated[str, typer.Option(help="Frames per scene, or several counts separated by commas.")] = "16",
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Weights to start from: a folder, a hub id in the cache (ID@REV), or a train run."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the questions and videos of the benches are.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps. Default: the variant's recipe.")] = None,
    micro: Annotated[
        int | None, typer.Option(min=1, help="Examples per forward pass. Changes speed and memory, not the run.")
    ] = None,
    allow_position_mismatch: L.AllowMismatch = False,
    strict: L.Strict = False,
    seed: L.Seeds = "0",
    executor: L.Executor = None,
    set_: L.Sets = None,
    retry: L.Retry = False,
    keep: L.Keep = False,
    watch: L.Watch = False,
    dry_run: L.DryRun = False,
    as_json: L.AsJson = False,
) -> None:
    """Fine-tune a variant on training questions; sample sets are made first, checkpoints survive a kill.

    Example: smx train --model tiny --data rooms --steps 100
    """
    from smx.cli._common import workspace
    from smx.control.launch import LaunchOptions, combinations

    if not L.choices(data):
        raise UserError("no training data is named", "for example --data rooms; smx list benches")
    given = L.changed({"data": L.choices(data), "checkpoint": checkpoint, "root": root}, L.settings(set_))
    if strict:
        given["strict"] = True
    if allow_position_mismatch:
        given["allow_position_mismatch"] = True
    for key, number in (("steps", steps), ("micro", micro)):
        if number is not None:
            given["recipe"] = {**given.get("recipe", {}), key: number}
    several = {"model": L.choices(model), "sampler": L.choices(sampler)}
    numbers = {"frames": L.integers(frames, "frames"), "seed": L.integers(seed, "seed")}
    options = LaunchOptions(executor=executor, dry_run=dry_run, retry=retry, watch=watch, keep=keep)
    space = workspace()
    done = L.start(space, combinations("train", {**several, **numbers, **given}), options, as_json=as_json)
    if not dry_run and not as_json:
        L.summary(space, done)
        _say_losses(space, done)
    raise typer.Exit(not done.ended_well)


def _say_losses(space: Workspace, done: Launch) -> None:
    from smx.cli._common import out
    from smx.runfolder import RunFolder

    for row in done.runs:
        folder = space.runs / row.folder
        losses = (RunFolder(folder).result() or {}).get("losses")
        if losses:
            few = max(1, len(losses) // 10)
            steps = "step" if few == 1 else f"{few} steps"
            first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
            out(f"          loss {first:.3f} (first {steps}) -> {last:.3f} (last {steps})")
        if row.state == RunState.done:
            out(f"          evaluate it: smx eval --model {row.variant} --checkpoint {folder.name}")
