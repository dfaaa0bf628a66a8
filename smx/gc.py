"""What a workspace no longer needs, and how it is removed. Nothing recorded, but for runs that somebody removed.

Everything here can be made again or was never finished. What is in doubt stays: a folder that cannot be read,
a sample set that may be another workspace's, anything touched a moment ago.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smx import external_frames, plugins, sampleset
from smx.control.reservations import submission_folder
from smx.errors import SceneError, UserError
from smx.processes import is_alive
from smx.registry.rows import AttemptRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder, run_folders
from smx.spec import recorded
from smx.spec import sample_set as identity_of
from smx.states import AttemptState, RunState
from smx.workspace import Workspace

DAY = 86400.0
# Half-written things are called so everywhere: `.name.….tmp`, `.claim` and `.new`; a snapshot's are folders.
_UNFINISHED = re.compile(r"\..+\.(?:tmp|claim|new)")


@dataclass(frozen=True)
class Leftover:
    """Things of one kind that can go together."""

    what: str  # "resume states", "cache" …
    paths: tuple[Path, ...]
    size: int  # bytes on disk
    why: str
    attempt: tuple[str, int] | None = None  # a reservation in the registry, which has no files

    @property
    def place(self) -> Path | None:
        """The path, or the folder that holds all of them."""
        return Path(os.path.commonpath(self.paths)) if self.paths else None


def find(workspace: Workspace, registry: Registry, age: float) -> list[Leftover]:
    """What can go, largest first. `age`: seconds since caches and unused sample sets were last of use.

    The registry must be up to date.
    """
    runs = list(run_folders(workspace.runs))
    attempts = registry.attempts()
    found = [
        *_resume_states(workspace, registry),
        *_caches(workspace, age),
        *_trash(workspace, age),
        *_sample_sets(workspace, runs, age),
        *_snapshots(workspace, runs, attempts),
        *_submissions(workspace, runs, attempts),
        *_unfinished(workspace),
        *_reservations(workspace, registry, attempts),
    ]
    return sorted(found, key=lambda leftover: -leftover.size)


def remove(workspace: Workspace, registry: Registry, leftovers: Sequence[Leftover]) -> list[str]:
    """Remove them; returns what could not be, in words. A folder leaves its place whole before it is emptied."""
    problems = []
    for leftover in leftovers:
        if leftover.attempt is not None:
            registry.release(*leftover.attempt)
        for path in leftover.paths:
            try:
                _remove(path)
            except FileNotFoundError:
                continue  # another gc was first
            except OSError as error:
                problems.append(f"{path}: {error.strerror}")
    return problems


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    aside = path
    if not _UNFINISHED.fullmatch(path.name):
        aside = path.with_name(f".{path.name}.{os.getpid()}.gc.tmp")
        path.rename(aside)
    shutil.rmtree(aside)


def _resume_states(workspace: Workspace, registry: Registry) -> Iterator[Leftover]:
    """Optimizer and schedule of a training that is done: its weights are in `checkpoint/`."""
    for row in registry.runs(kind="train", state=RunState.done):
        folder = workspace.runs / row.folder
        states = folder / "training"
        if row.failed == 0 and states.is_dir() and (folder / "checkpoint").is_dir():
            yield _leftover("resume states", [states], "of a training that is done; its weights stay")


def _caches(workspace: Workspace, age: float) -> Iterator[Leftover]:
    """Voxels and the like, by when they were last read or written."""
    old = [path for path in _files(workspace.cache) if not _is_unfinished(path) and _unused(path) > age]
    if old:
        yield _leftover("cache", old, f"not used for {_span(age)}; computed again when needed")


def _trash(workspace: Workspace, age: float) -> Iterator[Leftover]:
    """Runs that somebody removed, by when that was."""
    old = [folder for folder in workspace.trash.glob("*/*") if _age(folder) > age]
    if old:
        yield _leftover("removed runs", old, f"put aside more than {_span(age)} ago; smx rm --undo brings them back")


def _sample_sets(workspace: Workspace, runs: Sequence[RunFolder], age: float) -> Iterator[Leftover]:
    """Those that smx made and no run here makes or looks at."""
    if not workspace.samples.resolve().is_relative_to(workspace.root.resolve()):
        return  # on storage that other workspaces may share: their runs are not known here
    used, unsure = _sets_in_use(runs)
    for folder in sorted(workspace.samples.glob("*/*f-*")):
        sampler, _, set_digest = folder.parent.name, *folder.name.rpartition("-")[1:]
        if (
            set_digest in used
            or sampler in unsure
            or _newest(folder) > time.time() - age
            or not _made_here(folder, set_digest)
        ):
            continue
        yield _leftover(
            "sample set", [folder], f"no run uses it, nothing in it changed for {_span(age)}; gen makes the same again"
        )


def _sets_in_use(runs: Sequence[RunFolder]) -> tuple[set[str], set[str]]:
    """First digits of the sample sets that runs name, and samplers of which that cannot be told."""
    used, unsure = set(), set()
    for run in runs:
        spec: dict[str, Any] = run.spec["spec"]
        if set_digest := run.spec["inputs"].get("sample_set"):
            used.add(str(set_digest).rpartition(":")[2][:8])
            continue
        if spec.get("sampler", "none") == "none":
            continue
        try:
            parsed = recorded(run.spec)
            used.add(identity_of(parsed, run.spec["plugins"])[:8])
            identity = run.spec["plugins"].get(f"samplers/{spec['sampler']}")
            same = isinstance(identity, str) or identity == plugins.identity("samplers", spec["sampler"])
        except (UserError, ValueError, KeyError):
            same = False
        if not same:  # of another version of smx, whose sets were called otherwise
            unsure.add(str(spec["sampler"]))
    return used, unsure


def _made_here(folder: Path, set_digest: str) -> bool:
    """Whether gen made it, so that it can make it again: every sample says of which set it is."""
    samples = list(sampleset.samples(folder))
    try:
        records = [sampleset.read_record(sample) for sample in samples]
    except SceneError:
        return False
    if any((record.get("source") or {}).get("kind") == external_frames.KIND for record in records):
        return False  # another tool chose them, and who knows whether its pictures are still anywhere else
    return bool(samples) and all(str(record.get("sample_set", ""))[:8] == set_digest for record in records)


def _snapshots(workspace: Workspace, runs: Sequence[RunFolder], attempts: Sequence[AttemptRow]) -> Iterator[Leftover]:
    """Copies of the code that no attempt ran or will run."""
    used = {str(row.provenance.get("snapshot")) for row in attempts}
    used |= {str(attempt.plan.get("provenance", {}).get("snapshot")) for run in runs for attempt in run.attempts()}
    for folder in _folders(workspace.runs / ".code"):
        if folder.name.startswith("."):
            if _newest(folder) < time.time() - DAY:
                yield _leftover("unfinished", [folder], "left behind by something that was killed")
        elif folder.name not in used and _age(folder) > DAY:
            yield _leftover("code", [folder], "a copy that no attempt refers to")


def _submissions(workspace: Workspace, runs: Sequence[RunFolder], attempts: Sequence[AttemptRow]) -> Iterator[Leftover]:
    """Queues and scripts of attempts whose run folders are gone."""
    used = {row.submission for row in attempts}
    used |= {attempt.plan["submission"] for run in runs for attempt in run.attempts()}
    place = submission_folder(workspace, "")
    known = {folder.name for folder in _folders(place) if not folder.name.startswith(".")}
    for name in sorted(known - used):
        if _age(place / name) > DAY:
            yield _leftover("submission", [place / name], "none of its runs is here any more")
    due = [path for path in _files(place / ".due") if path.name.partition(".")[0] not in used and _age(path) > DAY]
    if due:
        yield _leftover("submission", due, "events of runs that are not here any more")


def _unfinished(workspace: Workspace) -> Iterator[Leftover]:
    """Temporary files and folders of processes that were killed. A day is longer than any write takes."""
    found = []
    for root in (workspace.runs, workspace.samples, workspace.cache):
        for folder, folders, files in os.walk(root):
            if Path(folder) == workspace.runs:
                folders[:] = [name for name in folders if name != ".code"]
            here = [Path(folder) / name for name in (*folders, *files) if _UNFINISHED.fullmatch(name)]
            folders[:] = [name for name in folders if not _UNFINISHED.fullmatch(name)]
            found += [path for path in here if _newest(path) < time.time() - DAY]
    found += [path for path in workspace.root.glob(".registry.db.*") if _newest(path) < time.time() - DAY]
    if found:
        yield _leftover("unfinished", found, "left behind by something that was killed")


def _reservations(workspace: Workspace, registry: Registry, attempts: Sequence[AttemptRow]) -> Iterator[Leftover]:
    """Of launchers on other machines that never came back. (Those of this machine go with the next look.)"""
    for row in attempts:
        run = registry.run(row.fingerprint)
        if row.state != AttemptState.waiting or row.handle is not None or run is None:
            continue
        planned = RunFolder(workspace.runs / run.folder).attempt(row.attempt).planned
        if not planned and not is_alive(dict(row.provenance["submitter"])) and _since(row.created) > DAY:
            why = f"{run.folder} attempt {row.attempt}: its launcher never came back"
            yield Leftover("reservation", (), 0, why, (row.fingerprint, row.attempt))


def _span(seconds: float) -> str:
    return f"{seconds / DAY:.0f} days" if seconds >= 2 * DAY else f"{seconds / 3600:.0f} hours"


def _since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _leftover(what: str, paths: Sequence[Path], why: str) -> Leftover:
    return Leftover(what, tuple(paths), sum(map(_size, paths)), why)


def _size(path: Path) -> int:
    """Bytes it takes on disk, all below it included."""
    return sum(state.st_blocks * 512 for state in _states(path))


def _files(folder: Path) -> list[Path]:
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _is_unfinished(path: Path) -> bool:
    return bool(_UNFINISHED.fullmatch(path.name))


def _unused(path: Path) -> float:
    """Seconds since a file was read or written. (Disks mounted without access times know of writing alone.)"""
    state = path.stat()
    return time.time() - max(state.st_atime, state.st_mtime)


def _age(path: Path) -> float:
    return time.time() - path.lstat().st_mtime


def _newest(path: Path) -> float:
    """When anything in it last changed."""
    return max((state.st_mtime for state in _states(path)), default=0)


def _states(path: Path) -> Iterator[os.stat_result]:
    """Of a path and of every file below it; what goes away meanwhile is left out."""
    for file in (path, *_files(path)):
        with contextlib.suppress(FileNotFoundError):
            yield file.lstat()
