"""Runs that somebody removed: aside in `runs/.trash` until gc empties it, in no list and no table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from smx.control.cancel import still_live
from smx.control.progress import Listener
from smx.control.sync import fold_in, ingest_unknown, refresh, run_of
from smx.errors import UserError, unknown
from smx.registry.export import restore
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.workspace import Workspace


def trashed(workspace: Workspace) -> list[Path]:
    """Folders of removed runs, the newest removed first."""
    return sorted(workspace.trash.glob("*/*"), key=lambda folder: folder.stat().st_mtime, reverse=True)


def remove(workspace: Workspace, runs: Sequence[str], *, listener: Listener | None = None) -> list[RunRow]:
    """Put these runs (names as people write them) aside: folders, notes and tags stay, their scores count nowhere.

    `UserError`, before anything is moved, for a run that still runs or waits, and for a training whose weights a run
    was evaluated with that is not removed too.
    """
    listener = listener or Listener()
    with Registry.open(workspace.registry, create=False) as registry:
        refresh(workspace, registry, listener.say)
        rows = list({row.fingerprint: row for row in map(registry.find, runs)}.values())
        going = still_live(registry, [row.fingerprint for row in rows])
        if names := [row.title for row in rows if row.fingerprint in going]:
            raise UserError(f"{', '.join(names)} still runs or waits", f"smx cancel {' '.join(names)}")
        for row in rows:
            if names := _evaluated_with(registry, row, {other.fingerprint for other in rows}):
                users = ", ".join(names[:3]) + (" …" if names[3:] else "")
                raise UserError(
                    f"{row.title} made the weights that {users} answered with",
                    f"remove them too: smx rm {row.title} {' '.join(names)}",
                )
        for row in rows:
            _set_aside(workspace, registry, row)
    return rows


def bring_back(workspace: Workspace, names: Sequence[str], *, listener: Listener | None = None) -> list[str]:
    """The names of these removed runs, which are runs again.

    `UserError`, before anything is moved, where one is not there, has been made anew since, or is named twice.
    """
    listener = listener or Listener()
    folders = {folder.name: folder for folder in trashed(workspace)}
    targets: dict[Path, Path] = {}  # where a run was -> where it lies aside
    for name in names:  # all of them, before any is moved
        if name not in folders:
            raise unknown("removed run", name, [*folders], "smx rm shows what was removed")
        title = name.partition("~")[0]
        target = workspace.runs / folders[name].parent.name / title
        if target.exists() or target in targets:
            raise UserError(f"{title} has been made again since", f"smx rm {title} puts that one aside first")
        targets[target] = folders[name]
    with Registry.open(workspace.registry) as registry:
        for target, aside in targets.items():
            target.parent.mkdir(exist_ok=True)
            aside.rename(target)
        runs = [run_of(RunFolder(target)) for target in targets]
        ingest_unknown(workspace, registry, runs)
        here = {run.fingerprint: RunFolder(run.folder) for run in runs}
        for attempt in restore(registry, workspace.experiments):
            if attempt.fingerprint in here:
                fold_in(workspace, registry, here[attempt.fingerprint], attempt)
    return [target.name for target in targets]


def _evaluated_with(registry: Registry, row: RunRow, removed: set[str]) -> list[str]:
    """Runs, but for those `removed` too, that took the weights this one made."""
    users = registry.inputs(input=f"train:{row.fingerprint}") if row.kind == "train" else []
    others = [registry.run(user.fingerprint) for user in users if user.fingerprint not in removed]
    return [other.title for other in others if other]


def _set_aside(workspace: Workspace, registry: Registry, row: RunRow) -> None:
    """The folder first: a kill before the rows are gone leaves a run without a folder, which removing again ends."""
    folder = workspace.runs / row.folder
    kept = workspace.trash / row.folder
    for number in range(2, 1000):
        if not kept.exists():
            break
        kept = workspace.trash / f"{row.folder}~{number}"
    with registry.transaction():
        if folder.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(kept)
            os.utime(kept)  # gc counts from today
        registry.forget(row.fingerprint)
