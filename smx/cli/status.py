"""`smx status`, `smx watch` and `smx wait`: what is going on, once, live, or until it is over."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import typer

from smx.cli._filters import Bench, Frames, Kind, Model, Sampler, Since, State, Tag
from smx.cli._following import refresh, width
from smx.states import RunState

SHORTEST = 5.0  # seconds: executors are not asked more often than this


def status(
    kind: Kind = None,
    model: Model = None,
    sampler: Sampler = None,
    frames: Frames = None,
    bench: Bench = None,
    state: State = None,
    since: Since = None,
    tag: Tag = None,
    no_sync: Annotated[bool, typer.Option("--no-sync", help="As last seen: ask no executor, read no folder.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Hours, GPUs and memory: asked, used, wasted; by experiment, user …")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is going on: counts, what runs where, what waits and why, what failed and how.

    Example: smx status --bench vsibench --since 7d
    """
    from smx.cli._common import out, out_json, registry_as_it_is, workspace
    from smx.cli._filters import filters

    space = workspace()
    wanted = filters(
        kind=kind, model=model, sampler=sampler, frames=frames, bench=bench, state=state, since=since, tag=tag
    )
    with registry_as_it_is(space) as registry:
        if not no_sync:
            refresh(space, registry)
        if cost:
            from smx.monitor import cost as costs

            spent = costs.gather(registry, space.runs, wanted)
            if as_json:
                out_json(costs.as_json(spent))
            else:
                out("\n".join(costs.lines(spent, width())))
            return
        from smx.monitor import status as standing

        found, moment = standing.gather(registry, wanted, space.runs), standing.now()
    if as_json:
        out_json(standing.as_json(found, moment))
        return
    if not found.counts:
        out("No runs fit these filters." if wanted else "No runs yet: smx demo, or smx gen --help.")
        return
    out("\n".join(standing.lines(found, moment, width())))


def watch(
    kind: Kind = None,
    model: Model = None,
    sampler: Sampler = None,
    frames: Frames = None,
    bench: Bench = None,
    state: State = None,
    since: Since = None,
    tag: Tag = None,
    every: Annotated[float, typer.Option(min=SHORTEST, help="Seconds between looks.")] = 15.0,
) -> None:
    """The status, live, until nothing runs or waits any more. Ctrl-C leaves; the runs go on.

    Example: smx watch --kind eval
    """
    from smx.cli._common import out, registry_as_it_is, workspace
    from smx.cli._filters import filters
    from smx.cli._streams import listening
    from smx.control.sync import summed_up
    from smx.monitor import status as standing

    space = workspace()
    wanted = filters(
        kind=kind, model=model, sampler=sampler, frames=frames, bench=bench, state=state, since=since, tag=tag
    )
    pause = threading.Event()
    with registry_as_it_is(space) as registry, _screen() as show:
        try:
            while True:
                doubts = refresh(space, registry, quiet=True)
                found, moment = standing.gather(registry, wanted, space.runs), standing.now()
                head = f"{moment.astimezone():%H:%M:%S}, every {every:g} s, Ctrl-C leaves (the runs go on)"
                text = standing.lines(found, moment, width())
                show([head, *(f"unknown: {doubt}" for doubt in summed_up(doubts)[:5]), "", *text])
                if not found.running and not found.waiting:
                    break
                if not listening():
                    return
                pause.wait(every)
        except KeyboardInterrupt:
            return
    out("nothing runs or waits" + (" that fits these filters" if wanted else ""))


def wait(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Default: all that are live.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """Wait until runs have ended: exit code 0 when all are done, 1 when any is not.

    Example: smx wait && smx report
    """
    from smx.cli._common import out, out_json, say, workspace
    from smx.cli._launch import Console
    from smx.control.wait import wait as wait_until_ended

    rows = wait_until_ended(workspace(), runs or (), listener=Console())
    if as_json:
        out_json([{"run": r.title, "state": r.state, "done": r.done, "items": r.items} for r in rows])
    elif not rows:
        say("nothing is live: nothing to wait for")
    else:
        for row in rows:
            out(f"{row.state:<9} {row.kind:<5} {row.title}  {row.done}/{row.items or '?'}")
    if any(row.state != RunState.done for row in rows):
        raise typer.Exit(1)


class _screen:
    """A place to show lines again and again: in place on a terminal, else one after the other."""

    def __enter__(self) -> Any:
        import sys

        self._live: Any = None
        if not sys.stdout.isatty():
            from smx.cli._common import out

            def show(lines: list[str]) -> None:
                out("\n".join((*lines, "")))
                sys.stdout.flush()  # who reads it wants it now

            return show
        from rich.live import Live
        from rich.text import Text

        from smx.cli._common import console

        self._live = Live(console=console(), auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        return lambda lines: self._live.update(Text("\n".join(lines)), refresh=True)

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
