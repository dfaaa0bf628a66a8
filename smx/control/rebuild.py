"""Make the registry again from what it is an index of: run folders, what executors say, imported history, notes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smx.control.attempt_view import DAMAGE, AttemptView, in_words, row_of
from smx.control.poll import ask, kept_facts
from smx.control.sync import fold_in, ingest
from smx.errors import UserError, no_space
from smx.executors import ShardStatus
from smx.registry.export import rebuilding, restore, without_file
from smx.registry.rows import AttemptRow
from smx.registry.store import Registry
from smx.results.derive import derive
from smx.runfolder import RunFolder, run_folders
from smx.workspace import Workspace


@dataclass(frozen=True)
class Rebuilt:
    """What the new registry holds, and what it could not take in."""

    sizes: Mapping[str, int]  # table -> rows, of runs, attempts, imports and notes
    left_out: Mapping[Path, str]  # run folder -> what is wrong with it
    damage: Sequence[str]  # of run folders that were taken in: what was done without
    doubts: Sequence[str]  # of attempts that are not over as far as anybody knows: what could not be found out
    fileless: Mapping[str, int]  # history file that is gone -> entries taken over from the old registry


def rebuild(workspace: Workspace) -> Rebuilt:
    """Build a new registry beside the old one, which it replaces when it is complete; the old one is kept."""
    facts = ask_all(workspace)  # before the registry is locked: a scheduler may take its time to answer
    imports = without_file(workspace.registry, workspace.experiments)
    with rebuilding(workspace.registry) as registry:
        registry.upsert_all("imports", imports, "digest")
        left_out = ingest_all(workspace, registry, facts)
        for attempt in restore(registry, workspace.experiments):
            run = registry.run(attempt.fingerprint)
            assert run is not None
            fold_in(workspace, registry, RunFolder(workspace.runs / run.folder), attempt, facts)
        doubts = [line for row in registry.attempts(live=True) if (line := _doubt(registry, row))]
        sizes = {table: registry.size(table) for table in ("runs", "attempts", "imports", "notes")}
    ingested = (folder for folder in run_folders(workspace.runs) if folder.path not in left_out)
    damage = [line for folder in ingested for line in folder.damage()]
    return Rebuilt(sizes, left_out, damage, doubts, Counter(row["file"] for row in imports))


def _doubt(registry: Registry, row: AttemptRow) -> str:
    run = registry.run(row.fingerprint)
    if not row.unknown_since or run is None:
        return ""
    return f"{run.title} attempt {row.attempt}: {row.reason or 'its executor could not be asked'}"


def ask_all(workspace: Workspace) -> dict[Path, Sequence[ShardStatus]]:
    """What executors say of every attempt that has not ended by its own word, each asked once."""
    views = []
    for run in run_folders(workspace.runs):
        with contextlib.suppress(*DAMAGE):  # `ingest_all` names it
            of_run = [AttemptView(attempt, row_of(attempt)) for attempt in run.attempts()]
            for view in of_run:
                kept_facts(view.folder)
            views += of_run
    return ask(workspace, views)


def ingest_all(
    workspace: Workspace, registry: Registry, facts: Mapping[Path, Sequence[ShardStatus]]
) -> dict[Path, str]:
    """Fold every run folder into an (empty) registry; returns those left out, with what is wrong with each.

    What a run scored is derived from its items again: a scorer may be another since. `facts`: of `ask_all`.
    """
    left_out = {}
    for run in run_folders(workspace.runs):
        try:
            if (run.path / "result.json").exists():
                with contextlib.suppress(UserError):  # a bench that is gone since: what it scored stays
                    derive(run)
            ingest(workspace, registry, run, facts)
        except DAMAGE as error:
            if no_space(error) or isinstance(error.__cause__, sqlite3.Error):
                raise  # a matter of the registry, not of this run
            left_out[run.path] = in_words(error)
    return left_out
