"""`smx retry`: try again what did not end well."""

from __future__ import annotations

from typing import Annotated

import typer

from smx.cli._filters import Bench, Frames, Model, Runs, Sampler, Since, State, Tag


def retry(
    runs: Runs = None,
    kind: Annotated[
        str | None, typer.Option(help="How they failed (oom, timeout, python …), or gen, train, eval; with commas.")
    ] = None,
    model: Model = None,
    sampler: Sampler = None,
    frames: Frames = None,
    bench: Bench = None,
    state: State = None,
    since: Since = None,
    tag: Tag = None,
    mem: Annotated[
        str | None, typer.Option(metavar="x2|64G", help="More memory: a multiple of what the last attempt asked for.")
    ] = None,
    time: Annotated[str | None, typer.Option("--time", metavar="x2|12h", help="More time, in the same way.")] = None,
    exclude_bad_nodes: Annotated[
        bool, typer.Option("--exclude-bad-nodes", help="Leave out nodes that failed in the last 14 days.")
    ] = False,
    executor: Annotated[str | None, typer.Option(help="Where. Default: where each ran last.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; write nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow them until they end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """Try again what failed, is missing or was lost, and nothing else: items that are done stay done.

    Without names, every run that failed or ended early, and the failed items
    of runs that are done. Runs that someone cancelled are left alone unless
    named, or asked for with --kind cancelled.

    Example: smx retry --kind oom,timeout --since 7d --mem x2
    """
    from smx.cli import _launch as L
    from smx.cli._common import out_json, say, workspace
    from smx.cli._filters import filters
    from smx.control.retry import retry as try_again

    failures, kinds = _failure_kinds(kind)
    wanted = filters(
        kind=",".join(kinds) or (None if failures else kind),
        model=model,
        sampler=sampler,
        frames=frames,
        bench=bench,
        state=state,
        since=since,
        tag=tag,
    )
    space = workspace()
    done = try_again(
        space,
        runs or (),
        filters=wanted,
        failures=failures,
        memory=mem,
        time=time,
        exclude_bad_nodes=exclude_bad_nodes,
        executor=executor,
        dry_run=dry_run,
        watch=watch,
        listener=L.Console(dry_run=dry_run, as_json=as_json),
    )
    if not done.decisions:
        say("nothing to try again" + (" that fits" if wanted or failures else ""))
        if as_json:
            out_json([])
    elif not dry_run:
        (L.print_json if as_json else L.summary)(space, done)
    raise typer.Exit(not done.ended_well)


def _failure_kinds(text: str | None) -> tuple[list[str], list[str]]:
    """`--kind` of retry: kinds of failure, and kinds of run. `UserError` for anything else."""
    from smx.cli._launch import choices
    from smx.errors import unknown
    from smx.failures import KINDS, TOGETHER

    failures: list[str] = []
    kinds: list[str] = []
    for word in choices(text):
        if word in ("gen", "train", "eval"):
            kinds.append(word)
        elif word in KINDS or word in TOGETHER:
            failures.append(word)
        else:
            raise unknown("kind of failure", word, [*KINDS, *TOGETHER, "gen", "train", "eval"])
    return failures, kinds
