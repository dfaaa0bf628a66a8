"""What runs have cost: hours of processes and GPUs, and how much of that came to nothing.

A shard's hours are from its first sign to its last. Wasted is what an attempt that did not end well spent on
anything but items it finished: those are kept, and not done again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from smx.registry.store import Registry
from smx.report.status import clip
from smx.runfolder import AttemptFolder, RunFolder, ShardFolder

MOST_RUNS = 10


@dataclass(frozen=True)
class Cost:
    """One attempt. Hours of processes (one per shard), and GPUs each of them had."""

    run: str
    kind: str
    model: str
    user: str
    attempt: int
    state: str
    hours: float
    wasted: float
    gpus: int


def gather(registry: Registry, runs: Path, filters: dict[str, Any]) -> list[Cost]:
    """Every attempt of the runs that fit `filters` (those of `Registry.runs`) that has begun."""
    found = []
    for row in registry.runs(**filters):
        folder = RunFolder(runs / row.folder)
        for attempt in registry.attempts(row.fingerprint):
            place = folder.attempt(attempt.attempt)
            if not place.planned:
                continue
            hours, spent = _hours(place)
            bad = not attempt.live and attempt.state != "done"
            found.append(
                Cost(
                    run=folder.path.name,
                    kind=row.kind,
                    model=row.variant or "-",
                    user=str(attempt.provenance.get("user") or "?"),
                    attempt=attempt.attempt,
                    state=attempt.state,
                    hours=hours,
                    wasted=max(0.0, hours - spent) if bad else 0.0,
                    gpus=int((place.plan.get("resources") or {}).get("gpus") or 0),
                )
            )
    return found


def lines(costs: list[Cost], width: int = 100) -> list[str]:
    """The same as text: in all, by kind, model and user, and the runs that wasted most."""
    if not costs:
        return ["Nothing has run yet."]
    gpus = any(cost.gpus for cost in costs)
    head = f"{'attempts':>8}  {'process-h':>9}  {'wasted':>8}" + (f"  {'GPU-h':>9}  {'wasted':>8}" if gpus else "")
    wide = min(40, max(12, *(len(x) + 2 for cost in costs for x in (cost.model, cost.user))))
    text = [f"{'':<{wide}}  {head}", _line("all", costs, wide, gpus)]
    for what in ("kind", "model", "user"):
        parts: dict[str, list[Cost]] = defaultdict(list)
        for cost in costs:
            parts[getattr(cost, what)].append(cost)
        text.append(f"by {what}")
        ordered = sorted(parts.items(), key=lambda part: -sum(cost.hours for cost in part[1]))
        text += [_line(f"  {clip(name, wide - 2)}", part, wide, gpus) for name, part in ordered]
    worst = sorted((c for c in costs if c.wasted), key=lambda c: (-c.wasted, c.run))[:MOST_RUNS]
    if worst:
        text.append("most wasted")
        room = width - 34
        text += [f"  {_number(c.wasted):>8} h  {clip(c.run, room)} #{c.attempt} {c.state}" for c in worst]
    return text


def as_json(costs: list[Cost]) -> list[dict[str, Any]]:
    """The same for programs: one object per attempt."""
    return [{name: getattr(cost, name) for name in Cost.__dataclass_fields__} for cost in costs]


def _line(label: str, costs: Iterable[Cost], wide: int, gpus: bool) -> str:
    found = list(costs)
    hours, wasted = sum(c.hours for c in found), sum(c.wasted for c in found)
    text = f"{label:<{wide}}  {len(found):>8}  {_number(hours):>9}  {_number(wasted):>8}"
    if gpus:
        asked, lost = sum(c.hours * c.gpus for c in found), sum(c.wasted * c.gpus for c in found)
        text += f"  {_number(asked):>9}  {_number(lost):>8}"
    return text


def _number(hours: float) -> str:
    return f"{hours:.3f}" if hours < 1 else f"{hours:.1f}"


def _hours(attempt: AttemptFolder) -> tuple[float, float]:
    """(hours of all shards, those of them spent on items that were finished)."""
    hours = spent = 0.0
    for shard in attempt.shards():
        records = list(shard.items())
        signs = [_seconds(sign) for sign in _signs(shard, records)]
        if signs:
            hours += (max(signs) - min(signs)) / 3600
        spent += sum(record.get("seconds", 0.0) for record in records if record["ok"]) / 3600
    return hours, spent


def _signs(shard: ShardFolder, records: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """(ISO time, seconds before it) of all a shard wrote."""
    told = [(record["at"], record.get("seconds", 0.0)) for record in records]
    told += [(said["at"], 0.0) for said in (shard.heartbeat(), shard.exit()) if said]
    return told


def _seconds(sign: tuple[str, float]) -> float:
    return datetime.fromisoformat(sign[0]).timestamp() - sign[1]
