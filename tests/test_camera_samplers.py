"""`fps`, `efficient` and `tma_sa` against their definitions, computed again slowly and in another way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.walks import HEIGHT, INTRINSICS, WIDTH, Walk, Wander

from smx import plugins
from smx.errors import SceneError
from smx.geometry.view import GeometryOptions, SceneView
from smx.samplers import Choice
from smx.samplers._common import choose
from smx.samplers._matching import best_pairs

SEEDS = st.integers(0, 10_000)


# --- fps


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, n=st.sampled_from([2, 8, 14]))
def test_fps_takes_the_camera_farthest_from_all_it_has(seed: int, n: int) -> None:
    """Lost otherwise: `fps` is some other rule than the one its rows in a table are said to follow."""
    scene = Wander(40, seed)
    assert pick("fps", scene, n).ids == slow_fps(scene, n)


def test_fps_weighs_turning_against_walking() -> None:
    """Lost otherwise: a camera that turns on the spot is sampled as if it stood still."""
    turning = Wander(40, 3)
    turning._at[:] = 1
    assert pick("fps", turning, 8).ids == slow_fps(turning, 8)
    assert pick("fps", Wander(40, 3), 8, turn=0).ids == slow_fps(Wander(40, 3), 8, turn=0)
    assert pick("fps", Wander(40, 3), 8, turn=50).ids == slow_fps(Wander(40, 3), 8, turn=50)


def test_fps_of_a_camera_that_never_moves_takes_the_first_frames() -> None:
    """Lost otherwise: a tripod video divides by zero."""
    choice = pick("fps", Walk(30, still=True), 8)
    assert choice.ids == list(range(8))


@pytest.mark.parametrize("name", ["fps", "efficient"])
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_turning_moving_and_scaling_the_world_changes_no_frame(name: str, seed: int) -> None:
    """Lost otherwise: frames depend on where SLAM happened to start, or on the unit of a COLMAP model.

    (`efficient` lays its cells along the world's axes, so turning the world may change its frames.)
    """
    plain = Wander(40, seed)
    plain.metric = False
    moved = Moved(40, seed, turned=name == "fps")
    assert pick(name, moved, 8).ids == pick(name, plain, 8).ids


# --- efficient


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, n=st.sampled_from([2, 6]), metric=st.booleans())
def test_efficient_covers_the_cells_its_cameras_look_into(seed: int, n: int, metric: bool) -> None:
    """Lost otherwise: frames are chosen for space they do not see."""
    scene = Wander(12, seed)
    scene.metric = metric
    choice = pick("efficient", scene, n)
    expected, far = slow_efficient(scene, n)
    assert [i for i, filled in zip(choice.ids, choice.fill, strict=True) if not filled] == expected
    assert choice.notes["far"] == pytest.approx(far)


def test_efficient_needs_no_depth() -> None:
    """Lost otherwise: scenes with poses from SLAM and nothing else cannot be sampled by what they see."""
    scene = Walk(60, without="depth")
    assert pick("efficient", scene, 8).ids == pick("efficient", Walk(60), 8).ids


def test_a_camera_a_million_cells_away_is_said_and_not_computed() -> None:
    """Lost otherwise: one junk pose takes all memory of the node."""
    scene = Wander(20, 1)
    scene._at[7] = 1e12
    with pytest.raises(SceneError, match="apart"):
        pick("efficient", scene, 4)


# --- tma_sa


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, n=st.sampled_from([2, 4, 8]))
def test_tma_sa_pairs_the_frames_of_sa_so_that_they_overlap_most(seed: int, n: int) -> None:
    """Lost otherwise: views that could have been merged with their like are merged with strangers."""
    scene = Wander(30, seed)
    paired, plain = pick("tma_sa", scene, n), pick("sa", scene, n)
    assert sorted(paired.ids) == plain.ids
    assert dict(zip(paired.ids, paired.fill, strict=True)) == dict(zip(plain.ids, plain.fill, strict=True))
    assert pairs_of(paired.ids) == slow_pairs(plain.ids, overlaps(scene, plain.ids))


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.integers(0, 60), min_size=8, max_size=8, unique=True),
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.5000001]), min_size=28, max_size=28),
)
def test_ties_go_to_frames_close_in_time_and_then_to_the_first_list(ids: list[int], values: list[float]) -> None:
    """Lost otherwise: two machines pair the frames of a dull scene differently."""
    table = np.zeros((8, 8))
    table[np.triu_indices(8, 1)] = values
    assert best_pairs(sorted(ids), table) == slow_pairs(sorted(ids), table)


def test_tma_sa_at_32_frames_overlaps_at_least_as_much_as_sa_in_time_order() -> None:
    """Lost otherwise: the matching is not the best one where brute force cannot check it."""
    scene = Wander(90, 5)
    ids = pick("tma_sa", scene, 32).ids
    ours, plain = (sum(overlaps(scene, some)[range(0, 32, 2), range(1, 32, 2)]) for some in (ids, sorted(ids)))
    swapped = max(
        sum(overlaps(scene, other)[range(0, 32, 2), range(1, 32, 2)])
        for a, b in combinations(range(0, 32, 2), 2)
        for other in [swap(ids, a + 1, b)]
    )
    assert ours >= max(plain, swapped) - 1e-4


# --- all three


@pytest.mark.parametrize("name", ["fps", "efficient", "tma_sa"])
def test_frames_without_a_pose_are_passed_over(name: str) -> None:
    """Lost otherwise: one lost frame of ScanNet fails the whole scene."""
    choice = pick(name, Walk(60, lost=range(10, 50)), 8)
    assert not set(choice.ids) & set(range(10, 50))
    assert not any(choice.fill)


@pytest.mark.parametrize("name", ["fps", "efficient"])
def test_too_few_cameras_are_filled_and_flagged_and_none_is_an_error(name: str) -> None:
    """Lost otherwise: an odd number of frames, or a sample of frames nobody chose."""
    choice = pick(name, Walk(40, lost=range(3, 40)), 8)
    assert len(choice.ids) == 8
    assert sum(choice.fill) >= 5
    assert not any(filled for i, filled in zip(choice.ids, choice.fill, strict=True) if name == "fps" and i < 3)
    with pytest.raises(SceneError, match="no candidate frame has a camera"):
        pick(name, Walk(40, lost=range(40)), 8)


@pytest.mark.parametrize("folder", ["miniworld_threerooms", "redwood_livingroom1_micro"])
def test_the_definitions_hold_on_real_rgbd(fixtures: Path, folder: str) -> None:
    """Lost otherwise: the rules are right only where poses were made up."""
    dataset = plugins.load("datasets", "frames")()
    scene = dataset.open(fixtures / folder, dataset.scenes(fixtures / folder)[0])
    view = SceneView(scene, GeometryOptions(candidates=24))
    assert choose(plugins.load("samplers", "fps")(), view, 8, 0).ids == slow_fps(scene, 8, view.candidates.tolist())
    paired = choose(plugins.load("samplers", "tma_sa")(), view, 8, 0).ids
    shared = view.voxels(sorted(paired)).overlap(np.arange(8)[:, None], np.arange(8))
    assert pairs_of(paired) == slow_pairs(sorted(paired), shared)


# --- the definitions again, written to be read


class Moved(Wander):
    """The same walk in a world turned, shifted and ten times as large (not metric)."""

    metric = False

    def __init__(self, frames: int, seed: int, turned: bool) -> None:
        super().__init__(frames, seed)
        self.world = np.eye(4)
        if turned:
            self.world[:3, :3] = np.array([[0, -1, 0], [0.6, 0, -0.8], [0.8, 0, 0.6]])
        self.world[:3, 3] = [300, -20, 7]

    def c2w(self, frame_id: int) -> np.ndarray:
        pose = super().c2w(frame_id)
        pose[:3, 3] *= 10
        moved: np.ndarray = self.world @ pose
        return moved


def slow_fps(scene: Any, n: int, frames: Sequence[int] | None = None, turn: float = 1.0) -> list[int]:
    ids = list(scene.frame_ids if frames is None else frames)
    poses = {i: np.linalg.inv(scene.cameras([i]).w2c[0]) for i in ids}
    steps = sorted(math.dist(poses[a][:3, 3], poses[b][:3, 3]) for a, b in pairwise(ids))
    middle = (steps[(len(steps) - 1) // 2] + steps[len(steps) // 2]) / 2
    step = middle if middle > 1e-9 else 1.0

    def distance(a: int, b: int) -> float:
        cosine = (np.trace(poses[a][:3, :3].T @ poses[b][:3, :3]) - 1) / 2
        angle = math.acos(min(1.0, max(-1.0, cosine)))
        return math.dist(poses[a][:3, 3], poses[b][:3, 3]) / step + turn * angle

    chosen = [ids[0]]
    while len(chosen) < n:
        left = [i for i in ids if i not in chosen]
        nearest = {i: min(distance(i, c) for c in chosen) for i in left}
        most = max(nearest.values())
        chosen.append(next(i for i in left if nearest[i] > most - 1e-7))
    return sorted(chosen)


def slow_efficient(scene: Wander, n: int) -> tuple[list[int], float]:
    ids = list(scene.frame_ids)
    w2c = {i: scene.cameras([i]).w2c[0] for i in ids}  # type: ignore[union-attr]
    centre = {i: np.linalg.inv(w2c[i])[:3, 3] for i in ids}
    far = 3.0
    if not scene.metric:
        far = 3 * float(np.median([math.dist(centre[a], centre[b]) for a, b in combinations(ids, 2)]))
    low = np.min(list(centre.values()), axis=0)
    high = np.max(list(centre.values()), axis=0)
    edge = far / 8
    reach = math.ceil(2 * far / edge)
    counts = np.ceil((high - low) / edge).astype(int) + reach
    grid = np.stack(np.meshgrid(*[np.arange(-reach, c) for c in counts], indexing="ij"), axis=-1).reshape(-1, 3)
    points = low + (grid + 0.5) * edge
    seen = {}
    for i in ids:
        x, y, z = (w2c[i][:3, :3] @ points.T) + w2c[i][:3, 3:]
        with np.errstate(divide="ignore", invalid="ignore"):
            u = INTRINSICS[0, 0] * x / z + INTRINSICS[0, 2]
            v = INTRINSICS[1, 1] * y / z + INTRINSICS[1, 2]
        inside = (far / 10 <= z) & (z <= far) & (u >= -0.5) & (u < WIDTH - 0.5) & (v >= -0.5) & (v < HEIGHT - 0.5)
        seen[i] = {tuple(cell) for cell in grid[inside].tolist()}
    chosen: list[int] = []
    covered: set[tuple[int, ...]] = set()
    while len(chosen) < n:
        best = max((i for i in ids if i not in chosen), key=lambda i: (len(seen[i] - covered), -i))
        if not seen[best] - covered:
            break
        chosen.append(best)
        covered |= seen[best]
    return sorted(chosen), far


def slow_pairs(ids: list[int], overlap: np.ndarray) -> list[tuple[int, int]]:
    """The best of all perfect matchings, each looked at."""

    def quality(pairs: list[tuple[int, int]]) -> tuple[int, int, list[tuple[int, int]]]:
        shared = sum(round(10**6 * float(overlap[ids.index(a), ids.index(b)])) for a, b in pairs)
        return -shared, sum(b - a for a, b in pairs), pairs

    return min(matchings(ids), key=quality)


def matchings(ids: list[int]) -> Iterator[list[tuple[int, int]]]:
    if not ids:
        yield []
        return
    for other in ids[1:]:
        rest = [i for i in ids[1:] if i != other]
        for pairs in matchings(rest):
            yield [(ids[0], other), *pairs]


def overlaps(scene: Walk, ids: list[int]) -> np.ndarray:
    rows = np.arange(len(ids))
    found: np.ndarray = SceneView(scene, GeometryOptions()).voxels(ids).overlap(rows[:, None], rows)
    return found


def swap(ids: list[int], a: int, b: int) -> list[int]:
    other = list(ids)
    other[a], other[b] = ids[b], ids[a]
    return other


def pairs_of(ids: list[int]) -> list[tuple[int, int]]:
    return list(zip(ids[::2], ids[1::2], strict=True))


def pick(name: str, scene: Walk, n: int, **options: Any) -> Choice:
    return choose(plugins.load("samplers", name)(**options), SceneView(scene, GeometryOptions()), n, 0)
