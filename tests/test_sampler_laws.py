"""What holds for every scene there could be: random walks that rest, jump and turn."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.walks import Wander

from smx import plugins
from smx.geometry.view import GeometryOptions, SceneView
from smx.samplers import Choice
from smx.samplers._common import choose

SAMPLERS = plugins.names("samplers")
SEEDS = st.integers(0, 10_000)
EDGE = GeometryOptions(voxel_size=0.2)  # a walk that sees one wall has no edge of its own
QUICK = settings(max_examples=12, deadline=None)


@pytest.mark.parametrize("name", SAMPLERS)
@QUICK
@given(
    seed=SEEDS, frames=st.integers(2, 70), half=st.integers(1, 12), candidates=st.integers(2, 40), lost=st.booleans()
)
def test_exactly_n_frames_and_the_same_ones_again(
    name: str, seed: int, frames: int, half: int, candidates: int, lost: bool
) -> None:
    """Lost otherwise: an evaluator crashes on a missing frame, or a rerun evaluates other frames."""
    n = 2 * half
    away = range(frames // 3, frames // 2) if lost else ()
    first, again = (pick(name, Wander(frames, seed, lost=away), n, candidates=candidates) for _ in range(2))
    assert first == again
    assert len(first.ids) == len(first.fill) == n
    assert len(set(first.ids)) == min(n, frames)


@pytest.mark.parametrize(("name", "options"), [("mergeaware_sa", {}), ("mergeaware_uniform", {"partner": "least"})])
@QUICK
@given(seed=SEEDS, frames=st.integers(16, 90), window=st.integers(1, 20), least=st.floats(0, 1))
def test_pairs_are_near_and_overlap_unless_flagged(
    name: str, options: dict[str, Any], seed: int, frames: int, window: int, least: float
) -> None:
    """Lost otherwise: `window` and `min_overlap` promise what the pairs do not keep."""
    view = SceneView(Wander(frames, seed), EDGE)
    choice = choose(plugins.load("samplers", name)(window=window, min_overlap=least, **options), view, 8, 0)
    first, second = np.array(choice.ids).reshape(-1, 2).T
    overlap = view.voxels(choice.ids).overlap(np.arange(0, 8, 2), np.arange(1, 8, 2))
    real = ~np.array(choice.fill).reshape(-1, 2).any(axis=1)
    assert (second > first).all()
    assert (np.diff(first) > 0).all()
    assert (second - first)[real].max(initial=0) <= choice.notes["window"]
    assert overlap[real].min(initial=1) >= least


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, frames=st.integers(6, 11), n=st.sampled_from([2, 4, 6]))
def test_sa_sees_at_least_63_percent_of_what_the_best_frames_see(seed: int, frames: int, n: int) -> None:
    """Lost otherwise: the guarantee of greedy maximum coverage (Nemhauser et al. 1978)."""
    view = SceneView(Wander(frames, seed), EDGE)
    sets = view.voxels(range(frames))
    best = max(sets.coverage(list(some)) for some in combinations(range(frames), n))
    assert sets.coverage(pick("sa", Wander(frames, seed), n).ids) >= (1 - 1 / np.e) * best


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, frames=st.integers(6, 10), n=st.sampled_from([2, 4]))
def test_mergeaware_sa_takes_each_time_the_pair_that_adds_most(seed: int, frames: int, n: int) -> None:
    """Lost otherwise: frames are paired well and chosen badly."""
    choice = pick("mergeaware_sa", Wander(frames, seed), n, window=3, min_overlap=0.3)
    view = SceneView(Wander(frames, seed), EDGE)
    seen = {i: set(view._keys[i].tolist()) for i in range(frames) if view.voxels([i]) is not None}
    covered: set[int] = set()
    expected: list[tuple[int, int]] = []
    for _ in range(n // 2):
        free = [i for i in range(frames) if not any(i in pair for pair in expected)]
        pairs = [
            (a, b)
            for a, b in combinations(free, 2)
            if b - a <= 3 and len(seen[a] & seen[b]) >= 0.3 * min(len(seen[a]), len(seen[b])) and seen[a] and seen[b]
        ]
        gains = {pair: len((seen[pair[0]] | seen[pair[1]]) - covered) for pair in pairs}
        if not gains or max(gains.values()) == 0:
            break
        best = max(gains, key=lambda pair: (gains[pair], -pair[0], -pair[1]))
        expected.append(best)
        covered |= seen[best[0]] | seen[best[1]]
    pairs_chosen = zip(choice.ids[::2], choice.ids[1::2], choice.fill[::2], strict=True)
    assert [(a, b) for a, b, filled in pairs_chosen if not filled] == sorted(expected)


@QUICK
@given(seed=SEEDS, frames=st.integers(20, 120))
def test_sa_at_16_contains_sa_at_8_unless_filled(seed: int, frames: int) -> None:
    """Lost otherwise: going from 8 to 16 frames changes which places are seen, not only how many."""
    few, many = (pick("sa", Wander(frames, seed), n) for n in (8, 16))
    kept = {i for i, filled in zip(few.ids, few.fill, strict=True) if not filled}
    assert kept <= set(many.ids)


@QUICK
@given(seed=SEEDS, n=st.sampled_from([4, 8, 16]))
def test_no_order_of_the_frames_of_sa_overlaps_more_than_tma_sa(seed: int, n: int) -> None:
    """Lost otherwise: `tma_sa` is worth no more than `sa` in time order, or in any other."""
    view = SceneView(Wander(60, seed), EDGE)
    ids = pick("tma_sa", Wander(60, seed), n).ids
    rng = np.random.default_rng(seed)

    def total(order: list[int]) -> float:
        return float(view.voxels(order).overlap(np.arange(0, n, 2), np.arange(1, n, 2)).sum())

    others = [sorted(ids), *(rng.permutation(ids).tolist() for _ in range(20))]
    assert all(total(ids) >= total(other) - n * 1e-6 for other in others)


def pick(name: str, scene: Wander, n: int, candidates: int = 128, **options: Any) -> Choice:
    view = SceneView(scene, GeometryOptions(candidates=candidates, voxel_size=EDGE.voxel_size))
    return choose(plugins.load("samplers", name)(**options), view, n, 0)
