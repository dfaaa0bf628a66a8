"""What an attempt asked for, took and wasted, from its folder alone: sync keeps it in the registry.

A shard's hours are from each of its starts to its last sign before the next one, or what the scheduler booked where
that is more. Wasted is what an attempt that did not end well spent on anything but items it finished: those are kept,
and not done again.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise, zip_longest
from typing import Any

from smx.atomic_io import read_json, read_whole
from smx.runfolder import AttemptFolder, ShardFolder
from smx.slurm.limits import seconds


def usage(attempt: AttemptFolder) -> dict[str, Any]:
    """`{hours, kept, gpus, asked, memory, gpu}`; what is not known is left out.

    `hours`: of all shards together; `kept`: those spent on finished items; `gpus`: GPUs of one shard; `asked`:
    GPU-hours until the time limit, of all shards; `memory`: bytes at the peak of the largest shard; `gpu`: `{use,
    memory, total}`, the mean in percent, the peak and the size of one GPU in bytes.
    """
    hours = kept = 0.0
    peaks, gpus = [], []
    told = read_json(attempt.path / "scheduler.json") or {"shards": []}
    for shard, said in zip_longest(attempt.shards(), told["shards"]):
        booked = said["record"] if said else {}
        records = list(shard.items())
        hours += _hours(shard, records, booked)
        kept += sum(record.get("seconds", 0.0) for record in records if record["ok"]) / 3600
        measured = read_whole(shard.path / "usage.json") or {}
        peaks += [n for n in (measured.get("memory"), *(s.get("rss") for s in booked.get("steps", ()))) if n]
        gpus.append(measured.get("gpus", []))
    resources = attempt.plan.get("resources", {})
    each = resources.get("gpus", 0) * resources.get("nodes", 1) or max(map(len, gpus), default=0)
    limit = seconds(resources.get("time", ""))
    found: dict[str, Any] = {"hours": round(hours, 6), "kept": round(kept, 6), "gpus": each}
    if resources.get("gpus") and limit is not None:
        found["asked"] = round(each * len(gpus) * limit / 3600, 6)
    if peaks:
        found["memory"] = max(peaks)
    if any(gpus):
        found["gpu"] = _gpu([gpu for shard in gpus for gpu in shard])
    return found


def _gpu(gpus: list[dict[str, Any]]) -> dict[str, Any]:
    told = [gpu for gpu in gpus if "use" in gpu]
    looks = sum(gpu["samples"] for gpu in told)
    found = {key: max((gpu[key] for gpu in gpus if key in gpu), default=None) for key in ("memory", "total")}
    found["use"] = round(sum(gpu["use"] * gpu["samples"] for gpu in told) / looks, 1) if looks else None
    return {key: value for key, value in found.items() if value is not None}


def _hours(shard: ShardFolder, records: list[dict[str, Any]], booked: dict[str, Any]) -> float:
    begun = [_time(record["at"]) - record.get("seconds", 0.0) for record in records]
    signs = [_time(said["at"]) for said in (*records, shard.heartbeat(), shard.exit()) if said]
    starts = shard.starts()
    if not signs and not starts:
        return 0.0
    if not starts:
        return float(max(signs) - min(begun + signs)) / 3600
    # A scheduler may have started it several times, with a wait in its queue in between.
    total = max([_time(starts[-1]["at"]), *signs]) - _time(starts[-1]["at"])
    if booked.get("started") and booked.get("ended"):
        total = max(total, float(booked["ended"] - booked["started"]))
    for earlier, later in pairwise(starts):
        if later.get("until"):
            total += max(0.0, _time(later["until"]) - _time(earlier["at"]))
    return total / 3600


def _time(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
