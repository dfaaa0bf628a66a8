"""How a task leaves that was told to stop before its work was done: for another start, where one is of use."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from typing import Any

from smx.executors._slurm.commands import ask
from smx.executors._slurm.task_start import recorded
from smx.runfolder import AttemptFolder, ShardFolder

AGAIN = 75  # exit code of a task that was stopped before its work was done (EX_TEMPFAIL)
ASKED = 130  # of one that somebody asked to stop


@dataclass(frozen=True)
class JobTimes:
    """Of this job, in seconds since 1970; None where SLURM does not say."""

    start: float | None = None
    end: float | None = None  # its time limit; of one that is preempted, when its grace is over
    preempted: bool = False  # other work wants its node


def job_times() -> JobTimes:
    """As scontrol has them now."""
    out = ask(["scontrol", "--oneliner", "show", "job", os.environ["SLURM_JOB_ID"]]).out
    known = dict(re.findall(r"\b(StartTime|EndTime|PreemptTime)=(\S+)", out))
    times = {key: float(value) for key, value in known.items() if value.isdigit()}
    return JobTimes(times.get("StartTime"), times.get("EndTime"), "PreemptTime" in times)


def again(shard: ShardFolder, part: dict[str, Any], starts: int, times: JobTimes, reason: str = "") -> int:
    """What a stopped task leaves with: it asks for another start, where one is of use and the site allows it."""
    if not times.preempted and _in_vain(shard, part["grace"], times):
        shard.end("failed", kind="timeout", line=f"{_in_hand(shard)} was not finished within the time limit")
        return 1
    said = {key: value for key, value in (shard.exit() or {}).items() if key not in ("how", "at")}
    said["cause"] = "preempted" if times.preempted else "limit"
    if reason:
        said["reason"] = reason
    elif times.preempted:
        said["reason"] = "other work needs its node"
    if starts >= part["requeue"]:
        shard.end("preempted", **said)
        return AGAIN
    return requeue(shard, said)


def requeue(shard: ShardFolder, said: dict[str, Any]) -> int:
    """Ask SLURM for another start. `said`: what exit.json keeps of this one."""
    shard.end("preempted", **said, requeued=True)
    answer = ask(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]])
    if not answer.ok:
        shard.end("preempted", **{**said, "reason": f"it could not be requeued: {answer.words}"})
    return AGAIN


def _in_vain(shard: ShardFolder, grace: int, times: JobTimes) -> bool:
    """Whether another start would end the same way: nothing was finished in this one, which its time limit stopped.

    Or which something else stopped than preemption, as it did the start before, where nothing was finished either.
    """
    starts = shard.starts()
    items = recorded(shard)
    if not starts or items > starts[-1]["items"]:
        return False
    if len(starts) > 1 and items == starts[-2]["items"] and starts[-1].get("after") == "limit":
        return True
    if times.start is None or times.end is None:
        return False
    # The signal comes up to a minute before the grace begins; where a limit is of minutes, it has hardly begun.
    return time.time() > max(times.end - grace - 90, (times.start + times.end) / 2)


def _in_hand(shard: ShardFolder) -> str:
    """The item it was at: the first of its plan without a record."""
    attempt = AttemptFolder(shard.path.parent.parent)
    with contextlib.suppress(OSError, LookupError):
        known = {record["item"] for record in shard.items()}
        return next(str(i["id"]) for i in attempt.plan["shards"][int(shard.path.name)] if i["id"] not in known)
    return "no item"
