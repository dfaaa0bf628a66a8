"""How sure a score is: percentile intervals and paired differences by bootstrap over scenes.

Questions about one scene are not independent, so scenes are drawn, with all their questions: 10,000 times as many
as there are, with replacement, by a fixed seed. Equal numbers of scenes are drawn alike, so two runs over the same
questions see the same draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from smx.benches import BaseBench, Question, Verdict

if TYPE_CHECKING:
    import numpy as np

DRAWS, SEED, LEVEL = 10_000, 0, 95
_DIGITS = 6  # of what is kept: sums in another order, on another machine, must not show

Metric = tuple[str, str]  # ("all.micro", ""), ("type", question type), ("task", task): as the registry has them


def uncertainty(bench: BaseBench, scored: Sequence[tuple[Question, Verdict]], scorer: str) -> dict[str, Any]:
    """`{"scenes", "ci": {metric: {task: [low, high]}}, "majority": {metric: {task: {"score", "gain", "better"}}}}`.

    `majority`: what always giving each type's most frequent true answer of these questions would score, and the
    interval of how much better the run is; `better` is False where that reaches down to 0. A type has its `answer`
    too. Nothing for fewer than two scenes.
    """
    questions = [question for question, _ in scored]
    scenes = len({(q.dataset, q.scene) for q in questions})
    if scenes < 2 or not bench.tasks():
        return {"scenes": scenes}
    scores = [verdict.score for _, verdict in scored]
    answers = {
        kind: _most_frequent(q.truth for q in questions if q.type == kind) for kind in {q.type for q in questions}
    }
    constant = [bench.judge(q, answers[q.type], scorer).score for q in questions]
    ours, majorities = drawn(bench, questions, scores), drawn(bench, questions, constant)
    ci: dict[str, dict[str, list[float]]] = {}
    for (metric, task), samples in ours.items():
        ci.setdefault(metric, {})[task] = interval(samples)
    majority: dict[str, dict[str, dict[str, Any]]] = {}
    summary = bench.summarize([(q, Verdict("", score)) for q, score in zip(questions, constant, strict=True)])
    for (metric, task), samples in ours.items():
        gain = interval(samples - majorities[metric, task])
        score = metric_of(summary, (metric, task))
        assert score is not None, "what has draws has a score"
        answer = {"answer": answers[task]} if metric == "type" else {}
        about = {**answer, "score": round(score, _DIGITS), "gain": gain, "better": gain[0] > 0}
        majority.setdefault(metric, {})[task] = about
    return {"scenes": scenes, "ci": ci, "majority": majority}


def compare(
    bench: BaseBench, questions: Sequence[Question], a: Sequence[float], b: Sequence[float]
) -> dict[Metric, dict[str, Any]]:
    """Per metric `{"gain": [low, high], "p"}` of b − a over the same questions; empty for fewer than two scenes.

    `p`: how often, doubled, the difference has the other sign (or none) in the draws; two-sided, at most 1.
    """
    if len({(q.dataset, q.scene) for q in questions}) < 2 or not bench.tasks():
        return {}
    first, second = drawn(bench, questions, a), drawn(bench, questions, b)
    found = {}
    for metric, samples in first.items():
        gain = second[metric] - samples
        gain = gain[gain == gain]
        against = min(int((gain <= 1e-12).sum()), int((gain >= -1e-12).sum()))
        found[metric] = {"gain": interval(gain), "p": round(min(1.0, 2 * (against + 1) / (len(gain) + 1)), _DIGITS)}
    return found


def drawn(bench: BaseBench, questions: Sequence[Question], scores: Sequence[float]) -> dict[Metric, np.ndarray]:
    """Every metric in every draw, [DRAWS] float64 each, NaN where a draw holds no question of it."""
    import numpy as np

    tasks = bench.tasks()
    kinds = [kind for members in tasks.values() for kind in members if any(q.type == kind for q in questions)]
    scenes = {name: k for k, name in enumerate(sorted({(q.dataset, q.scene) for q in questions}))}
    column = {kind: k for k, kind in enumerate(kinds)}
    at = np.array([scenes[q.dataset, q.scene] * len(kinds) + column[q.type] for q in questions])
    shape = len(scenes), len(kinds)
    sums = np.bincount(at, weights=np.asarray(scores, np.float64), minlength=shape[0] * shape[1]).reshape(shape)
    counts = np.bincount(at, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    weights = _weights(len(scenes))
    total, n = weights @ sums, weights @ counts  # [DRAWS, types]
    with np.errstate(invalid="ignore", divide="ignore"):
        by_type = total / n
        found: dict[Metric, np.ndarray] = {("type", kind): by_type[:, k] for kind, k in column.items()}
        for task, members in tasks.items():
            if own := [column[m] for m in members if m in column]:
                found["task", task] = _mean(by_type[:, own])
        for name, over in bench.averages().items():
            own = [column[kind] for kind in kinds if kind in over]
            if not own:
                continue
            present = [t for t, members in tasks.items() if members[0] in over and ("task", t) in found]
            found[f"{name}.micro", ""] = total[:, own].sum(axis=1) / n[:, own].sum(axis=1)
            found[f"{name}.macro", ""] = _mean(np.stack([found["task", t] for t in present], axis=1))
    return found


def interval(samples: np.ndarray) -> list[float]:
    """[low, high]: the middle 95 % of the draws that have a value."""
    import numpy as np

    low, high = np.nanpercentile(samples, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return [round(float(low), _DIGITS), round(float(high), _DIGITS)]


def metric_of(summary: Mapping[str, Any], metric: Metric) -> float | None:
    """The score itself, out of what `summarize` returns."""
    name, task = metric
    if name in ("type", "task"):
        entry = summary[f"{name}s"].get(task)
        return None if entry is None else entry["score"]
    part, _, mean = name.partition(".")
    value: float | None = summary[part][mean]
    return value


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the columns that have a value; NaN where none has."""
    import numpy as np

    known = ~np.isnan(values)
    means: np.ndarray = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
    return means


@lru_cache(maxsize=2)
def _weights(scenes: int) -> np.ndarray:
    """How often each scene is in each draw, [DRAWS, scenes] float64."""
    import numpy as np

    chosen = np.random.default_rng(SEED).integers(0, scenes, size=(DRAWS, scenes))
    chosen += np.arange(DRAWS)[:, None] * scenes
    counts: np.ndarray = np.bincount(chosen.reshape(-1), minlength=DRAWS * scenes).reshape(DRAWS, scenes)
    return counts.astype(np.float64)


def _most_frequent(truths: Iterable[str]) -> str:
    """Of equally frequent ones the first in alphabetical order, so that the order of items means nothing."""
    counts = Counter(truths)
    return min(counts, key=lambda truth: (-counts[truth], truth))
