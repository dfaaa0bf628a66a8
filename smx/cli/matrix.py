"""`smx run`: expand an experiment file and start what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli import _launch as L

if TYPE_CHECKING:
    from smx.resolve import Resolver
    from smx.run import Run


def run(
    file: Annotated[
        str, typer.Argument(help="Experiment: a YAML file, or its name in experiments/.", show_default=False)
    ],
    group: Annotated[list[str] | None, typer.Option(help="Only this group (repeatable).")] = None,
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
    """Expand an experiment matrix and start only what is missing or failed: gen, then train, then eval.

    Example: smx run experiments/samplers-x-frames.yaml --dry-run
    """
    from smx.cli._common import out, workspace
    from smx.resolve.matrix import read, requests
    from smx.workspace import experiment_file

    space = workspace()
    path = experiment_file(space, file)
    experiment = read(path)
    overrides = L.settings(set_)
    how = L.LaunchOptions(executor, dry_run, retry, shards, max_failed, watch, as_json, canary)

    def build(resolver: Resolver) -> tuple[list[Run], set[str]]:
        cells: list[Run] = []
        asked: set[str] = set()
        for part, request in requests(experiment, tuple(group or ())):
            made = cells_of(resolver, part.kind, part.train, L.changed(request, overrides))
            cells += [replace(cell, labels={**cell.labels, "experiment": [path.stem]}) for cell in made]
            asked.add(made[-1].fingerprint)
        return cells, asked

    done = L.launch(space, how, build)
    if not dry_run and not as_json:
        L.summary(space, done)
        out("table: smx report")
    raise typer.Exit(done.code)


def cells_of(resolver: Resolver, kind: str, train: dict[str, Any] | None, request: dict[str, Any]) -> list[Run]:
    """All cells of one request; with `train`, the model is trained first and the result evaluated."""
    from smx import plugins
    from smx.spec import SampleSpec, nest

    if kind == "gen":
        return resolver.gen(request)
    if kind == "train":
        return resolver.train(request)
    if train is None or not plugins.load("models", resolver.base_of(str(request.get("model", "tiny")))).trainable:
        return resolver.eval(request)
    shared: dict[str, Any] = {k: request[k] for k in ("model", *SampleSpec.model_fields) if k in request}
    first = resolver.train({**shared, **nest(train)})
    trained = first[-1]
    resolver.trained = {**resolver.trained, trained.title: trained}
    return [*first, *resolver.eval({**request, "checkpoint": trained.title})]
