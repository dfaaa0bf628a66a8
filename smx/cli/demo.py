"""`smx demo`: the whole story on the built-in rooms, in a workspace of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli import _launch as L

if TYPE_CHECKING:
    from smx.control.launch import Request

SAMPLERS = ("uniform", "sa", "mergeaware_sa")
FRAMES = (8, 16)
MODELS = ("tiny", "tiny-prope")
BASELINES = ("chance", "frequency")
SCENES = {"scenes": 6, "train_scenes": 16}  # of the bench `rooms`: enough to show, quick enough for two cores
TRAINING: dict[str, Any] = {
    **{"data": ["rooms"], "data_options": {"rooms": SCENES}, "sampler": "uniform", "frames": 8},
    "recipe": {"steps": 100, "save_every": 25},
}


def demo(
    folder: Annotated[Path, typer.Argument(help="Workspace of the demo; made if it is not there.")] = Path("demo"),
) -> None:
    """The whole story on built-in rooms: choose frames, train a tiny model, evaluate, compare. No GPU, no downloads.

    A second `smx demo` does nothing twice; after Ctrl-C or a kill it goes on where it was.

    Example: smx demo
    """
    from smx.cli._common import choose_workspace, out, say, workspace
    from smx.cli.init import make_workspace
    from smx.cli.report import report
    from smx.cli.samples import stats
    from smx.control.launch import LaunchOptions

    began = time.monotonic()
    make_workspace(folder)
    choose_workspace(folder)
    space = workspace()
    counts = {"run": 0, "skip": 0, "wait": 0, "damaged": 0}
    ended_well = True
    for title, requests in (
        (f"1/3  gen: {len(SAMPLERS)} samplers x {len(FRAMES)} frame counts", _gen),
        (f"2/3  train: {' and '.join(MODELS)}, a short fine-tuning on the training rooms", _train),
        (f"3/3  eval: {', '.join((*MODELS, *BASELINES))} on rooms they have not seen", _eval),
    ):
        say(f"\n{title}")
        step = time.monotonic()
        done = L.start(space, requests(), LaunchOptions())
        for decision in done.decisions:
            counts[decision.action] += 1
        ended_well = ended_well and done.ended_well
        say(f"     {time.monotonic() - step:.0f} s")
    out("\nBench `rooms`: built-in procedural scenes, for trying smx out; no figure of VSI-Bench.\n")
    report(rows="model", cols="sampler,frames")
    out("\nWhat the samplers chose:\n")
    stats()
    out(f"\n{time.monotonic() - began:.0f} s in all: {counts['run']} runs done now, {counts['skip']} there already.")
    if not counts["run"]:
        out("Nothing was done twice: every run of the demo is in the registry.")
    if counts["wait"]:
        out(f"{counts['wait']} are being worked on by another command: smx -w {folder} ls")
    out(
        f"Runs {space.runs}, samples {space.samples}, registry {space.registry}.\n"
        f"Next: smx -w {folder} ls   smx -w {folder} show RUN   smx -w {folder} report --format md"
    )
    raise typer.Exit(not ended_well)


def _gen() -> list[Request]:
    from smx.control.launch import combinations

    options = {"count": SCENES["scenes"]}
    keys = {"sampler": SAMPLERS, "frames": FRAMES, "dataset": "rooms", "dataset_options": options}
    return combinations("gen", keys)


def _train() -> list[Request]:
    from smx.control.launch import combinations

    return combinations("train", {"model": MODELS, **TRAINING})


def _eval() -> list[Request]:
    from smx.control.launch import combinations

    bench = {"bench": "rooms", "bench_options": SCENES}
    models = {"model": MODELS, "sampler": SAMPLERS, "frames": FRAMES, "train": TRAINING, **bench}
    return [*combinations("eval", models), *combinations("eval", {"model": BASELINES, **bench})]
