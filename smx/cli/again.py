"""`smx retry`, `smx cancel` and `smx mark`: try again, stop, and say which attempts count."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli._filters import Bench, Frames, Kind, Model, Sampler, Since, State, Tag
from smx.cli._following import refresh

if TYPE_CHECKING:
    from smx.registry.rows import AttemptRow, RunRow
    from smx.registry.store import Registry
    from smx.workspace import Workspace

# States of runs that are tried again without being named.
FAILED = ("failed", "partial", "preempted", "lost", "cancelled")
MARKS = ("doubtful", "excluded", "none")
STOPPING = 3.0  # seconds that `cancel` looks on, so that most end before it returns
Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Names, or starts of fingerprints.")]


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
    time_: Annotated[str | None, typer.Option("--time", metavar="x2|12h", help="More time, in the same way.")] = None,
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
    from smx.cli._again import again
    from smx.cli._common import out_json, registry_as_it_is, say, workspace
    from smx.cli._filters import filters

    how, kinds = _failure_kinds(kind)
    wanted = filters(
        kind=",".join(kinds) or (None if how else kind),
        model=model,
        sampler=sampler,
        frames=frames,
        bench=bench,
        state=state,
        since=since,
        tag=tag,
    )
    space = workspace()
    with registry_as_it_is(space) as registry:
        refresh(space, registry)
        if runs:
            rows = [registry.find(name) for name in runs]
        else:
            rows, left = _candidates(space, registry, wanted, how)
            if left:
                say(f"left alone: {left} cancelled (--kind cancelled starts them again)")
        rows = _taken_back(space, registry, rows if runs else registry.runs(**wanted), rows, how, dry_run)
        if not rows:
            say("nothing to try again" + (" that fits" if wanted or how else ""))
            if as_json:
                out_json([])
            return
        code = again(
            space,
            registry,
            rows,
            executor=executor,
            more=_more(registry, mem, time_, exclude_bad_nodes),
            dry_run=dry_run,
            watch=watch,
            as_json=as_json,
        )
    if code:
        raise typer.Exit(code)


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
    from smx.cli._common import out, registry_as_it_is, say, workspace
    from smx.cli._filters import filters
    from smx.errors import UserError

    if bool(runs) == all_:
        raise UserError("which runs? name some, or --all", "smx ls --state running,waiting shows what can be stopped")
    wanted = filters(kind=kind, model=model, sampler=sampler, frames=frames, bench=bench, since=since, tag=tag)
    space = workspace()
    with registry_as_it_is(space) as registry:
        refresh(space, registry)
        named = [registry.find(name) for name in runs] if runs else registry.runs(**wanted)
        marks = {row.fingerprint: row for row in named}
        live = {row.fingerprint: row for row in registry.attempts(live=True)}
        for mark, row in marks.items():
            if runs and mark not in live:
                say(f"{_title(row)} neither runs nor waits: {row.state}")
        targets = _with_dependants(space, registry, live, [mark for mark in marks if mark in live])
        if not targets:
            say("nothing to stop")
            return
        stuck = _stop(space, registry, [live[mark] for mark in targets])
        end = time.monotonic() + STOPPING
        pause = threading.Event()
        while _still(registry, set(targets) - stuck) and time.monotonic() < end:
            refresh(space, registry, quiet=True)
            pause.wait(0.2)
        for mark in targets:
            ended = registry.run(mark)
            assert ended is not None
            stopping = mark not in stuck and _still(registry, {mark})
            because = "" if mark in marks else " (it needs one of them)"
            told = "asked to stop" if stopping else ended.state
            out(f"{told:<13} {ended.kind:<5} {_title(ended)}  {ended.done}/{ended.items or '?'}{because}")
    if stuck:
        raise typer.Exit(1)


def mark(
    run: Annotated[
        str, typer.Argument(metavar="RUN[#ATTEMPT]", help="A run; its attempt that counts.", show_default=False)
    ],
    as_what: Annotated[str, typer.Argument(metavar="doubtful|excluded|none", show_default=False)],
) -> None:
    """Mark an attempt: doubtful shows as ? in tables; excluded counts in none; none takes the mark off.

    Example: smx mark prope-vsibench-sa-16f-1a2b3c4d#2 excluded
    """
    from smx.cli._common import out, workspace
    from smx.cli._filters import attempt_of
    from smx.control.sync import ask_one, fold_in
    from smx.errors import UserError, unknown
    from smx.registry.export import append_mark
    from smx.registry.store import Registry
    from smx.results.derive import derive
    from smx.runfolder import RunFolder

    if as_what not in MARKS:
        raise unknown("mark", as_what, MARKS)
    space = workspace()
    name, number = attempt_of(run)
    wanted = None if as_what == "none" else as_what
    with Registry.open(space.registry, create=False) as registry:
        row = registry.find(name)
        attempts = {a.attempt: a for a in registry.attempts(row.fingerprint)}
        if not attempts:
            raise UserError(f"{_title(row)} was never tried", f"smx show {_title(row)}")
        chosen = attempts.get(number if number is not None else _counting(list(attempts.values()), wanted))
        if chosen is None:
            raise UserError(f"{_title(row)} has no attempt {number}", f"attempts: {', '.join(map(str, attempts))}")
        append_mark(space.experiments, row.fingerprint, chosen.attempt, wanted)
        folder = RunFolder(space.runs / row.folder)
        said = ask_one(space, folder, chosen)  # before the registry is locked: a scheduler may take its time to answer
        with registry.transaction():
            registry.set_mark(row.fingerprint, chosen.attempt, wanted)
            without = frozenset(a.attempt for a in registry.attempts(row.fingerprint) if a.mark == "excluded")
            if folder.outcome(without).done:
                derive(folder, without)  # the items that count are others now, even where they are as many
            fold_in(space, registry, folder, replace(chosen, mark=wanted), said)
        now = registry.run(row.fingerprint)
        assert now is not None
    told = f"attempt {chosen.attempt} is {as_what}" if wanted else f"attempt {chosen.attempt} has no mark"
    out(f"{_title(row)}: {told}; {now.done}/{now.items or '?'} items count")


def _failure_kinds(text: str | None) -> tuple[list[str], list[str]]:
    """`--kind` of retry: kinds of failure (`oom` is both), and kinds of run. `UserError` for anything else."""
    from smx.cli._launch import choices
    from smx.errors import unknown
    from smx.failures import KINDS

    how: list[str] = []
    kinds: list[str] = []
    for word in choices(text):
        if word in ("gen", "train", "eval"):
            kinds.append(word)
        elif word == "oom":
            how += ["oom-gpu", "oom-host"]
        elif word in KINDS:
            how.append(word)
        else:
            raise unknown("kind of failure", word, [*KINDS, "oom", "gen", "train", "eval"])
    return how, kinds


def _taken_back(
    space: Workspace,
    registry: Registry,
    among: Sequence[RunRow],
    rows: list[RunRow],
    how: Sequence[str],
    dry_run: bool,
) -> list[RunRow]:
    """`rows` and what `among` them smx itself held, with what waits for that: out of the queue, to be started anew.

    Released as they are they would run the code and ask for the resources that failed.
    """
    from smx.cli._common import say
    from smx.control.reservations import executor_for
    from smx.registry.live_queries import HELD

    live = {row.fingerprint: row for row in registry.attempts(live=True)}
    of_kind = [f"({kind}: " for kind in how] or [""]
    held = [
        row.fingerprint
        for row in among
        if row.fingerprint in live
        and (reason := live[row.fingerprint].reason or "").startswith(HELD)
        and any(word in reason for word in of_kind)
    ]
    marks = _with_dependants(space, registry, live, held)
    waiting = [row for mark in marks if (row := registry.run(mark))]
    if dry_run or not marks:
        for row in waiting:
            say(f"{_title(row)} is held: it would be taken back and started anew")
        return rows
    handles: dict[str, list[dict[str, Any]]] = {}
    for mark in marks:
        if handle := live[mark].handle:
            handles.setdefault(live[mark].executor, []).append(dict(handle))
    for name, asked in handles.items():
        executor_for(space, name)[1].withdraw(asked)
    end = time.monotonic() + STOPPING * 5
    pause = threading.Event()
    while _still(registry, set(marks)) and time.monotonic() < end:
        refresh(space, registry, quiet=True)
        pause.wait(0.2)
    for row in waiting:
        if _still(registry, {row.fingerprint}):
            say(f"{_title(row)} still runs in part: smx retry once that has ended")
    known = {row.fingerprint for row in rows}
    back = [row for mark in marks if not _still(registry, {mark}) and (row := registry.run(mark))]
    return [*rows, *(row for row in back if row.fingerprint not in known)]


def _more(registry: Registry, mem: str | None, time: str | None, exclude: bool) -> dict[str, Any]:
    """What the next attempts are to ask for, where it differs from the last."""
    found: dict[str, Any] = {key: value for key, value in (("memory", mem), ("time", time)) if value}
    if exclude:
        from smx.cli._common import say
        from smx.registry.live_queries import bad_nodes

        bad = bad_nodes(registry)
        found |= {"exclude": [node.name for node in bad]} if bad else {}
        told = ", ".join(f"{node.name} ({node.failures})" for node in bad)
        say(f"left out: {told}" if bad else "no node is known to be bad")
    return found


def _candidates(
    space: Workspace, registry: Registry, wanted: dict[str, Any], how: Sequence[str]
) -> tuple[list[RunRow], int]:
    """Runs to try again, and how many cancelled ones were left out."""
    from smx.runfolder import RunFolder

    found, left = [], 0
    for row in registry.runs(**wanted):
        if row.state not in FAILED and not (row.state == "done" and row.failed):
            continue
        failure = registry.attempts(row.fingerprint)[-1].failure if row.state != "done" else None
        kinds = {failure["kind"]} if failure else set()
        if row.failed:
            result = RunFolder(space.runs / row.folder).result() or {}
            kinds |= {error["kind"] for error in result.get("errors", ())}
        cancelled = kinds == {"cancelled"} or (kinds == {"dependency"} and _in_tow(space, registry, row))
        if how:
            if kinds & set(how) or (cancelled and "cancelled" in how):
                found.append(row)
        elif cancelled and "cancelled" not in wanted.get("state", ()):
            left += 1
        else:
            found.append(row)
    return found, left


def _in_tow(space: Workspace, registry: Registry, row: RunRow) -> bool:
    """Whether it ended because a run it needs was cancelled, which to try it again would start as well."""
    from smx.runfolder import RunFolder

    for mark in RunFolder(space.runs / row.folder).attempts()[-1].plan["needs"]:
        need = registry.run(mark)
        if need is None or need.state not in FAILED:
            continue
        kind = (registry.attempts(mark)[-1].failure or {}).get("kind")
        if kind == "cancelled" or (kind == "dependency" and _in_tow(space, registry, need)):
            return True
    return False


def _with_dependants(
    space: Workspace, registry: Registry, live: dict[str, AttemptRow], targets: list[str]
) -> list[str]:
    """`targets` and the live runs that wait for one of them, themselves or through another."""
    from smx.runfolder import RunFolder

    needs: dict[str, list[str]] = {}
    for mark, attempt in live.items():
        row = registry.run(mark)
        assert row is not None
        folder = RunFolder(space.runs / row.folder).attempt(attempt.attempt)
        needs[mark] = folder.plan["needs"] if folder.planned else []
    found = list(targets)
    for mark in found:  # grows while it is read
        found += [other for other, required in needs.items() if mark in required and other not in found]
    return found


def _stop(space: Workspace, registry: Registry, attempts: Sequence[AttemptRow]) -> set[str]:
    """Ask each executor once; returns those that only their own process can stop, after saying how."""
    from smx.cli._common import say
    from smx.control.reservations import executor_for
    from smx.runfolder import RunFolder

    handles: dict[str, list[dict[str, Any]]] = {}
    stuck = set()
    for attempt in attempts:
        row = registry.run(attempt.fingerprint)
        assert row is not None
        handle = RunFolder(space.runs / row.folder).attempt(attempt.attempt).handle()
        if handle is None:
            say(f"{_title(row)} is being started this very moment: try again")
            stuck.add(attempt.fingerprint)
        elif attempt.executor == "inline":
            process = handle["process"]
            say(f"{_title(row)} runs inside another command on {process['host']}: Ctrl-C there, or there:")
            say(f"  kill -INT {process['pid']}")
            stuck.add(attempt.fingerprint)
        else:
            handles.setdefault(attempt.executor, []).append(handle)
    for name, asked in handles.items():
        executor_for(space, name)[1].cancel(asked)
    return stuck


def _still(registry: Registry, marks: set[str]) -> bool:
    return any(row.fingerprint in marks for row in registry.attempts(live=True))


def _counting(attempts: Sequence[AttemptRow], wanted: str | None) -> int:
    """The attempt meant when none is named: the one that counts; to take a mark off, the one that has one."""
    if wanted is None:
        fitting = [a for a in attempts if a.mark]
    else:
        fitting = [a for a in attempts if a.state == "done" and a.mark != "excluded"]
    return (fitting or list(attempts))[-1].attempt


def _title(row: RunRow) -> str:
    return row.folder.split("/", 1)[1]
