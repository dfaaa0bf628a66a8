"""Claim: the paired test of `smx report --compare` errs at its level, and 95 % intervals cover, at 6 scenes as at 288.

Simulates labs without an effect: scenes with 6 to 30 questions each, scenes of different difficulty on which two
equally good models differ, half of the questions right or wrong and half scored in tenths (as MRA is). Counts how
often p < 0.05, and how often the interval of a score and of a difference holds the truth.

Six scenes have 64 exchanges, so that p < 0.05 means p = 2/64, and less often where a scene gives both models the same:
no test that draws no lots can err in 5 % there. `attainable` is the share of exchanges with p < 0.05 of the very
labs simulated. The ratio is the largest deviation from it over the budget of one percentage point. Beside it stands
what percentiles of a bootstrap of scenes do.
"""

from __future__ import annotations

import sys

import numpy as np
from _record import finish

from smx.benches._intervals import EXACT, LEVEL, difference_interval, score_interval, sign_flip

SCENES = (6, 10, 20, 288)
REPEATS = {6: 4000, 10: 4000, 20: 2500, 288: 2500}
BOUND = 1.0  # percentage points
RATES = (0.1, 0.35, 0.6)


def main() -> None:
    quick = "--quick" in sys.argv
    rows = {scenes: measured(scenes, REPEATS[scenes] // (10 if quick else 1)) for scenes in SCENES}
    print(f"{'scenes':>6}  {'p < 0.05':>8}  {'attainable':>10}  {'bootstrap':>9}  | 95 % intervals cover:")
    above = f"{'':>28}  {'p < 0.05':>9}  | {'difference':>10}  {'bootstrap':>9}"
    print(f"{above}  {'score':>6}  {'bootstrap':>9}")
    for scenes, row in rows.items():
        numbers = [row[k] for k in ("rejected", "attainable", "rejected_bootstrap")]
        covers = [row[k] for k in ("difference", "difference_bootstrap", "score", "score_bootstrap")]
        print(
            f"{scenes:>6}  {numbers[0]:>8.1f}  {numbers[1]:>10.1f}  {numbers[2]:>9.1f}  | "
            f"{covers[0]:>10.1f}  {covers[1]:>9.1f}  {covers[2]:>6.1f}  {covers[3]:>9.1f}"
        )
    worst = max(abs(row["rejected"] - row["attainable"]) for row in rows.values())
    finish({"benchmark": "paired_test", "ratio": round(worst / BOUND, 3), "budget": 1.0, "percent": rows})


def measured(scenes: int, repeats: int) -> dict[str, float]:
    """Percentages over `repeats` simulated comparisons of two equally good models on `scenes` scenes."""
    dice = np.random.default_rng(scenes)
    weights = np.random.default_rng(0).multinomial(scenes, [1 / scenes] * scenes, size=1000).astype(float)
    counts = dict.fromkeys(("rejected", "rejected_bootstrap", "difference", "difference_bootstrap"), 0)
    counts |= {"score": 0, "score_bootstrap": 0}
    shares = []
    for number in range(repeats):
        rate = RATES[number % len(RATES)]
        n, a, b = simulated(dice, scenes, rate)
        total = n.sum()
        difference, score = (b.sum() - a.sum()) / total, a.sum() / total
        shares.append((b - a) / total)
        spread = variance(b - a, n, difference)
        low, high = difference_interval(difference, spread, scenes, 1 / total)
        counts["difference"] += low <= 0 <= high
        low, high = score_interval(score, variance(a, n, score), scenes)
        counts["score"] += low <= rate <= high
        drawn = weights @ n
        for name, sums, truth in (("difference", b - a, 0.0), ("score", a, rate)):
            draws = weights @ sums / drawn
            low, high = np.percentile(draws, [2.5, 97.5])
            counts[f"{name}_bootstrap"] += low <= truth <= high
            if name == "difference":
                against = min((draws <= 0).sum(), (draws >= 0).sum())
                counts["rejected_bootstrap"] += min(1.0, 2 * (against + 1) / 1001) < 1 - LEVEL
    step = 40  # at once, as the metrics of one comparison are
    ps = [p for k in range(0, repeats, step) for p in sign_flip(shares[k : k + step])]
    counts["rejected"] = sum(p < 1 - LEVEL for p in ps)
    possible = float(np.mean([attainable(share) for share in shares])) if scenes <= EXACT else 1 - LEVEL
    return {name: round(100 * k / repeats, 2) for name, k in counts.items()} | {"attainable": round(100 * possible, 2)}


def attainable(share: np.ndarray) -> float:
    """In which share of all exchanges of `share`, [scenes], the exact p is under 0.05."""
    signs = 1.0 - 2.0 * (np.arange(2 ** len(share))[:, None] >> np.arange(len(share)) & 1)
    sums = np.sort(np.round(np.abs(signs @ share), 12))
    as_far = len(sums) - np.searchsorted(sums, sums, side="left")
    return float((as_far / len(sums) < 1 - LEVEL).mean())


def simulated(dice: np.random.Generator, scenes: int, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(questions, sum of a's scores, sum of b's) of each scene; both models are right at `rate` on average."""
    n = dice.integers(6, 31, size=scenes)
    quality = dice.beta(4 * rate, 4 * (1 - rate), size=scenes)  # how easy a scene is for both
    sums = []
    for _ in range(2):
        own = dice.beta(12 * quality + 1e-3, 12 * (1 - quality) + 1e-3)  # and for this model
        right = dice.binomial(n // 2, own)
        tenths = dice.binomial(10 * (n - n // 2), own) / 10
        sums.append(right + tenths)
    return n.astype(float), sums[0], sums[1]


def variance(sums: np.ndarray, n: np.ndarray, value: float) -> float:
    """Of a mean over questions, by scenes, as smx.benches._intervals defines it."""
    deviations = (sums - value * n) / n.sum()
    return float(np.square(deviations).sum()) * len(n) / (len(n) - 1)


if __name__ == "__main__":
    main()
