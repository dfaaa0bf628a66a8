"""What the commands that start runs share: their options, what they print while it goes on, and how it ended."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli._common import counted, out, out_json, say
from smx.control.progress import Listener, progress, seconds_left
from smx.errors import UserError
from smx.states import LIVE, QUEUED, RunState

if TYPE_CHECKING:
    from smx.control.launch import Launch, LaunchOptions, Request
    from smx.control.plan import Decision
    from smx.registry.rows import RunRow
    from smx.run import Run
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
Keep = Annotated[bool, typer.Option("--keep", help="What is done with a plugin's code before it was edited serves.")]
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
Strict = Annotated[
    bool, typer.Option("--strict", help="A scene whose depth and cameras disagree fails, instead of a warning.")
]
Seeds = Annotated[str, typer.Option("--seed", help="Seed, or several separated by commas.")]


MODEL_OPTIONS = "model_options"  # of a request: what `--set model.KEY=…` sets
_SPEAK = 30.0  # seconds between two lines about progress, where nobody watches a bar


def choices(text: str | None) -> list[str]:
    """`"a, b"` -> `["a", "b"]`, each once."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def integers(text: str, what: str) -> list[int]:
    """`"8,16"` -> `[8, 16]`. `UserError` for anything else."""
    try:
        numbers = [int(part) for part in choices(text)]
    except ValueError:
        raise UserError(
            f"{what} must be whole numbers, got {text!r}", f"for example --{what} 16  or  --{what} 8,16,32"
        ) from None
    if not numbers:
        raise UserError(f"{what}: no number in {text!r}")
    return numbers


def settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """`--set KEY=VALUE` into nested keys; values are read as YAML (numbers, lists, true)."""
    import yaml

    from smx.dotted import nest

    keys: dict[str, Any] = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise UserError(f"--set takes KEY=VALUE, got {pair!r}", "for example --set sampler_options.window=10")
        try:
            keys[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            keys[key.strip()] = value
    nested = nest(keys)
    if isinstance(nested.get("model"), Mapping):  # `model` itself is the variant's name
        nested[MODEL_OPTIONS] = nested.pop("model")
    return nested


def changed(request: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`request` with `settings` in place; groups are entered, so that one key of them leaves the others alone."""
    merged = dict(request)
    for key, value in settings.items():
        inside = merged.get(key)
        grouped = isinstance(inside, Mapping) and isinstance(value, Mapping)
        merged[key] = changed(inside or {}, value) if grouped else value
    return merged


class Console(Listener):
    """Prints what happens: on stderr, and on stdout what a dry run would do."""

    def __init__(self, *, dry_run: bool = False, as_json: bool = False) -> None:
        self._dry_run, self._as_json = dry_run, as_json

    def say(self, line: str) -> None:
        say(line)

    def decided(self, decisions: Sequence[Decision]) -> None:
        """One line per run: what happens to it and why."""
        if self._dry_run and self._as_json:
            out_json(
                [
                    {"run": d.run.title, "fingerprint": d.run.fingerprint, "kind": d.run.kind, "action": d.action}
                    | {"reason": d.reason, "items": len(d.items), "folder": str(d.run.folder)}
                    for d in decisions
                ]
            )
            return
        words = {"run": "would run" if self._dry_run else "run", "skip": "skip", "wait": "wait", "damaged": "damaged"}
        width = max(len(d.run.title) for d in decisions)
        for d in decisions:
            items = f", {len(d.items)} item{'s' if len(d.items) != 1 else ''}" if d.action == "run" else ""
            role = "" if d.asked else " (needed)"
            if d.changed:
                items = f": {counted(len(d.items), 'item')} anew"
            word = "changed" if d.changed else words[d.action]
            line = f"{word:<9} {d.run.kind:<5} {d.run.title:<{width}}  {d.reason}{items}{role}"
            (out if self._dry_run else say)(line)

    def preview(self, text: str) -> None:
        if not self._as_json:
            out(text)

    def following(self, attempts: Sequence[tuple[Run, AttemptFolder]]) -> _Following:
        return _Following(attempts)


class _Following:
    """Live progress of attempts while the caller works or waits; plain lines where stderr is no terminal."""

    def __init__(self, attempts: Sequence[tuple[Run, AttemptFolder]]) -> None:
        self._attempts = list(attempts)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> None:
        if self._attempts:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._attempts:
            self._thread.join()

    def _show(self) -> None:
        if sys.stderr.isatty():
            self._live()
        else:
            self._plain()

    def _live(self) -> None:
        from rich import progress as rich

        from smx.cli._common import console

        items = [rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn()]
        times = [rich.TimeElapsedColumn(), rich.TimeRemainingColumn(), rich.TextColumn("{task.fields[state]}")]
        with rich.Progress(*items, *times, console=console(stderr=True)) as bars:
            tasks: dict[str, Any] = {}
            while True:
                over = self._over.wait(0.2)
                for run, attempt in self._attempts:
                    done, failed, total, state = progress(attempt)
                    if state in QUEUED:
                        continue
                    key = str(attempt.path)
                    if key not in tasks:
                        tasks[key] = bars.add_task(f"{run.kind:<5} {run.title}", total=total, state=state)
                    shown = f"{state}, {failed} failed" if failed else state
                    bars.update(tasks[key], completed=done + failed, state=shown)
                    if state not in LIVE:
                        bars.stop_task(tasks[key])
                if over:
                    return

    def _plain(self) -> None:
        printed: dict[str, str] = {}  # the state that was printed last
        begun: dict[str, tuple[float, int]] = {}  # when it was first seen at work, and items ended by then
        spoke = time.monotonic()
        while True:
            over = self._over.wait(0.5)
            again = time.monotonic() - spoke >= _SPEAK
            for run, attempt in self._attempts:
                now = progress(attempt)
                key, running = str(attempt.path), now.state in LIVE
                if now.state in QUEUED or (now.state == printed.get(key) and not (again and running)):
                    continue
                since, before = begun.setdefault(key, (time.monotonic(), now.done + now.failed))
                left = ""
                if running and now.state == printed.get(key):
                    left = _left(seconds_left(now, time.monotonic() - since, before))
                counts = f" {now.done}/{now.total}" + (f", {now.failed} failed" if now.failed else "")
                say(f"{run.kind:<5} {run.title}: {now.state}{counts if not running or left else ''}{left}")
                printed[key] = now.state
                spoke = time.monotonic()
            if over:
                return


def _left(seconds: float | None) -> str:
    from smx.monitor.status import span

    return ", time left unknown" if seconds is None else f", {span(seconds)} left"


def start(
    workspace: Workspace,
    requests: Sequence[Request],
    options: LaunchOptions,
    *,
    as_json: bool = False,
    labels: Mapping[str, Any] | None = None,
) -> Launch:
    """Launch, and print what happens; the caller prints how it ended."""
    from smx.control.launch import launch

    console = Console(dry_run=options.dry_run, as_json=as_json)
    done = launch(workspace, requests, options, labels=labels, listener=console)
    if as_json and not options.dry_run:
        print_json(workspace, done)
    return done


def print_json(workspace: Workspace, launch: Launch) -> None:
    """The runs that were asked for."""
    out_json([_as_json(workspace, row) for row in launch.runs])


def summary(workspace: Workspace, launch: Launch, more: Callable[[RunRow], None] = lambda row: None) -> None:
    """One line per run that was asked for: how it stands, and where it is. `more` prints what else there is to say."""
    from smx.runfolder import RunFolder

    for row in launch.runs:
        folder = workspace.runs / row.folder
        out(f"{row.state:<9} {row.kind:<5} {folder.name}  {row.done}/{row.items}")
        result = RunFolder(folder).result() if row.state not in (RunState.new, RunState.waiting) else None
        for error in (result or {}).get("errors", [])[:5]:
            named = ", ".join(error["items"][:3]) + (" …" if len(error["items"]) > 3 else "")
            out(f"          {len(error['items'])} × {error['kind']}: {error['line']}  [{named}]")
        if row.state not in (RunState.done, *LIVE):
            out(f"          why: smx show {folder.name}")
        more(row)
    for decision in launch.decisions:
        if decision.run.kind == "gen":
            _warn(RunFolder(decision.run.folder).result() or {})


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
