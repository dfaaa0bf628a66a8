"""What is going on: counts, what runs where and how long still, what waits and why, failures together."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smx.failures import FailureGroup, headline
from smx.monitor.training_progress import TrainingProgress, training_progress
from smx.registry import live_queries
from smx.registry.live_queries import HELD, LiveRow
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.states import RunState

MOST_RUNS = 20  # lines of running attempts


@dataclass(frozen=True)
class Status:
    """How things stand."""

    counts: dict[tuple[str, str], int]  # (kind, state) -> runs
    running: list[LiveRow]
    waiting: list[LiveRow]
    failures: list[FailureGroup]
    stopped: int  # runs that someone cancelled
    bad_nodes: list[live_queries.BadNode]
    incomplete: tuple[int, int]  # (runs done but for some failed items, those items)
    training: dict[str, TrainingProgress]  # fingerprint -> the newest step, of running trainings


def gather(registry: Registry, filters: dict[str, Any], runs: Path) -> Status:
    """The status of the runs that fit `filters` (those of `Registry.runs`), from the registry.

    A training's steps are read from its folder below `runs`.
    """
    live = live_queries.live(registry, filters)
    groups = live_queries.failures(registry, filters)
    trainings = [row for row in live if row.state == RunState.running and row.kind == "train"]
    steps = {row.fingerprint: training_progress(RunFolder(runs / row.folder)) for row in trainings}
    return Status(
        counts=live_queries.counts(registry, filters),
        running=[row for row in live if row.state == RunState.running],
        waiting=[row for row in live if row.state != RunState.running],
        failures=[group for group in groups if group.kind != "cancelled"],
        stopped=sum(group.count for group in groups if group.kind == "cancelled"),
        bad_nodes=live_queries.bad_nodes(registry),
        incomplete=live_queries.incomplete(registry, filters),
        training={mark: step for mark, step in steps.items() if step is not None},
    )


def lines(status: Status, moment: datetime, width: int = 100) -> list[str]:
    """The status as text, at most `width` characters wide."""
    if not status.counts:
        return ["No runs."]
    found = _table(status.counts)
    if status.running:
        left = [seconds for row in status.running if (seconds := _left(row, moment, status.training)) is not None]
        known = f", the last of them done in about {span(max(left))}" if len(left) == len(status.running) else ""
        found += ["", f"{len(status.running)} running{known}"]
        found += _running(status.running[:MOST_RUNS], moment, width, status.training)
        if (rest := len(status.running) - MOST_RUNS) > 0:
            found.append(f"  … and {rest} more: smx ls --state running")
    if status.waiting:
        oldest = status.waiting[0]
        reason = oldest.reason or "not started yet"
        found += ["", f"{len(status.waiting)} waiting, the oldest for {ago(oldest.created, moment)}: {reason}"]
        found.append(f"  {oldest.kind:<5} {clip(oldest.name, width - 8)}")
    for reason, rows in _held(status.waiting).items():
        found += ["", f"{len(rows)} {reason}"]
        found.append(f"  mend it, then start them anew: smx retry {rows[0].name}" + (" …" if len(rows) > 1 else ""))
    unknown = [row for row in (*status.running, *status.waiting) if row.unknown_since]
    if unknown:
        since = min(row.unknown_since or "" for row in unknown)
        found += ["", f"{len(unknown)} of unknown state since {local(since)}: shown as they were last seen"]
    found += _failures(status, width)
    return found


def as_json(status: Status, moment: datetime) -> dict[str, Any]:
    """The same for programs. Times in seconds."""
    counts: dict[str, dict[str, int]] = {}
    for (kind, state), n in sorted(status.counts.items()):
        counts.setdefault(kind, {})[state] = n
    return {
        "counts": counts,
        "running": [
            {**_row(row), "left": _left(row, moment, status.training)}
            | ({"training": step.as_json()} if (step := status.training.get(row.fingerprint)) else {})
            for row in status.running
        ],
        "waiting": [_row(row) for row in status.waiting],
        "failures": [
            {
                "kind": g.kind,
                "count": g.count,
                "where": g.where,
                "line": g.line,
                "nodes": g.nodes,
                "example": g.names[0],
            }
            for g in status.failures
        ],
        "cancelled": status.stopped,
        "bad_nodes": [{"node": n.name, "failures": n.failures, "last": n.last} for n in status.bad_nodes],
        "done_with_failed_items": {"runs": status.incomplete[0], "items": status.incomplete[1]},
    }


def remaining(row: LiveRow, moment: datetime) -> float | None:
    """Seconds until an attempt is done, at the pace of the items it has done; None where nothing tells."""
    ended = row.done + row.failed
    if row.started is None or row.seen is None or not ended:
        return None
    took = (_time(row.seen) - _time(row.started)).total_seconds()
    left = took / ended * (row.items - ended) - max(0.0, (moment - _time(row.seen)).total_seconds())
    return left if left > 0 else None  # it is slower than it was: nobody knows


def progress(row: LiveRow, moment: datetime, step: TrainingProgress | None = None) -> str:
    """`12/288, 3 failed, 18 min left`; of a training `step 310/2,400 loss 1.92, 3 h left`."""
    if step is not None:
        return step.words() + (f", {span(step.left)} left" if step.left else "")
    failed = f", {row.failed} failed" if row.failed else ""
    left = remaining(row, moment)
    return f"{row.done}/{row.items}{failed}" + (f", {span(left)} left" if left is not None else "")


def _left(row: LiveRow, moment: datetime, training: Mapping[str, TrainingProgress]) -> float | None:
    step = training.get(row.fingerprint)
    return remaining(row, moment) if step is None else step.left


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 10 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def ago(stamp: str, moment: datetime) -> str:
    """How long before `moment` an ISO time was."""
    return span(max(0.0, (moment - _time(stamp)).total_seconds()))


def local(stamp: str) -> str:
    """An ISO time as clocks here show it."""
    return _time(stamp).astimezone().strftime("%Y-%m-%d %H:%M")


def clip(text: str, width: int) -> str:
    """`text`, its middle left out where it is too long: names end in the digits that tell runs apart."""
    if len(text) <= width:
        return text
    tail = min(14, width // 2)
    return f"{text[: width - tail - 1]}…{text[-tail:]}"


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def _table(counts: dict[tuple[str, str], int]) -> list[str]:
    kinds = [kind for kind in ("gen", "train", "eval") if any(k == kind for k, _ in counts)]
    present = {state for _, state in counts}
    states = [s for s in RunState if s in present] + sorted(present - set(RunState))
    cells = {kind: [counts.get((kind, state), 0) for state in states] for kind in kinds}
    wide = [max(len(state), *(len(str(cells[kind][i])) for kind in kinds)) for i, state in enumerate(states)]
    head = "      " + "  ".join(f"{state:>{w}}" for state, w in zip(states, wide, strict=True))
    rows = [
        f"{kind:<6}" + "  ".join(f"{n or '':>{w}}" for n, w in zip(cells[kind], wide, strict=True)) for kind in kinds
    ]
    return [head.rstrip(), *(row.rstrip() for row in rows)]


def _running(
    rows: Sequence[LiveRow], moment: datetime, width: int, training: Mapping[str, TrainingProgress]
) -> list[str]:
    told = [(progress(row, moment, training.get(row.fingerprint)), _place(row)) for row in rows]
    widths = max(len(p) for p, _ in told), min(24, max(len(w) for _, w in told))
    room = max(20, width - 8 - sum(widths) - 4)
    names = [clip(row.name, room) for row in rows]
    wide = max(map(len, names))
    return [
        f"  {row.kind:<5} {name:<{wide}}  {done:<{widths[0]}}  {clip(where, widths[1])}".rstrip()
        for row, name, (done, where) in zip(rows, names, told, strict=True)
    ]


def _place(row: LiveRow) -> str:
    hosts = (row.hosts or "").split(",")
    where = hosts[0] + (f" +{len(hosts) - 1}" if len(hosts) > 1 else "")
    return f"{row.executor} {row.job} {where}" if row.job else f"{row.executor} {where}"


def _held(rows: Sequence[LiveRow]) -> dict[str, list[LiveRow]]:
    """What smx itself has held, by the reason."""
    found: dict[str, list[LiveRow]] = {}
    for row in rows:
        if (row.reason or "").startswith(HELD):
            found.setdefault(str(row.reason), []).append(row)
    return found


def _failures(status: Status, width: int) -> list[str]:
    found = []
    if status.failures:
        told = textwrap.wrap(headline(status.failures), width, subsequent_indent="  ", break_on_hyphens=False)
        found += ["", *told]
        for group in status.failures[:5]:
            found.append(clip_end(f"  {group.count} × {group.label}: {group.line}", width))
            found.append(f"      smx why {group.names[0]}")
        if len(status.failures) > 5:
            found.append(f"  … and {len(status.failures) - 5} other ways: smx status --json")
    runs, items = status.incomplete
    if items:
        plural = "s" if runs > 1 else ""
        found += ["", f"{runs} run{plural} done but for {items} failed item{'s' if items > 1 else ''}"]
    # What waited for a cancelled run is nobody's failure, and smx retry leaves it alone.
    if items or any(group.kind != "dependency" or not status.stopped for group in status.failures):
        found.append("again, only what failed: smx retry")
    if status.bad_nodes:
        nodes = ", ".join(f"{node.name} ({node.failures})" for node in status.bad_nodes[:6])
        found += ["", f"nodes that failed in the last {live_queries.BAD_DAYS} days: {nodes}"]
        found.append("again without them: smx retry --exclude-bad-nodes")
    if status.stopped:
        found += ["", f"{status.stopped} cancelled: smx retry --kind cancelled starts them again"]
    return found


def clip_end(text: str, width: int) -> str:
    """`text`, cut at its end where it is too long."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _row(row: LiveRow) -> dict[str, Any]:
    names = ("attempt", "executor", "job", "state", "items", "done", "failed", "created", "started", "reason")
    found = {name: getattr(row, name) for name in (*names, "unknown_since", "shards")}
    return {"run": row.name, "kind": row.kind, **found, "hosts": (row.hosts or "").split(",") if row.hosts else []}


def _time(stamp: str) -> datetime:
    found = datetime.fromisoformat(stamp)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
