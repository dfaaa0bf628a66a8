"""`smx why`, `smx logs` and `smx open`: one run, looked at closely."""

from __future__ import annotations

import os
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli._filters import Named
from smx.cli._following import refresh, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smx.registry.rows import AttemptRow
    from smx.registry.store import Registry
    from smx.runfolder import AttemptFolder, RunFolder
    from smx.workspace import Workspace


def why(
    run: Named,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Why a run waits, or how it failed: kind, message, where, evidence, who else, and what to type next.

    Example: smx why tiny-rooms-uniform-16f-1a2b3c4d
    """
    from smx.cli._common import out, out_json, registry_as_it_is, workspace
    from smx.monitor import why as reasons

    space = workspace()
    with registry_as_it_is(space) as registry:
        refresh(space, registry)
        found = reasons.explain(registry, space.runs, registry.find(run))
    if as_json:
        out_json(found)
    else:
        out("\n".join(reasons.lines(found, width())))


def logs(
    run: Annotated[str, typer.Argument(metavar="RUN[#ATTEMPT]", help="A run; its newest attempt.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")] = False,
    shard: Annotated[int | None, typer.Option(min=0, help="Only this shard's.")] = None,
    err: Annotated[bool, typer.Option("--err", help="Only standard error.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=1, help="Only the last lines of each file.")] = None,
) -> None:
    """What a run's processes have printed: both streams of all its shards.

    Example: smx logs tiny-rooms-uniform-16f-1a2b3c4d -f
    """
    from smx.cli._common import counted, registry_as_it_is, say, workspace
    from smx.cli._filters import attempt_of
    from smx.cli._streams import listening
    from smx.control.cancel import is_in_process
    from smx.control.wait import wait_for
    from smx.errors import UserError

    space = workspace()
    name, number = attempt_of(run)
    with registry_as_it_is(space) as registry:
        folder, attempt = _attempt(space, registry, name, number)
        shards = len(attempt.plan["shards"])
        if shard is not None and shard >= shards:
            valid = "--shard 0" if shards == 1 else f"--shard 0 to {shards - 1}"
            has = f"attempt {attempt.number} of {folder.path.name} has {counted(shards, 'shard')}"
            raise UserError(f"there is no shard {shard}: {has}", f"valid: {valid}")
        if is_in_process(space, attempt.plan["executor"]):
            say(f"{folder.path.name} ran inside the command that started it, so what it printed is in that terminal.")
            say(f"what it recorded: smx show {folder.path.name}, and {attempt.path}")
            return
        endings = ("err",) if err else ("out", "err")
        if not follow and not any(attempt.logs(ending, shard) for ending in endings):
            say(f"nothing printed yet (smx why {folder.path.name})")
            return
        reader = _Reader(attempt, endings, shard, tail)
        if follow:

            def goes_on(live: Sequence[AttemptRow]) -> bool:
                reader.read()
                silent = all(shard.exit() is not None for shard in attempt.shards())
                return listening() and not silent and any(row.attempt == attempt.number for row in live)

            wait_for(space, registry, {folder.spec["fingerprint"]}, look=goes_on)
        reader.read(last=True)
        if not reader.printed:
            say(f"nothing printed (smx why {folder.path.name})")


def open_(
    run: Named,
    what: Annotated[
        str | None, typer.Argument(help="One of its paths alone: folder, attempt, result, samples, checkpoint …")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Paths of a run: its folder, newest attempt, logs, result, samples, checkpoint.

    Example: cd "$(smx open tiny-rooms-uniform-16f-1a2b3c4d folder)"
    """
    from smx.cli._common import out, out_json, registry_as_it_is, workspace
    from smx.errors import UserError, unknown

    space = workspace()
    with registry_as_it_is(space) as registry:
        found = _paths(space, registry.find(run).folder)
    if not found:
        raise UserError(f"the folder of {run} is gone", "put it back, or let smx db rebuild forget the run")
    if what is not None:
        if what not in found:
            raise unknown("path", what, found, f"smx open {run} shows those it has")
        out(found[what])
    elif as_json:
        out_json(found)
    else:
        wide = max(map(len, found))
        for label, path in found.items():
            out(f"{label:<{wide}}  {path}")


class _Reader:
    """Prints what has been added to an attempt's logs since the last look, whole lines at a time."""

    def __init__(self, attempt: AttemptFolder, endings: tuple[str, ...], shard: int | None, tail: int | None) -> None:
        self._attempt, self._endings, self._shard, self._tail = attempt, endings, shard, tail
        self._read: dict[int, int] = {}  # by inode
        self._told: int | None = None
        self.printed = False

    def read(self, *, last: bool = False) -> None:
        """Print what is new; with `last`, a line without an end too."""
        paths = [path for ending in self._endings for path in self._attempt.logs(ending, self._shard)]
        for path in paths:
            with path.open("rb") as file:
                same = os.fstat(file.fileno()).st_ino  # once a task has begun, its folder has a link to it
                first = same not in self._read
                file.seek(self._read.get(same, 0))
                data = file.read()
            if not last:
                data = data[: data.rfind(b"\n") + 1]
            self._read[same] = self._read.get(same, 0) + len(data)
            text = data.decode(errors="replace").removesuffix("\n")
            lines = [_shown(line) for line in text.split("\n")] if data else []
            if first and self._tail:
                lines = list(deque(lines, self._tail))
            if lines and len(paths) > 1 and self._told != same:
                sys.stdout.write(f"==> {os.path.relpath(path, self._attempt.path)} <==\n")
                self._told = same
            self.printed = self.printed or bool(lines)
            sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()


def _shown(line: str) -> str:
    """A line as a terminal would leave it: of a progress bar, its last state."""
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def _attempt(space: Workspace, registry: Registry, name: str, number: int | None) -> tuple[RunFolder, AttemptFolder]:
    """A run and one attempt of it, the newest unless told."""
    from smx.errors import UserError
    from smx.runfolder import RunFolder

    row = registry.find(name)
    folder = RunFolder(space.runs / row.folder)
    attempts = {attempt.number: attempt for attempt in folder.attempts()}
    if not attempts:
        raise UserError(f"{folder.path.name} was never tried", f"smx show {folder.path.name}")
    if number is not None and number not in attempts:
        raise UserError(f"{folder.path.name} has no attempt {number}", f"attempts: {', '.join(map(str, attempts))}")
    return folder, attempts[number or max(attempts)]


def _paths(space: Workspace, folder: str) -> dict[str, str]:
    """Label -> path of what there is of a run."""
    from smx.runfolder import RunFolder

    run = RunFolder(space.runs / folder)
    found: dict[str, Any] = {"folder": run.path, "spec": run.path / "spec.json", "result": run.path / "result.json"}
    if attempts := run.attempts():
        newest = attempts[-1]
        found["attempt"] = newest.path
        for ending in ("out", "err"):
            for number, path in enumerate(newest.logs(ending)):
                found[ending if number == 0 else f"{ending}{number}"] = path
        places = {**newest.plan["paths"]}
        for role, here in (("samples", space.samples), ("output", run.path / "checkpoint")):
            if role in places:  # the workspace may have been moved since
                places[role] = str(here)
        found["samples"] = _samples(run, places)
        found["checkpoint"] = places.get("output") or places.get("checkpoint")
        found["data"] = places.get("dataset") or places.get("bench")
    return {label: str(path) for label, path in found.items() if path and Path(path).exists()}


def _samples(run: RunFolder, places: dict[str, str | None]) -> Path | None:
    """The sample set a run made or looks at."""
    if not places.get("samples"):
        return None
    from smx import sampleset
    from smx.spec import SampleSpec, recorded, sample_set

    spec = recorded(run.spec)
    assert isinstance(spec, SampleSpec)
    if spec.sampler == "none":  # nothing is looked at
        return None
    return sampleset.set_folder(
        Path(str(places["samples"])), spec.sampler, spec.frames, sample_set(spec, run.spec["plugins"])[:8]
    )
