"""Scores of single answers into those of types, tasks and the whole: every bench averages the same way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from math import fsum
from typing import Any

from smx.benches import Question, Verdict

Tasks = Mapping[str, tuple[str, ...]]  # task -> its question types
Averages = Mapping[str, Collection[str]]  # name of an average -> the types it is over


def summarize(scored: Sequence[tuple[Question, Verdict]], tasks: Tasks, averages: Averages) -> dict[str, Any]:
    """Scores by type and task, and each average as micro and macro.

    micro is the mean over items; macro the mean over the tasks present, a task being the mean of its types
    present. A mean over nothing is None.
    """
    by_type: dict[str, list[float]] = defaultdict(list)
    for question, verdict in scored:
        by_type[question.type].append(verdict.score)
    every = [kind for members in tasks.values() for kind in members]
    types = {kind: {"score": mean(by_type[kind]), "n": len(by_type[kind])} for kind in every if kind in by_type}
    present = {task: _task(types, members) for task, members in tasks.items() if any(m in types for m in members)}
    found: dict[str, Any] = {
        "n": len(scored),
        "unparsed": sum(verdict.parsed is None for _, verdict in scored),
        "types": types,
        "tasks": present,
    }
    for name, members in averages.items():
        items = [score for kind in every if kind in members for score in by_type.get(kind, ())]
        of_tasks = [entry["score"] for task, entry in present.items() if tasks[task][0] in members]
        found[name] = {"micro": mean(items), "macro": mean(of_tasks)}
    return found


def counts(
    scored: Sequence[tuple[Question, Verdict]], tasks: Tasks, averages: Averages, cut: Sequence[bool]
) -> dict[str, Any]:
    """`{"type": {type: [n, unparsed, cut]}, "task": {…}, "average": {…}}`: the questions that each score is over.

    `cut`: of each scored answer, whether it ended because it was as long as it was allowed to be.
    """
    kinds = {question.type for question, _ in scored}
    every = {"type": {kind: (kind,) for kind in kinds}, "task": tasks, "average": averages}
    found: dict[str, Any] = {}
    for metric, groups in every.items():
        for name, members in groups.items():
            own = [k for k, (question, _) in enumerate(scored) if question.type in members]
            if own:
                unparsed = sum(scored[k][1].parsed is None for k in own)
                found.setdefault(metric, {})[name] = [len(own), unparsed, sum(cut[k] for k in own)]
    return found


def mean(values: Sequence[float]) -> float | None:
    """Exact, so that the order of items changes no digit; None over nothing."""
    return fsum(values) / len(values) if values else None


def _task(types: Mapping[str, Mapping[str, Any]], members: tuple[str, ...]) -> dict[str, Any]:
    present = [types[member] for member in members if member in types]
    return {"score": mean([entry["score"] for entry in present]), "n": sum(entry["n"] for entry in present)}
