"""What runs have cost: hours of processes and GPUs, how much of that came to nothing, and what was asked for in vain.

Ended attempts are in the registry (smx.results.usage says how they are measured); those that go on are looked at now.
Wasted is what an attempt that did not end well spent on anything but items it finished.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smx.monitor.status import clip
from smx.registry.rows import AttemptRow
from smx.registry.store import Registry
from smx.results.usage import usage
from smx.runfolder import RunFolder
from smx.slurm.records import size
from smx.states import AttemptState

MOST_RUNS = 10


@dataclass(frozen=True)
class AttemptCost:
    """One attempt. Hours of processes (one per shard), hours of GPUs, bytes, percent; None where nobody knows."""

    run: str
    kind: str
    model: str
    experiment: str
    user: str
    attempt: int
    state: str
    hours: float
    wasted: float
    gpus: int  # that each process had
    gpu_hours: float
    gpu_wasted: float
    gpu_asked: float | None  # until the time limit
    memory: int | None  # of the largest process, at its peak
    memory_asked: int | None
    gpu_use: float | None  # mean while it ran
    gpu_memory: int | None  # of the fullest GPU, at its peak
    gpu_total: int | None  # of one GPU


def gather(registry: Registry, runs: Path, filters: dict[str, Any]) -> list[AttemptCost]:
    """Every attempt of the runs that fit `filters` (those of `Registry.runs`) that has begun."""
    found = []
    tries: dict[str, list[AttemptRow]] = defaultdict(list)
    for attempt in registry.attempts():
        tries[attempt.fingerprint].append(attempt)
    for row in registry.runs(**filters):
        for attempt in tries[row.fingerprint]:
            used = attempt.usage
            if used is None:
                place = RunFolder(runs / row.folder).attempt(attempt.attempt)
                if not place.planned:
                    continue
                used = usage(place)
            named = row.labels.get("experiment") or ["-"]
            found.append(_cost(row.folder.split("/", 1)[1], row.kind, row.variant or "-", named[0], attempt, used))
    return found


def of_attempt(attempt: AttemptRow) -> list[str]:
    """What an attempt asked for and used, in words; nothing where nothing is known."""
    text = []
    if asked := _asked(attempt.resources):
        text.append(f"asked for {asked}")
    if attempt.usage is None:
        return text
    cost = _cost("", "", "", "", attempt, attempt.usage)
    used = []
    if cost.gpus:
        of = f" of {_number(cost.gpu_asked)}" if cost.gpu_asked else ""
        used.append(f"{_number(cost.gpu_hours)}{of} GPU-hours" + _wasted(cost.gpu_wasted))
    elif cost.hours >= 0.01:
        used.append(f"{_number(cost.hours)} hours" + _wasted(cost.wasted))
    if cost.memory:
        used.append(f"{_bytes(cost.memory)}{_share(cost.memory, cost.memory_asked)} memory at most")
    if cost.gpu_use is not None:
        used.append(f"GPUs {cost.gpu_use:.0f} % busy")
    if cost.gpu_memory:
        used.append(f"{_bytes(cost.gpu_memory)}{_share(cost.gpu_memory, cost.gpu_total)} GPU memory")
    return [*text, f"used {', '.join(used)}"] if used else text


def lines(costs: list[AttemptCost], width: int = 100) -> list[str]:
    """The same as text: in all, by kind, model, experiment and user, and the runs that cost and wasted most."""
    if not costs:
        return ["Nothing has run yet."]
    shown = _columns(costs)
    names = [name for cost in costs for name in (cost.model, cost.user, cost.experiment)]
    wide = min(40, max(12, *(len(name) + 2 for name in names)))
    text = [f"{'':<{wide}}" + "".join(f"  {title:>{len(title)}}" for title in shown), _line("all", costs, wide, shown)]
    for what in ("kind", "model", "experiment", "user"):
        parts: dict[str, list[AttemptCost]] = defaultdict(list)
        for cost in costs:
            parts[getattr(cost, what)].append(cost)
        if what == "experiment" and parts.keys() == {"-"}:
            continue
        text.append(f"by {what}")
        ordered = sorted(parts.items(), key=lambda part: -sum(cost.hours for cost in part[1]))
        text += [_line(f"  {clip(name, wide - 2)}", part, wide, shown) for name, part in ordered]
    gpus = any(cost.gpus for cost in costs)
    unit = "GPU-h" if gpus else "h"
    room = width - 36
    for title, hours in (
        ("most used", "gpu_hours" if gpus else "hours"),
        ("most wasted", "gpu_wasted" if gpus else "wasted"),
    ):
        most = sorted((c for c in costs if getattr(c, hours) > 0), key=lambda c: (-getattr(c, hours), c.run))[
            :MOST_RUNS
        ]
        if most:
            text.append(title)
            for c in most:
                text.append(f"  {_number(getattr(c, hours)):>8} {unit}  {clip(c.run, room)} #{c.attempt} {c.state}")
    if spare := [line for c in costs if (line := _spare(c, room))]:
        text += ["asked for much more than was used", *sorted(spare)[:MOST_RUNS]]
    return text


def as_json(costs: list[AttemptCost]) -> list[dict[str, Any]]:
    """The same for programs: one object per attempt."""
    return [{name: getattr(cost, name) for name in AttemptCost.__dataclass_fields__} for cost in costs]


def _cost(
    run: str, kind: str, model: str, experiment: str, attempt: AttemptRow, used: Mapping[str, Any]
) -> AttemptCost:
    hours, gpus = float(used["hours"]), int(used["gpus"])
    bad = not attempt.live and attempt.state != AttemptState.done
    wasted = max(0.0, hours - used["kept"]) if bad else 0.0
    gpu = used.get("gpu", {})
    return AttemptCost(
        run=run,
        kind=kind,
        model=model,
        experiment=experiment,
        user=str(attempt.provenance.get("user") or "?"),
        attempt=attempt.attempt,
        state=attempt.state,
        hours=hours,
        wasted=wasted,
        gpus=gpus,
        gpu_hours=hours * gpus,
        gpu_wasted=wasted * gpus,
        gpu_asked=used.get("asked"),
        memory=used.get("memory"),
        memory_asked=size(attempt.resources.get("memory", "")),
        gpu_use=gpu.get("use"),
        gpu_memory=gpu.get("memory"),
        gpu_total=gpu.get("total"),
    )


def _columns(costs: list[AttemptCost]) -> list[str]:
    """Titles of what there is anything to say about, each as wide as its numbers."""
    found = ["attempts", "process-h", "  wasted"]
    if any(cost.gpus for cost in costs):
        found += ["    GPU-h", "  wasted", "   asked"]
    if any(cost.memory for cost in costs):
        found += ["  memory"]
    if any(cost.gpu_use is not None for cost in costs):
        found += ["GPU use"]
    return found


def _line(label: str, costs: Iterable[AttemptCost], wide: int, shown: list[str]) -> str:
    found = list(costs)
    asked = [c.gpu_asked for c in found if c.gpu_asked is not None]
    peak = max((c.memory for c in found if c.memory), default=None)
    used = [(c.gpu_use, c.gpu_hours) for c in found if c.gpu_use is not None]
    weight = sum(hours for _, hours in used)
    cells = [
        str(len(found)),
        _number(sum(c.hours for c in found)),
        _number(sum(c.wasted for c in found)),
    ]
    if any("GPU-h" in title for title in shown):
        cells += [_number(sum(c.gpu_hours for c in found)), _number(sum(c.gpu_wasted for c in found))]
        cells += [_number(sum(asked)) if asked else "?"]
    if any("memory" in title for title in shown):
        cells += [_bytes(peak) if peak else "?"]
    if any("GPU use" in title for title in shown):
        cells += [f"{sum(use * hours for use, hours in used) / weight:.0f} %" if weight else "?"]
    return f"{label:<{wide}}" + "".join(f"  {cell:>{len(title)}}" for cell, title in zip(cells, shown, strict=True))


def _spare(cost: AttemptCost, room: int) -> str:
    """A line on an attempt that used less than half of the memory it had asked for, or of its GPUs' time."""
    if cost.state != AttemptState.done:
        return ""
    found = []
    if cost.memory and cost.memory_asked and cost.memory < cost.memory_asked / 2:
        found.append(f"{_bytes(cost.memory)} of {_bytes(cost.memory_asked)} memory")
    if cost.gpu_use is not None and cost.gpu_use < 50:
        found.append(f"GPUs {cost.gpu_use:.0f} % busy")
    return f"  {clip(cost.run, room)} #{cost.attempt}: {', '.join(found)}" if found else ""


def _asked(resources: Mapping[str, Any]) -> str:
    """`2 × a100 on 1 node, 8 CPUs, 64G, 12:00:00, partition gpu`; empty where nothing was."""
    if not resources:
        return ""
    nodes, tasks = resources.get("nodes", 1), resources.get("tasks", 1)
    found = [f"{nodes} nodes"] if nodes > 1 else []
    if resources.get("gpus"):
        found.append(f"{resources['gpus']} × {resources.get('gpu_type', 'GPU')}" + (" per node" if nodes > 1 else ""))
    if tasks > 1:
        found.append(f"{tasks} tasks")
    if resources.get("cpus"):
        found.append(f"{resources['cpus']} CPUs" + (" per task" if tasks > 1 else ""))
    found += [str(resources[key]) for key in ("memory", "time") if resources.get(key)]
    if resources.get("partition"):
        found.append(f"partition {resources['partition']}")
    return ", ".join(found) or "the cluster's defaults"


def _wasted(hours: float) -> str:
    return f", {_number(hours)} wasted" if hours else ""


def _share(used: int, asked: int | None) -> str:
    return f" of {_bytes(asked)} ({100 * used / asked:.0f} %)" if asked else ""


def _bytes(number: int) -> str:
    return f"{number / 2**30:.1f}G" if number >= 2**30 else f"{number / 2**20:.0f}M"


def _number(hours: float) -> str:
    return f"{hours:.3f}" if hours < 1 else f"{hours:.1f}"
