"""Space-aware selection: the same frames as the reference, and what it says when there is nothing to select from."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smx.errors import SceneError
from smx.geometry.voxels import VoxelGrid, VoxelSets, bounding_box, median, select_by_coverage

CASES = ("walk", "walk16", "empty", "static", "dup", "k_gt_t")


@pytest.mark.parametrize("case", CASES)
def test_frames_are_those_of_the_reference(fixtures: Path, case: str) -> None:
    """Lost otherwise: numbers published with the reference's frames can no longer be compared with ours."""
    with np.load(fixtures / "golden" / "sa_sampling.npz") as stored:
        case_of = {name: stored[f"{case}/{name}"] for name in ("points", "conf", "k", "selected", "voxel_size")}
        counts, covered = stored[f"{case}/voxels_per_frame"], int(stored[f"{case}/covered"])
    found = select_by_coverage(case_of["points"], case_of["conf"], int(case_of["k"]))
    assert found.selected == case_of["selected"].tolist()
    assert np.float32(found.voxel_size) == np.float32(case_of["voxel_size"])
    assert found.voxels_per_frame.tolist() == counts.tolist()
    assert found.covered == covered


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_median_is_numpys_to_the_last_bit(values: list[float]) -> None:
    """Lost otherwise: points at the threshold flip, and with them frames."""
    array = np.array(values, dtype=np.float32)
    with np.errstate(over="ignore"):
        assert median(array) == np.percentile(array, 50)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7))
def test_selection_equals_a_slow_one_written_with_sets(seed: int, frames: int, k: int) -> None:
    """Lost otherwise: the fast path drifts from the rule where the fixture has no case for it."""
    points, confidence = cloud(seed, frames)
    assert select_by_coverage(points, confidence, k).selected == with_sets(points, confidence, k)


def test_non_finite_points_are_dropped() -> None:
    """Lost otherwise: one NaN of a network moves the whole grid."""
    points, confidence = cloud(1, 4)
    broken = np.concatenate([points, np.full((4, 1, 6, 3), np.nan, np.float32)], axis=1)
    broken[0, -1, 0] = [np.inf, 0, 0]
    sure = np.concatenate([confidence, np.full((4, 1, 6), np.median(confidence), np.float32)], axis=1)
    assert np.isfinite(select_by_coverage(broken, sure, 2).voxel_size)
    assert bounding_box(broken).tolist() == bounding_box(points).tolist()


def test_a_plane_is_an_error_that_says_so() -> None:
    """Lost otherwise: an edge of 0 divides by zero, or asks for a grid of 40 GB."""
    points, confidence = cloud(2, 3)
    points[..., 1] = 1.5
    with pytest.raises(SceneError, match=r"plane.*voxel_size"):
        select_by_coverage(points, confidence, 2)


def test_an_empty_scene_is_an_error() -> None:
    """Lost otherwise: the scene without valid points gives arbitrary frames."""
    points, _ = cloud(3, 2)
    with pytest.raises(SceneError, match="no point"):
        select_by_coverage(points, np.full(points.shape[:-1], 0.05), 2)


def test_a_thin_wall_needs_no_dense_grid() -> None:
    """Lost otherwise: a wall of 5 x 3 x 0.02 m takes 40 GB. Its grid has 315 million cells, its sets a few thousand."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, [5, 3, 0.02], (8, 20, 30, 3)).astype(np.float32)
    grid = VoxelGrid.fit(bounding_box(points))
    sets = VoxelSets.pack([grid.keys(frame) for frame in points])
    assert grid.edge < 0.00101
    assert sets.total <= 8 * 20 * 30
    assert sets.bits.nbytes < 8 * 1000


def test_a_frame_outside_the_fitted_box_has_voxels_of_its_own() -> None:
    """Lost otherwise: frames between candidates fold back into voxels they do not see."""
    grid = VoxelGrid.fit(np.array([[0, 0, 0], [2, 2, 2]], np.float32))
    inside = np.array([[0.05, 0.05, 0.05], [1.95, 0.05, 0.05]], np.float32)
    outside = inside - np.array([0, 0.1, 0], np.float32)
    sets = VoxelSets.pack([grid.keys(inside), grid.keys(outside)])
    assert sets.total == 4
    assert sets.overlap(0, 1) == 0


def test_more_voxels_than_the_work_space_holds() -> None:
    """Lost otherwise: a frame with many voxels overruns or loses some."""
    points = np.random.default_rng(0).uniform(0, 1, (60_000, 3)).astype(np.float32)
    grid = VoxelGrid.fit(bounding_box(points), edge=0.01)
    assert len(grid.keys(points)) == len(np.unique(np.floor((points - grid.low) / grid.edge), axis=0))


def test_an_edge_too_small_for_the_scene_is_named() -> None:
    """Lost otherwise: a room of 6 x 3 x 4 m is called a plane, and the way out is the option that was set."""
    with pytest.raises(SceneError, match=r"voxels of 1e-09 are too small .* 6 x 3 x 4"):
        VoxelGrid.fit(np.array([[0, 0, 0], [6, 3, 4]], np.float32), 1e-9)


def test_a_fixed_edge_is_used_as_given() -> None:
    """Lost otherwise: `voxel_size: 0.1` is silently something else."""
    assert VoxelGrid.fit(np.array([[0, 0, 0], [5, 4, 0]], np.float32), 0.1).edge == np.float32(0.1)


def test_overlap_iou_and_coverage_count_what_they_say() -> None:
    """Lost otherwise: the statistic the whole comparison rests on is wrong."""
    sets = VoxelSets.pack([np.array(k, dtype=np.int64) for k in ([1, 2, 3, 4], [3, 4, 5], [], [9])])
    assert sets.overlap([0, 0, 0], [1, 2, 3]).tolist() == [2 / 3, 0, 0]
    assert sets.iou([0, 2], [1, 2]).tolist() == [2 / 5, 0]
    assert sets.coverage([0, 3]) == 5 / 6
    assert sets.coverage([3], of=[0, 1]) == 0
    assert sets.coverage([1], of=[0]) == 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_greedy_covers_at_least_63_percent_of_the_best_choice(seed: int, k: int) -> None:
    """Lost otherwise: the guarantee of greedy maximum coverage, and with it the point of `sa`."""
    rng = np.random.default_rng(seed)
    sets = VoxelSets.pack([np.flatnonzero(rng.random(40) < rng.uniform(0.05, 0.5)) for _ in range(8)])
    best = max(sets.union_count(list(choice)) for choice in combinations(range(8), k))
    order = sets.greedy(k)
    assert sets.union_count(order) >= (1 - 1 / np.e) * best if order else best == 0
    assert sets.greedy(k + 1)[: len(order)] == order


def cloud(seed: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Small point maps [T, 5, 6, 3] and confidences, with many ties."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, [3, 2, 1], (frames, 5, 6, 3)).astype(np.float32)
    return points, rng.choice(np.array([0.05, 0.5, 1, 2, 3], np.float32), (frames, 5, 6))


def with_sets(points: np.ndarray, confidence: np.ndarray, k: int) -> list[int]:
    """The rule, written plainly."""
    valid = (confidence >= np.percentile(confidence, 50)) & (confidence > 0.1)
    low, high = points[valid].min(axis=0), points[valid].max(axis=0)
    edge = (high - low).min() / np.float32(20)
    seen = [{tuple(c) for c in np.floor((p[v] - low) / edge).tolist()} for p, v in zip(points, valid, strict=True)]
    chosen: list[int] = []
    covered: set[tuple[float, ...]] = set()
    for _ in range(k):
        gains = [-1 if f in chosen else len(cells - covered) for f, cells in enumerate(seen)]
        if max(gains) <= 0:
            break
        chosen.append(gains.index(max(gains)))
        covered |= seen[chosen[-1]]
    return sorted(chosen)
