"""`smx gen`: make sample sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli import _launch as L

if TYPE_CHECKING:
    from smx.control.launch import Launch
    from smx.registry.rows import RunRow
    from smx.workspace import Workspace


def gen(
    sampler: Annotated[
        str, typer.Option(help="Sampler, or several separated by commas: smx list samplers.")
    ] = "uniform",
    frames: Annotated[str, typer.Option(help="Frames per scene, or several counts separated by commas.")] = "16",
    dataset: Annotated[
        str | None, typer.Option(help="Dataset: smx list datasets. Default: the site's, else rooms.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the dataset is on this machine.")] = None,
    poses: Annotated[
        Path | None,
        typer.Option(help="Cameras from files in place of the dataset's: a file, or a folder with one per scene."),
    ] = None,
    depth: Annotated[
        Path | None,
        typer.Option(help="Depth maps of the tool that made --poses: a folder, or one with a folder per scene."),
    ] = None,
    vggt: Annotated[
        Path | None,
        typer.Option(help="Weights for geometry.source=vggt: VGGT-1B or a Spatial-MLLM. Default: the site's."),
    ] = None,
    scenes: Annotated[str, typer.Option(help="Glob of scene ids, or several separated by commas.")] = "*",
    all_scenes: Annotated[
        bool, typer.Option("--all-scenes", help="Of a bench's videos, also those that nothing is asked about.")
    ] = False,
    seed: L.Seeds = "0",
    executor: L.Executor = None,
    shards: L.Shards = 1,
    set_: L.Sets = None,
    max_failed: L.MaxFailed = None,
    canary: L.Canary = False,
    retry: L.Retry = False,
    keep: L.Keep = False,
    strict: L.Strict = False,
    watch: L.Watch = False,
    dry_run: L.DryRun = False,
    as_json: L.AsJson = False,
) -> None:
    """Choose frames of every scene and save them with cameras, pairs, overlap and coverage.

    Example: smx gen --sampler mergeaware_sa --frames 16
    """
    from smx.cli._common import workspace
    from smx.control.launch import LaunchOptions, combinations

    given: dict[str, Any] = {
        "dataset": dataset,
        "root": root,
        "poses": poses,
        "depth": depth,
        "vggt": vggt,
        "strict": strict or None,
    }
    given |= {"all_scenes": all_scenes or None, "scenes": L.choices(scenes), **L.settings(set_)}
    several = {"sampler": L.choices(sampler), "frames": L.integers(frames, "frames"), "seed": L.integers(seed, "seed")}
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
    done = L.start(space, combinations("gen", {**several, **given}), options, as_json=as_json)
    if not dry_run and not as_json:
        _say_result(space, done)
    raise typer.Exit(not done.ended_well)


def _say_result(space: Workspace, done: Launch) -> None:
    from smx.cli._common import out
    from smx.runfolder import RunFolder

    decisions = {decision.run.fingerprint: decision for decision in done.decisions}

    def samples_of(row: RunRow) -> None:
        run = decisions[row.fingerprint].run
        result = RunFolder(run.folder).result()
        if not result or not result["samples"]:
            return
        numbers = result["samples"]
        shown = [f"{label} {numbers[key]:.3f}" for key, label in SHOWN.items() if key in numbers]
        folder = run.sample_folder(run.items[0])
        depth = run.items[0].id.count("/") + 1
        if shown:  # nothing is known of a scene without depth and cameras
            out(f"          {', '.join(shown)}")
        out(f"          frames in {folder.parents[depth - 1]}")
        for scene, (there, claimed) in list(result["ends_early"].items())[:5]:
            out(f"          {scene}: its video has {there} frames, its header claims {claimed}")

    L.summary(space, done, samples_of)


SHOWN = {"overlap": "pair overlap", "coverage": "coverage"}  # of what result.json says of a sample set
