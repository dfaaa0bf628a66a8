"""What a task looks at before it works: whether another job is at its shard, and whether what it needs is done.

SLURM lets a task begin whose `afterok` names a job it has forgotten, and the same script may have been handed over
twice. Run folders know better.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from smx.atomic_io import claim, read_whole, write_json
from smx.executors._slurm.commands import listed
from smx.runfolder import AttemptFolder, ShardFolder, now
from smx.slurm import states
from smx.states import SETTLED, ShardState

_FRESH = 120.0  # seconds; a heartbeat (every 15 s) this young is a sign of life


@dataclass(frozen=True)
class Unmet:
    """A run that should be done by now, and is not."""

    reason: str
    may_come: bool  # it is still at work, or nobody can say


def other_job(shard: ShardFolder) -> str:
    """Take this shard for this job; the job that has it already and is not over, "" where none has."""
    mine = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    lease = shard.path / "lease.json"
    record = {"job": mine, "at": now()}
    if claim(lease, record):
        return ""
    holder = str((read_whole(lease) or {}).get("job", ""))
    if holder not in ("", mine) and _works(holder, shard):
        return holder
    write_json(lease, record)
    return ""


def note(shard: ShardFolder, starts: int) -> None:
    """Write down this start: when, where, how often, after what, and what was recorded by then."""
    job = {name: os.environ.get(f"SLURM_{name.upper()}", "") for name in ("array_job_id", "array_task_id", "job_id")}
    record: dict[str, Any] = {"at": now(), "restart": starts, "node": os.environ.get("SLURMD_NODENAME", ""), **job}
    end = shard.exit()
    record |= {"items": recorded(shard), "after": (end or {}).get("cause", "")}
    if starts and (signs := [sign["at"] for sign in (shard.heartbeat(), end) if sign]):
        record["until"] = max(signs)
    with (shard.path / "starts.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def recorded(shard: ShardFolder) -> int:
    """What it has behind it for good: items recorded, done or failed, and the step a training would go on from."""
    saved = AttemptFolder(shard.path.parents[1]).run.saved_step()
    try:
        return (shard.path / "items.jsonl").read_bytes().count(b"\n") + saved
    except FileNotFoundError:
        return saved


def unmet(producers: Iterable[Path], canary: Path | None) -> Unmet | None:
    """The first of these attempts that did not end well; of a canary only its first shard counts."""
    shards = [(AttemptFolder(folder), None) for folder in producers]
    for attempt, index in [*shards, *([(AttemptFolder(canary), 0)] if canary else [])]:
        if (lacking := _unmet(attempt, index)) is not None:
            return lacking
    return None


def _unmet(attempt: AttemptFolder, index: int | None) -> Unmet | None:
    title = f"dependency {attempt.run.path.name}"
    if not attempt.planned:
        return Unmet(f"{title} did not succeed: its run folder is gone", may_come=False)
    asked = [attempt.shard(index)] if index is not None else attempt.shards()
    ends = [shard.exit() for shard in asked]
    if all(_ended_well(end) for end in ends):
        return None
    later = (each for each in attempt.run.attempts() if each.number > attempt.number)
    if index is None and any(all(_ended_well(shard.exit()) for shard in each.shards()) for each in later):
        return None  # another attempt did what this one left
    if any(end and end["how"] in SETTLED and not _ended_well(end) for end in ends):
        return Unmet(f"{title} did not succeed", may_come=False)
    first = 0 if index is None else index
    open_ = [first + k for k, end in enumerate(ends) if not _ended_well(end)]
    return _as_slurm_says(attempt, open_, title)


def _as_slurm_says(attempt: AttemptFolder, shards: Iterable[int], title: str) -> Unmet:
    """Of shards without a last word of their own."""
    handle: Mapping[str, Any] = attempt.handle() or {"shards": []}
    names = {(name, index) for _, index, name in (handle["shards"][k] for k in shards if k < len(handle["shards"]))}
    answer, found = listed({name for name, _ in names if name})
    records = [record for record in found if (record.name, record.index) in names]
    if not answer.ok:
        return Unmet(f"{title} is not done, and squeue cannot say what became of it: {answer.words}", may_come=True)
    # What has just COMPLETED on another node may not be seen here yet.
    live = [r for r in records if r.state in states.WAITING | states.RUNNING | {"COMPLETED"}]
    if live:
        return Unmet(f"{title} is not done yet: squeue says {live[-1].state}", may_come=True)
    became = f"squeue says {records[-1].state}" if records else "SLURM knows no job of it any more"
    return Unmet(f"{title} did not succeed: it left no word, and {became}", may_come=False)


def _ended_well(end: Mapping[str, Any] | None) -> bool:
    return end is not None and end["how"] == ShardState.done


def _works(holder: str, shard: ShardFolder) -> bool:
    """Whether the job `12_0` is not over; where SLURM cannot say, by its heartbeat."""
    answer, records = listed({os.environ["SLURM_JOB_NAME"]})
    of_holder = [record for record in records if f"{record.job}_{record.index}" == holder]
    if of_holder:
        return of_holder[-1].state in states.WAITING | states.RUNNING
    if answer.ok:
        return False
    beat = shard.heartbeat()
    return beat is not None and time.time() - datetime.fromisoformat(beat["at"]).timestamp() < _FRESH
