"""What executors say of attempts: each is asked once, about all of its own; what it forgets is kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smx.atomic_io import read_json, write_json
from smx.control.attempt_view import DAMAGE, AttemptView, is_over
from smx.control.reservations import executor_for, submission_folder
from smx.executors import Job, ShardStatus
from smx.processes import is_alive
from smx.runfolder import AttemptFolder
from smx.states import SchedulerState
from smx.workspace import Workspace


def ask(
    workspace: Workspace, views: Sequence[AttemptView], *, ended: bool = False
) -> dict[Path, Sequence[ShardStatus]]:
    """What executors say of these attempts, by folder; each executor is asked once, about all of them.

    Attempts that need no asking are left out: being submitted this very moment, or ended by their own word (but with
    `ended`, a scheduler that keeps books is asked for its record of those too).
    """
    found: dict[Path, Sequence[ShardStatus]] = {}
    asked: dict[str, list[tuple[AttemptFolder, Mapping[str, Any]]]] = {}
    for view in views:
        try:
            facts = _without_asking(view, ended) if view.planned else []
            handle = view.handle or _recovered(workspace, view) if facts is None else None
        except DAMAGE:  # whoever looks at it names it; the others are asked for all the same
            continue
        if facts:
            found[view.folder.path] = facts
        elif facts is None and handle is None:
            lost = ShardStatus(SchedulerState.absent, reason="its launcher died before it was started")
            found[view.folder.path] = [lost] * len(view.shards)
        elif handle is not None:
            # The registry knows since when there is a doubt; to whoever has not followed it, it begins now.
            doubted = {"doubted": view.row.unknown_since if ended else None}
            asked.setdefault(handle["executor"], []).append((view.folder, {**handle, **doubted}))
    for name, handled in asked.items():
        _, executor = executor_for(workspace, name)
        for (attempt, _), facts in zip(handled, executor.poll([handle for _, handle in handled]), strict=True):
            found[attempt.path] = facts
    return found


def _without_asking(view: AttemptView, ended: bool) -> list[ShardStatus] | None:
    """What is known of an attempt, or nothing where nobody is to be asked; None where its executor is."""
    handle = view.handle
    over = all(is_over(end, handle) for end in view.exits)
    if over and not (ended and handle and handle.get("books")):
        return []
    if not ended and (kept := kept_facts(view.folder)):
        return kept
    being_submitted = handle is None and is_alive(dict(view.row.provenance["submitter"])) is not False
    return [] if being_submitted else None


def kept_facts(attempt: AttemptFolder) -> list[ShardStatus] | None:
    """What the scheduler said last of an attempt that was concluded: it forgets, and is not asked again."""
    kept = read_json(attempt.path / "scheduler.json")
    return (
        [ShardStatus(SchedulerState(f["word"]), f["where"], f["reason"], f["record"]) for f in kept["shards"]]
        if kept
        else None
    )


def keep_facts(attempt: AttemptFolder, facts: Sequence[ShardStatus]) -> None:
    """Write down what the scheduler said of an attempt that is concluded, once."""
    heard = any(fact.record or fact.state == SchedulerState.absent for fact in facts)
    if not heard or (attempt.path / "scheduler.json").exists():
        return
    shards = [{"word": f.state, "where": f.where, "reason": f.reason, "record": dict(f.record)} for f in facts]
    with contextlib.suppress(OSError):  # a full disk, or somebody else's folder: the registry says it all the same
        write_json(attempt.path / "scheduler.json", {"shards": shards})


def forget_facts(attempt: AttemptFolder) -> None:
    """Something was heard of an attempt that was concluded: what the scheduler said then is not its last word."""
    with contextlib.suppress(OSError):  # somebody else's folder
        (attempt.path / "scheduler.json").unlink(missing_ok=True)


def _recovered(workspace: Workspace, view: AttemptView) -> dict[str, Any] | None:
    """The handle a launcher died before writing down, if it had started anything. It is written down now."""
    attempt = view.folder
    plan = attempt.plan
    folder = submission_folder(workspace, plan["submission"])
    listed = read_json(folder / "jobs.json") or {"folders": []}
    home = folder.resolve()
    jobs = [_job(Path(os.path.normpath(home / name))) for name in listed["folders"]]
    _, executor = executor_for(workspace, plan["executor"])
    handles = executor.recover(plan["submission"], folder, jobs)
    handle = dict(zip((job.folder for job in jobs), handles, strict=True)).get(attempt.path.resolve())
    if handle is None:
        return None
    handle = {**handle, "executor": plan["executor"]}
    write_json(attempt.path / "handle.json", handle)
    del view.__dict__["handle"]  # it is read again
    return handle


def _job(folder: Path) -> Job:
    return Job(entry="", folder=folder, shards=len(AttemptFolder(folder).plan["shards"]))
