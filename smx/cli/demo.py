"""`smx demo`: the whole story on the built-in rooms, in a workspace of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli import _launch as L

if TYPE_CHECKING:
    from smx.resolve import Resolver
    from smx.run import Run

SAMPLERS = ("uniform", "sa", "mergeaware_sa")
FRAMES = (8, 16)
MODELS = ("tiny", "tiny-prope")
BASELINES = ("chance", "frequency")
SCENES = {"scenes": 6, "train_scenes": 16}  # of the bench `rooms`: enough to show, quick enough for two cores
TRAINED_ON = {"sampler": "uniform", "frames": 8, "recipe": {"steps": 100, "save_every": 25}}


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

    began = time.monotonic()
    make_workspace(folder)
    choose_workspace(folder)
    space = workspace()
    counts = {"run": 0, "skip": 0, "wait": 0}
    code = 0
    for title, build in (
        (f"1/3  gen: {len(SAMPLERS)} samplers x {len(FRAMES)} frame counts", _gen),
        (f"2/3  train: {' and '.join(MODELS)}, a short fine-tuning on the training rooms", _train),
        (f"3/3  eval: {', '.join((*MODELS, *BASELINES))} on rooms they have not seen", _eval),
    ):
        say(f"\n{title}")
        step = time.monotonic()
        done = L.launch(space, L.LaunchOptions(), build)
        for decision in done.decisions:
            counts[decision.action] += 1
        code = max(code, done.code)
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
    raise typer.Exit(code)


def _gen(resolver: Resolver) -> tuple[list[Run], set[str]]:
    options = {"count": SCENES["scenes"]}
    grid = ({"sampler": s, "frames": n} for s in SAMPLERS for n in FRAMES)
    cells = [cell for row in grid for cell in resolver.gen({**row, "dataset": "rooms", "dataset_options": options})]
    return cells, {cell.fingerprint for cell in cells}


def _train(resolver: Resolver) -> tuple[list[Run], set[str]]:
    cells = [cell for model in MODELS for cell in trained(resolver, model)]
    return cells, {cell.fingerprint for cell in cells if cell.kind == "train"}


def trained(resolver: Resolver, model: str) -> list[Run]:
    """The train cell of one model, after the sample set it looks at."""
    return resolver.train({"model": model, "data": ["rooms"], "data_options": {"rooms": SCENES}, **TRAINED_ON})


def _eval(resolver: Resolver) -> tuple[list[Run], set[str]]:
    cells: list[Run] = []
    shared: dict[str, Any] = {"bench": "rooms", "bench_options": SCENES}
    for model in MODELS:
        first = trained(resolver, model)[-1]
        resolver.trained = {**resolver.trained, first.title: first}
        for sampler in SAMPLERS:
            for frames in FRAMES:
                request = {"model": model, "sampler": sampler, "frames": frames, "checkpoint": first.title, **shared}
                cells += resolver.eval(request)
    for model in BASELINES:
        cells += resolver.eval({"model": model, **shared})
    return cells, {cell.fingerprint for cell in cells if cell.kind == "eval"}
