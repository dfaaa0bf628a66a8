"""What gen, train, eval, run and demo share: decide, show, submit, follow, say how it ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli._common import out, out_json, registry_as_it_is, say
from smx.errors import UserError, unknown

if TYPE_CHECKING:
    from smx.registry.rows import RunRow
    from smx.registry.store import Registry
    from smx.resolve import Resolver
    from smx.run import Decision, Run
    from smx.runfolder import AttemptFolder
    from smx.workspace import Workspace

# Options of every launching command.
Executor = Annotated[
    str | None, typer.Option(help="Where it runs: smx list executors. Default: the site file's, else inline.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; write nothing.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the spec, e.g. sampler_options.window=10."),
]
Retry = Annotated[bool, typer.Option("--retry", help="Also do items again that failed in a run that is done.")]
Shards = Annotated[int, typer.Option(min=1, help="Split each run's items over this many tasks.")]
MaxFailed = Annotated[
    int | None,
    typer.Option(min=0, help="A run with more failed items has failed. Default: 1 item or 1 %, whichever is more."),
]
Canary = Annotated[
    bool, typer.Option("--canary", help="On SLURM: two items of each kind first; the rest waits until they are done.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Follow runs that other processes work on until they end.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")]
AllowMismatch = Annotated[
    bool,
    typer.Option("--allow-position-mismatch", help="Run weights at other positions than they were trained with."),
]
Seeds = Annotated[str, typer.Option("--seed", help="Seed, or several separated by commas.")]


_SPEAK = 30.0  # seconds between two lines about progress, where nobody watches a bar


@dataclass(frozen=True)
class LaunchOptions:
    """How a launching command was asked to go about it."""

    executor: str | None = None
    dry_run: bool = False
    retry: bool = False
    shards: int = 1
    max_failed: int | None = None
    watch: bool = False
    as_json: bool = False
    canary: bool = False


@dataclass
class Launch:
    """What came of it."""

    decisions: list[Decision] = field(default_factory=list)
    rows: list[RunRow] = field(default_factory=list)  # the asked-for runs, as they stand now

    @property
    def code(self) -> int:
        """1 when any run that was asked for did not end well; runs still going on are no failure."""
        return int(any(row.state not in ("done", "running", "pending", "waiting") for row in self.rows))


def choices(text: str | None) -> list[str]:
    """`"a, b"` -> `["a", "b"]`, each once."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def integers(text: str, what: str) -> list[int]:
    """`"8,16"` -> `[8, 16]`. `UserError` for anything else."""
    try:
        found = [int(part) for part in choices(text)]
    except ValueError:
        raise UserError(
            f"{what} must be whole numbers, got {text!r}", f"for example --{what} 16  or  --{what} 8,16,32"
        ) from None
    if not found:
        raise UserError(f"{what}: no number in {text!r}")
    return found


def settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """`--set KEY=VALUE` into nested keys; values are read as YAML (numbers, lists, true)."""
    import yaml

    from smx.spec import nest

    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise UserError(f"--set takes KEY=VALUE, got {pair!r}", "for example --set sampler_options.window=10")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[key.strip()] = value
    return nest(found)


def changed(request: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`request` with `settings` in place; groups are entered, so that one key of them leaves the others alone."""
    found = dict(request)
    for key, value in settings.items():
        inside = found.get(key)
        grouped = isinstance(inside, Mapping) and isinstance(value, Mapping)
        found[key] = changed(inside or {}, value) if grouped else value
    return found


def launch(
    workspace: Workspace,
    how: LaunchOptions,
    build: Callable[[Resolver], tuple[list[Run], set[str]]],
    *,
    before: Callable[[Registry, Resolver], None] | None = None,
) -> Launch:
    """The whole way of a launching command. `build` makes cells and says which of them the user asked for."""
    from smx import plugins
    from smx.cli._following import summed_up
    from smx.control.plan import decide
    from smx.control.reservations import executor_for
    from smx.control.submit import planned, submit
    from smx.control.sync import ingest_unknown, sync
    from smx.registry.store import Registry
    from smx.resolve import Resolver, unique
    from smx.runfolder import RunFolder
    from smx.workspace.storage import warnings

    if how.executor == "":  # from an unset variable in a script: not on this machine by mistake
        raise unknown("executor", "", plugins.names("executors"), "smx list executors")
    executor = executor_for(workspace, how.executor)
    if how.canary and not executor[1].canaries:
        raise UserError(f"executor {executor[0]} knows no --canary", "leave it away, or name one: --executor slurm")
    resolver = Resolver(workspace, stand_ins=executor[0] != "slurm", remember=not how.dry_run)
    if not how.dry_run:
        workspace.require_writable()
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(registry_as_it_is(workspace))
        if before:
            before(registry, resolver)
        cells, asked = build(resolver)
        cells = unique(cells)
        if not cells:
            raise UserError("that makes no runs: a list of names is empty", "for example --sampler sa --frames 8,16")
        for line in resolver.said:
            say(line)
        executor[1].check({cell.kind for cell in cells})
        if wanting := warnings(workspace):
            say(f"warning: {wanting} (smx doctor)")
        if not how.dry_run:
            # Made only now that everything asked for is known to be right.
            if registry.path != workspace.registry:
                registry = stack.enter_context(Registry.open(workspace.registry))
            workspace.share()
            ingest_unknown(workspace, registry, cells)
            for line in summed_up(sync(workspace, registry)):
                say(f"unknown: {line}")
        decisions = decide(cells, registry, asked=asked, retry=how.retry)
        show_decisions(decisions, asked, dry=how.dry_run, as_json=how.as_json)
        if not how.dry_run:
            _mend_results(registry, [d.cell for d in decisions if d.action == "skip"])
        if how.dry_run:
            jobs = planned(workspace, registry, decisions, shards=how.shards, canary=how.canary)
            if jobs and not how.as_json and (text := executor[1].preview(jobs)):
                out(text)
            return Launch(decisions)
        started = submit(
            workspace,
            registry,
            decisions,
            executor=executor,
            shards=how.shards,
            max_failed=how.max_failed,
            canary=how.canary,
            tell=say,
        )
        for canary in dict.fromkeys(a.plan["canary"]["run"] for _, a in started.attempts if a.plan["canary"]):
            say(f"canary: the first items of {canary} go first, the rest of its kind waits for them")
        for cell in started.taken:
            say(f"{cell.title}: another command started it a moment ago")
        followed = list(started.attempts)
        if how.watch:  # what other commands are at, too
            others = [*started.taken, *(d.cell for d in decisions if d.action == "wait")]
            live = [(cell, row.attempt) for cell in others for row in registry.attempts(cell.fingerprint, live=True)]
            followed += [(cell, RunFolder(cell.folder).attempt(number)) for cell, number in live]
        try:
            if executor[0] == "inline" or how.watch:
                with following(followed):
                    started.executor.drive()
                    if how.watch:
                        wait(workspace, registry, followed)
        except KeyboardInterrupt:
            say("interrupted: the same command again goes on from here")
            raise
        finally:
            sync(workspace, registry)
        rows = [row for d in decisions if d.cell.fingerprint in asked and (row := registry.run(d.cell.fingerprint))]
    if how.as_json:
        out_json([_as_json(workspace, row) for row in rows])
    return Launch(decisions, rows)


def _mend_results(registry: Registry, cells: Sequence[Run]) -> None:
    """Derive a damaged result.json from its items again, and say so: it must not refuse what needs it."""
    from smx.results.derive import derive
    from smx.runfolder import RunFolder

    for cell in cells:
        run = RunFolder(cell.folder)
        try:
            run.result()
        except UserError as damaged:
            marked = (a.attempt for a in registry.attempts(cell.fingerprint) if a.mark == "excluded")
            derive(run, frozenset(marked))
            say(f"{damaged.message}: made again from its items")


def show_decisions(decisions: Sequence[Decision], asked: set[str], *, dry: bool, as_json: bool) -> None:
    """One line per run: what happens to it and why."""
    if dry and as_json:
        out_json(
            [
                {"run": d.cell.title, "fingerprint": d.cell.fingerprint, "kind": d.cell.kind, "action": d.action}
                | {"reason": d.reason, "items": len(d.items), "folder": str(d.cell.folder)}
                for d in decisions
            ]
        )
        return
    words = {"run": "would run" if dry else "run", "skip": "skip", "wait": "wait"}
    width = max(len(d.cell.title) for d in decisions)
    for d in decisions:
        items = f", {len(d.items)} item{'s' if len(d.items) != 1 else ''}" if d.action == "run" else ""
        role = "" if d.cell.fingerprint in asked else " (needed)"
        line = f"{words[d.action]:<9} {d.cell.kind:<5} {d.cell.title:<{width}}  {d.reason}{items}{role}"
        (out if dry else say)(line)


class following:
    """Live progress of attempts while the caller works or waits; plain lines where stderr is no terminal."""

    def __init__(self, attempts: Sequence[tuple[Run, AttemptFolder]]) -> None:
        self._attempts = list(attempts)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> following:
        if self._attempts:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._attempts:
            self._thread.join()

    def _show(self) -> None:
        import sys

        if sys.stderr.isatty():
            self._live()
        else:
            self._plain()

    def _live(self) -> None:
        from rich import progress as rich

        from smx.cli._common import console

        items = [rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn()]
        times = [rich.TimeElapsedColumn(), rich.TimeRemainingColumn(), rich.TextColumn("{task.fields[state]}")]
        with rich.Progress(*items, *times, console=console(stderr=True)) as progress:
            tasks: dict[str, Any] = {}
            while True:
                over = self._over.wait(0.2)
                for cell, attempt in self._attempts:
                    done, failed, state = _standing(attempt)
                    if state == "waiting":
                        continue
                    total = sum(map(len, attempt.plan["shards"]))
                    key = str(attempt.path)
                    if key not in tasks:
                        tasks[key] = progress.add_task(f"{cell.kind:<5} {cell.title}", total=total, state=state)
                    shown = f"{state}, {failed} failed" if failed else state
                    progress.update(tasks[key], completed=done + failed, state=shown)
                    if state != "running":
                        progress.stop_task(tasks[key])
                if over:
                    return

    def _plain(self) -> None:
        told: dict[str, str] = {}
        begun: dict[str, tuple[float, int]] = {}  # when it was first seen at work, and items done by then
        spoke = time.monotonic()
        while True:
            over = self._over.wait(0.5)
            again = time.monotonic() - spoke >= _SPEAK
            for cell, attempt in self._attempts:
                done, failed, state = _standing(attempt)
                key = str(attempt.path)
                if state == "running":
                    begun.setdefault(key, (time.monotonic(), done + failed))
                if state == "waiting" or (state == told.get(key) and not (again and state == "running")):
                    continue
                total = sum(map(len, attempt.plan["shards"]))
                counts = f" {done}/{total}" + (f", {failed} failed" if failed else "")
                left = _left(*begun[key], done + failed, total) if state == told.get(key) else ""
                say(f"{cell.kind:<5} {cell.title}: {state}{counts if state != 'running' or left else ''}{left}")
                told[key] = state
                spoke = time.monotonic()
            if over:
                return


def _left(since: float, before: int, ended: int, total: int) -> str:
    """`, 18 min left` at the pace so far; that nothing tells yet where no item has ended."""
    from smx.monitor.status import span

    if ended == before:
        return ", time left unknown"
    took = time.monotonic() - since
    return f", {span(took / (ended - before) * (total - ended))} left"


def wait(workspace: Workspace, registry: Registry, attempts: Sequence[tuple[Run, AttemptFolder]]) -> None:
    """Until each attempt has ended, by its own word or its process's end."""
    from smx.control.sync import sync

    pause = threading.Event()
    numbers = {(cell.fingerprint, attempt.number) for cell, attempt in attempts}
    while numbers & {(row.fingerprint, row.attempt) for row in registry.attempts(live=True)}:
        sync(workspace, registry)
        pause.wait(0.5)


def summary(workspace: Workspace, launch: Launch, more: Callable[[RunRow], None] = lambda row: None) -> None:
    """One line per run that was asked for: how it stands, and where it is. `more` prints what else there is to say."""
    from smx.runfolder import RunFolder

    for row in launch.rows:
        folder = workspace.runs / row.folder
        counts = f"{row.done}/{row.items}"
        out(f"{row.state:<9} {row.kind:<5} {folder.name}  {counts}")
        result = RunFolder(folder).result() if row.state not in ("new", "waiting") else None
        for error in (result or {}).get("errors", [])[:5]:
            named = ", ".join(error["items"][:3]) + (" …" if len(error["items"]) > 3 else "")
            out(f"          {len(error['items'])} × {error['kind']}: {error['line']}  [{named}]")
        if row.state not in ("done", "running", "waiting", "pending"):
            out(f"          why: smx show {folder.name}")
        more(row)
    for decision in launch.decisions:
        if decision.cell.kind == "gen":
            _warn(RunFolder(decision.cell.folder).result() or {})


_WARNED = 5  # different warnings of a run's scenes that are shown


def _warn(result: Mapping[str, Any]) -> None:
    """What gen found doubtful or did not use, each line once with the scenes it is about."""
    about: dict[str, list[str]] = {}
    for scene, lines in result.get("warnings", {}).items():
        for line in lines:
            about.setdefault(line, []).append(scene)
    for line, scenes in list(about.items())[:_WARNED]:
        others = f" and {len(scenes) - 1} other scenes" if len(scenes) > 1 else ""
        say(f"warning: {scenes[0]}{others}: {line}")
    if len(about) > _WARNED:
        say(f"warning: {len(about) - _WARNED} more in the result.json of the gen run (smx show RUN)")


def _standing(attempt: AttemptFolder) -> tuple[int, int, str]:
    if not attempt.planned:
        return 0, 0, "waiting"
    shards = attempt.shards()
    exits = [s.exit() for s in shards]
    beats = [b for b in (s.heartbeat() for s in shards) if b]
    done, failed = sum(b["done"] for b in beats), sum(b["failed"] for b in beats)
    if all(exits):
        hows = {str(e["how"]) for e in exits if e}
        return done, failed, next((h for h in ("failed", "cancelled", "preempted") if h in hows), "done")
    return done, failed, "running" if beats else "waiting"


def _as_json(workspace: Workspace, row: RunRow) -> dict[str, Any]:
    from smx.runfolder import RunFolder

    folder = workspace.runs / row.folder
    return {
        "run": folder.name,
        "fingerprint": row.fingerprint,
        "kind": row.kind,
        "state": row.state,
        "items": row.items,
        "done": row.done,
        "failed": row.failed,
        "folder": str(folder),
        "result": RunFolder(folder).result(),
    }
