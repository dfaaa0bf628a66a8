"""From squeue and sacct to a fact per shard, in the order of trust; what cannot be known stays unknown.

squeue's entry of a task that is not over comes first (sacct lags behind it, and keeps the records of earlier
starts of a requeued job), then a record that says how it ended, from either. Jobs are matched by their name,
which is never used twice, and the array index: job ids are.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from smx.executors import ShardStatus
from smx.executors._slurm.circuit_breaker import held
from smx.executors._slurm.commands import Answer, ask, history, queue
from smx.executors._slurm.submit import sbatch_output
from smx.slurm import states
from smx.slurm.limits import config
from smx.slurm.records import Record
from smx.states import SchedulerState

_SLACK = 86400  # seconds: clocks of login node and controller differ, and sacct's window must not miss a job


def facts(handles: Sequence[Mapping[str, Any]], lost_after: float) -> list[list[ShardStatus]]:
    """One squeue and one sacct for all handles. Never raises because one of them is down."""
    names = {name for handle in handles for _, _, name in handle["shards"] if name}
    if not names:
        return [[_REFUSED] * len(handle["shards"]) for handle in handles]
    listed, live = queue(names)
    booked, past = history(names, min(handle["at"] for handle in handles) - _SLACK, _users(handles))
    why, hidden = functools.cache(held), functools.cache(_hides_others)
    found = []
    listed_names = {name for name, _ in live}
    for handle in handles:
        old = time.time() - _doubted(handle) > lost_after
        of_one = []
        for job, index, name in handle["shards"]:
            now, before = live.get((name, index)), past.get((name, index))
            if now is None and before is None and (rest := live.get((name, None))) and rest.state in states.CANCELLED:
                now = rest  # squeue keeps one entry for all tasks of an array that never began; sacct none of held ones
            fact = _fact(now, before, listed, booked, old, job) if name else _REFUSED
            if now is not None and now.reason.startswith("JobHeld") and (reason := why(handle.get("folder", ""), name)):
                fact = replace(fact, reason=reason)
            if fact.state == SchedulerState.absent and name in listed_names and not _began(handle, name, index):
                # SLURM keeps no record of a task that is cancelled while it waits, beside others of its array.
                fact = ShardStatus(SchedulerState.cancelled, reason="cancelled while it waited")
            if name and job is None and fact.state == SchedulerState.absent:
                fact = _with_words(fact, sbatch_output(handle.get("folder", ""), name))
            if name and fact.state == SchedulerState.absent and _of_another(handle) and hidden():
                fact = ShardStatus(
                    SchedulerState.unknown, reason="SLURM shows you no jobs of others here: ask who started it to look"
                )
            of_one.append(fact)
        found.append(of_one)
    return found


def _doubted(handle: Mapping[str, Any]) -> float:
    """Since when nobody may have known of its jobs, in seconds since 1970: one empty answer loses nothing."""
    if "doubted" not in handle:  # whoever asks has not followed it
        return float(handle["at"])
    return datetime.fromisoformat(handle["doubted"]).timestamp() if handle["doubted"] else time.time()


def _with_words(fact: ShardStatus, words: str) -> ShardStatus:
    """With what sbatch said, if anything."""
    return replace(fact, reason=f"{fact.reason} (sbatch: {words.removeprefix('sbatch: ')})") if words else fact


def _began(handle: Mapping[str, Any], name: str, index: int) -> bool:
    """Whether a task ever began: SLURM makes the file for its output then."""
    return not handle.get("folder") or (Path(handle["folder"]) / name.rpartition("-")[2] / f"{index}.out").exists()


def _users(handles: Sequence[Mapping[str, Any]]) -> set[int]:
    """Uids of those who submitted them, as far as their folders say, and of whoever asks."""
    found = {os.geteuid()}
    for folder in {handle.get("folder") for handle in handles} - {None}:
        with contextlib.suppress(OSError):
            found.add(Path(str(folder)).stat().st_uid)
    return found


def _of_another(handle: Mapping[str, Any]) -> bool:
    """Whether somebody else submitted it, in a shared workspace. Root sees everybody's jobs."""
    with contextlib.suppress(KeyError, OSError):
        return os.geteuid() not in (0, Path(handle["folder"]).stat().st_uid)
    return False


def _hides_others() -> bool:
    """Whether SLURM shows a user only their own jobs: another's that it does not list may be there all the same."""
    said = ask(["scontrol", "show", "config"])
    return not said.ok or not {"jobs", "usage", "all"}.isdisjoint(config(said.out).get("PrivateData", "").split(","))


_REFUSED = ShardStatus(SchedulerState.absent, reason="SLURM did not take it")


def _fact(
    now: Record | None, past: Record | None, listed: Answer, booked: Answer, old: bool, job: str | None
) -> ShardStatus:
    if now is not None and now.state in states.WAITING:
        word = SchedulerState.waiting if now.reason.startswith("Dependency") else SchedulerState.pending
        return ShardStatus(word, "", states.reason(now.reason))
    if now is not None and now.state in states.RUNNING:
        return ShardStatus(SchedulerState.running, now.node)
    if now is not None and now.state not in states.KNOWN:
        return ShardStatus(SchedulerState.unknown, now.node, f"squeue says {now.state}, which smx does not know")
    over = [r for r in (past, now) if r is not None and r.state in states.KNOWN - states.WAITING - states.RUNNING]
    if over:
        if over[0].state in states.STOPPED and not listed.ok:
            return ShardStatus(
                SchedulerState.unknown, over[0].node, f"{over[0].state}, and squeue cannot say whether it starts again"
            )
        return _ended(over[0])
    if not listed.ok:
        last = f"; sacct last said {past.state}" if past else ""
        return ShardStatus(SchedulerState.unknown, past.node if past else "", f"squeue: {listed.words}{last}")
    if past is not None:
        return ShardStatus(
            SchedulerState.unknown, past.node, f"squeue no longer lists it, sacct still says {past.state}"
        )
    if not booked.ok and not booked.absent:
        return ShardStatus(
            SchedulerState.unknown, reason=f"squeue no longer lists it, and sacct cannot be asked: {booked.words}"
        )
    if not old:
        return ShardStatus(SchedulerState.unknown, reason="neither squeue nor sacct knows it now")
    if job is None:
        return ShardStatus(SchedulerState.absent, reason="sbatch named no job, and none appeared")
    return ShardStatus(SchedulerState.absent, reason="neither squeue nor sacct knows it any more")


def _ended(record: Record) -> ShardStatus:
    state = f"{record.state} by {record.by}" if record.by else record.state
    details = {
        "state": state,
        "exit": record.exit,
        "node": record.node,
        "reason": record.reason,
        "started": record.started,
        "ended": record.ended,
        "steps": [{"name": s.name, "state": s.state, "exit": s.exit, "rss": s.rss} for s in record.steps],
    }
    word = SchedulerState.cancelled if record.state in states.CANCELLED else SchedulerState.ended
    return ShardStatus(word, record.node, f"cancelled by {record.by}" if record.by else "", details)
