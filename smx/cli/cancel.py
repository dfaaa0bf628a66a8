"""`smx cancel`: stop what runs or waits."""

from __future__ import annotations

from typing import Annotated

import typer

from smx.cli._filters import Bench, Frames, Kind, Model, Runs, Sampler, Since, Tag


def cancel(
    runs: Runs = None,
    all_: Annotated[bool, typer.Option("--all", help="Every run that runs or waits (that fits the filters).")] = False,
    kind: Kind = None,
    model: Model = None,
    sampler: Sampler = None,
    frames: Frames = None,
    bench: Bench = None,
    since: Since = None,
    tag: Tag = None,
) -> None:
    """Stop runs that run or wait, and what waits for them. Items that are done stay done.

    Example: smx cancel --all --model prope
    """
    from smx.cli._common import out, say, workspace
    from smx.cli._filters import filters
    from smx.cli._launch import Console
    from smx.control.cancel import cancel as stop
    from smx.errors import UserError

    if bool(runs) == all_:
        raise UserError("which runs? name some, or --all", "smx ls --state running,waiting shows what can be stopped")
    wanted = filters(kind=kind, model=model, sampler=sampler, frames=frames, bench=bench, since=since, tag=tag)
    stopped = stop(workspace(), runs or (), filters=wanted, listener=Console())
    if not stopped:
        say("nothing to stop")
    for one in stopped:
        run = one.run
        because = "" if one.named else " (it needs one of them)"
        state = "asked to stop" if one.stopping else run.state
        out(f"{state:<13} {run.kind:<5} {run.title}  {run.done}/{run.items or '?'}{because}")
    raise typer.Exit(any(one.stuck for one in stopped))
