"""How sure a score is, by how it varies over scenes: 95 % intervals, and the paired test of two models.

Questions about one scene are not independent, so one scene with all its questions is one observation. Every score
is a weighted sum over questions: a mean over questions weighs each alike; a mean over tasks weighs a question of a
type by 1 / (tasks · types of the task · questions of the type). Scenes carry different numbers of questions, so the
estimate is over questions and the uncertainty over scenes:

- A scene's deviation is the sum over its questions of weight · (score − mean): the mean of the questions' type, or of
  all questions where the score is a mean over questions. The variance of a score is S / (S − 1) times the sum of the
  squared deviations of the S scenes that are asked about it (linearisation of a ratio, as in survey statistics).
- The interval of a score is logit(score) ± t · standard error / (score · (1 − score)), back on the scale of scores: it
  stays within 0 to 1. t is Student's with S − 1 degrees of freedom. Where the scenes show no variance at all, each
  counts as one question, in Wilson's interval; so 0 of 8 is no certain 0.
- The interval of a difference is the difference ± t · standard error, the standard error never less than what one
  question more would have changed.
- The paired test exchanges both models' answers to a scene, all its questions at once: were they equally good, the
  scene's share in the difference (sum of weight · difference) would as well have the other sign. p is the share of
  all 2^S exchanges with at least the observed difference, of either sign; exact up to 16 scenes that differ, else
  (k + 1) / (n + 1) of n = 100,000 seeded draws.

`benchmarks/paired_test.py` shows how often the test errs and the intervals cover; of percentiles of a bootstrap,
t, Wilson's with t, and this, this covered best. Sources: Wilson 1927; Fisher 1935 (exchange of signs); Phipson and
Smyth 2010 (k + 1); Holm 1979; Guenther 1981.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from smx.benches import BaseBench, Question, Verdict

if TYPE_CHECKING:
    import numpy as np

DRAWS, SEED, LEVEL = 100_000, 0, 0.95
EXACT = 16  # scenes: up to here every exchange is tried, 2^15 of them
POWER = 0.8  # how likely a difference is to be found in the number of scenes that `scenes_needed` gives
CI_VERSION = 2  # raise when intervals or baselines change: results made by another are derived again
_DIGITS = 6  # of what is kept: sums in another order, on another machine, must not show
_CERTAIN = 500.0  # logits: as good as 0 or 1, and no overflow
_CHUNK = 5_000  # draws at once: some megabytes of signs

Metric = tuple[str, str]  # ("all.micro", ""), ("type", question type), ("task", task): as the registry has them


class _Weights(NamedTuple):
    """How much a question of each type counts in one metric, [types]; whether it is a plain mean over questions."""

    of_type: np.ndarray
    plain: bool


class _Asked(NamedTuple):
    """Who is asked what: scene and type of each question, questions by scene and type, and the metrics' weights."""

    at: np.ndarray  # [questions] scene · types + type
    counts: np.ndarray  # [scenes, types] float64
    weights: dict[Metric, _Weights]

    def sums(self, scores: Sequence[float]) -> np.ndarray:
        """Scores by scene and type, [scenes, types] float64."""
        import numpy as np

        size = self.counts.size
        sums: np.ndarray = np.bincount(self.at, weights=np.asarray(scores, np.float64), minlength=size)
        return sums.reshape(self.counts.shape)


def uncertainty(bench: BaseBench, scored: Sequence[tuple[Question, Verdict]], scorer: str) -> dict[str, Any]:
    """`{"scenes", "ci_version", "ci": {metric: {task: [low, high]}}, "majority": {metric: {task: {…}}}}`.

    `majority`: what always giving each type's most frequent true answer of these questions would `score`, and the
    interval of how much better the run is, its `gain`; `better` is False where that reaches down to 0. A type has its
    `answer` too. Nothing for what fewer than two scenes are asked about.
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
    asked = _asked(bench, questions)
    ours, majorities = asked.sums(scores), asked.sums(constant)
    ci: dict[str, dict[str, list[float]]] = {}
    majority: dict[str, dict[str, dict[str, Any]]] = {}
    for (metric, task), weights in asked.weights.items():
        value, variance, number = _estimate(asked, weights, ours)
        if number < 2:
            continue
        ci.setdefault(metric, {})[task] = score_interval(value, variance, number)
        more, spread, _ = _estimate(asked, weights, ours - majorities)
        gain = difference_interval(more, spread, number, weights.of_type.max())
        answer = {"answer": answers[task]} if metric == "type" else {}
        score = round(float((majorities @ weights.of_type).sum()), _DIGITS)
        majority.setdefault(metric, {})[task] = {**answer, "score": score, "gain": gain, "better": gain[0] > 0}
    return {"scenes": scenes, "ci_version": CI_VERSION, "ci": ci, "majority": majority}


def compare(
    bench: BaseBench, questions: Sequence[Question], a: Sequence[float], b: Sequence[float]
) -> dict[Metric, dict[str, Any]]:
    """Per metric `{"gain": [low, high], "p", "scenes", "least_p", "sd"}` of b − a over the same questions.

    `scenes`: those that are asked about it; `least_p`: what p cannot be under with so many; `sd`: of a scene's
    difference, in the unit of the score, so that sd / √scenes is the standard error. Nothing for a metric that
    fewer than two scenes are asked about.
    """
    if not questions or not bench.tasks():
        return {}
    asked = _asked(bench, questions)
    more = asked.sums(b) - asked.sums(a)
    compared: dict[Metric, dict[str, Any]] = {}
    shares = []
    for metric, weights in asked.weights.items():
        value, variance, number = _estimate(asked, weights, more)
        if number > 1:
            shares.append(more @ weights.of_type)
            compared[metric] = {
                "gain": difference_interval(value, variance, number, weights.of_type.max()),
                "scenes": number,
                "least_p": least_p(number),
                "sd": round(math.sqrt(variance * number), _DIGITS),
            }
    for entry, p in zip(compared.values(), sign_flip(shares), strict=True):
        entry["p"] = p
    return compared


def sign_flip(shares: Sequence[np.ndarray]) -> list[float]:
    """Two-sided p of each sum of scenes' differences, [scenes] each, were every sign as likely as the other."""
    import numpy as np

    reached = [0] * len(shares)
    ps = [1.0] * len(shares)
    drawn: dict[int, np.ndarray] = {}
    for k, share in enumerate(shares):
        differing = share[np.abs(share) > 1e-12]  # sums of equal scores differ by rounding
        if len(differing) > EXACT:
            drawn[k] = share
        elif len(differing):
            ps[k] = _reached(_every_sign(len(differing)), differing).mean()
    if drawn:
        stacked = np.stack(list(drawn.values()), axis=1)  # [scenes, metrics]
        dice = np.random.default_rng(SEED)
        for _ in range(0, DRAWS, _CHUNK):
            signs = dice.integers(0, 2, size=(_CHUNK, len(stacked)), dtype=np.int8) * 2.0 - 1.0
            for k, count in zip(drawn, _reached(signs, stacked).sum(axis=0), strict=True):
                reached[k] += int(count)
        for k in drawn:
            ps[k] = (reached[k] + 1) / (DRAWS + 1)
    return [round(float(p), _DIGITS) for p in ps]


def least_p(scenes: int) -> float:
    """The smallest two-sided p that the exchange of so many scenes can give."""
    return max(0.5 ** (scenes - 1), 1 / (DRAWS + 1)) if scenes > EXACT else 0.5 ** (scenes - 1)


def scenes_needed(difference: float, sd: float, level: float = 1 - LEVEL, power: float = POWER) -> int:
    """How many scenes find `difference` with probability `power` at two-sided `level`, a scene's having `sd`.

    ((z(1 − level/2) + z(power)) · sd / difference)², and two more for not knowing sd (Guenther 1981: z²/2); never
    fewer than those whose least p is under `level`.
    """
    from statistics import NormalDist

    quantile = NormalDist().inv_cdf
    reach = (quantile(1 - level / 2) + quantile(power)) * sd / abs(difference)
    return max(math.ceil(reach**2 + quantile(1 - level / 2) ** 2 / 2), math.floor(1 - math.log2(level)) + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """p of each of several tests, corrected so that any of all is wrong in no more than its share (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda k: ps[k])
    corrected = [1.0] * len(ps)
    least = 0.0
    for rank, k in enumerate(order):
        least = corrected[k] = max(least, min(1.0, (len(ps) - rank) * ps[k]))
    return corrected


def score_interval(value: float, variance: float, scenes: int) -> list[float]:
    """[low, high] of a score in 0..1."""
    t = _student(scenes - 1)
    spread = value * (1 - value)
    if spread > 1e-9 and variance > 1e-12:
        logit, half = math.log(value / (1 - value)), min(t * math.sqrt(variance) / spread, _CERTAIN)
        ends = [1 / (1 + math.exp(-(logit + side * half))) for side in (-1, 1)]
    else:  # Wilson's
        centre, half = value + t**2 / (2 * scenes), t * math.sqrt(spread / scenes + t**2 / (4 * scenes**2))
        ends = [(centre + side * half) / (1 + t**2 / scenes) for side in (-1, 1)]
    return [round(max(0.0, min(ends[0], value)), _DIGITS), round(min(1.0, max(ends[1], value)), _DIGITS)]


def difference_interval(value: float, variance: float, scenes: int, one_question: float) -> list[float]:
    """[low, high] of a difference in −1..1; `one_question`: the most that one of them counts."""
    half = _student(scenes - 1) * max(math.sqrt(variance), float(one_question))
    return [round(max(-1.0, value - half), _DIGITS), round(min(1.0, value + half), _DIGITS)]


def metric_of(summary: Mapping[str, Any], metric: Metric) -> float | None:
    """The score itself, out of what `summarize` returns."""
    name, task = metric
    if name in ("type", "task"):
        entry = summary[f"{name}s"].get(task)
        return None if entry is None else entry["score"]
    part, _, mean = name.partition(".")
    value: float | None = summary[part][mean]
    return value


def _asked(bench: BaseBench, questions: Sequence[Question]) -> _Asked:
    import numpy as np

    tasks = bench.tasks()
    types = {q.type for q in questions}
    kinds = [kind for members in tasks.values() for kind in members if kind in types]
    scenes = {name: k for k, name in enumerate(sorted({(q.dataset, q.scene) for q in questions}))}
    column = {kind: k for k, kind in enumerate(kinds)}
    at = np.array([scenes[q.dataset, q.scene] * len(kinds) + column[q.type] for q in questions])
    counts = np.bincount(at, minlength=len(scenes) * len(kinds)).reshape(len(scenes), len(kinds)).astype(np.float64)
    n = counts.sum(axis=0)
    weights: dict[Metric, _Weights] = {}
    for kind, k in column.items():
        weights["type", kind] = _Weights(np.eye(len(kinds))[k] / n[k], plain=True)
    for task, members in tasks.items():
        if own := [column[member] for member in members if member in column]:
            of_task = np.zeros(len(kinds))
            of_task[own] = 1 / (len(own) * n[own])
            weights["task", task] = _Weights(of_task, plain=False)
    for name, over in bench.averages().items():
        own = [column[kind] for kind in kinds if kind in over]
        if own:
            every = np.zeros(len(kinds))
            every[own] = 1 / n[own].sum()
            of_tasks = [
                weights["task", t].of_type
                for t, members in tasks.items()
                if members[0] in over and ("task", t) in weights
            ]
            weights[f"{name}.micro", ""] = _Weights(every, plain=True)
            weights[f"{name}.macro", ""] = _Weights(np.mean(of_tasks, axis=0), plain=False)
    return _Asked(at, counts, weights)


def _estimate(asked: _Asked, weights: _Weights, sums: np.ndarray) -> tuple[float, float, int]:
    """(value, its variance, scenes that are asked about it) of a metric over `sums`, [scenes, types]."""
    import numpy as np

    w = weights.of_type
    value = float((sums @ w).sum())
    number = int((asked.counts[:, w > 0].sum(axis=1) > 0).sum())
    if number < 2:
        return value, 0.0, number
    means = value if weights.plain else sums.sum(axis=0) / asked.counts.sum(axis=0)
    deviations = (sums - means * asked.counts) @ w
    return value, float(np.square(deviations).sum()) * number / (number - 1), number


@lru_cache(maxsize=64)
def _student(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


@lru_cache(maxsize=EXACT + 1)
def _every_sign(scenes: int) -> np.ndarray:
    """All ways to give signs to numbers, [2^(scenes − 1), scenes]; the last keeps its own, the others mirror these."""
    import numpy as np

    numbers = np.arange(2 ** (scenes - 1))[:, None]
    return 1.0 - 2.0 * (numbers >> np.arange(scenes) & 1)


def _reached(signs: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Whether the sum over scenes is as far from 0 as the observed one, for each row of `signs`. Equal counts."""
    import numpy as np

    # An exchange that only adds up in another order has reached it.
    observed = np.abs(shares.sum(axis=0)) - 1e-9 * np.abs(shares).sum(axis=0)
    reached: np.ndarray = np.abs(signs @ shares) >= observed
    return reached


def _most_frequent(truths: Iterable[str]) -> str:
    """Of equally frequent ones the first in alphabetical order, so that the order of items means nothing."""
    counts = Counter(truths)
    return min(counts, key=lambda truth: (-counts[truth], truth))
