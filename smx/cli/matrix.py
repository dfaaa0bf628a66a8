"""`smx run`: expand an experiment file and start what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from smx.cli import _launch as L


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
    keep: L.Keep = False,
    watch: L.Watch = False,
    dry_run: L.DryRun = False,
    as_json: L.AsJson = False,
) -> None:
    """Expand an experiment matrix and start only what is missing or failed: gen, then train, then eval.

    Example: smx run experiments/samplers-x-frames.yaml --dry-run
    """
    from smx.cli._common import out, workspace
    from smx.control.launch import LaunchOptions, request_of
    from smx.resolve.matrix import read, requests
    from smx.resolve.requests import from_workspace
    from smx.workspace import experiment_file

    space = workspace()
    path = experiment_file(space, file)
    experiment = read(path)
    overrides = L.settings(set_)
    chosen = [
        L.changed(from_workspace({**request_of(part.kind, keys), "train": part.train}, space.root), overrides)
        for part, keys in requests(experiment, tuple(group or ()))
    ]
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
    done = L.start(space, chosen, options, as_json=as_json, labels={"experiment": [path.stem]})
    if not dry_run and not as_json:
        L.summary(space, done)
        out("table: smx report")
    raise typer.Exit(not done.ended_well)
