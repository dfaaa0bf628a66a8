"""Which frames the samplers choose: exactly n, the same every time, pairs that really belong together."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.walks import Walk

from smx import plugins
from smx.errors import SceneError, UserError
from smx.geometry.view import GeometryOptions, SceneView
from smx.node.sampling import make_sample
from smx.samplers import Choice
from smx.samplers._common import choose, spread

SAMPLERS = plugins.names("samplers")
PAIRED = ("mergeaware_uniform", "mergeaware_sa")


@pytest.mark.parametrize("name", SAMPLERS)
@settings(max_examples=8, deadline=None)
@given(half=st.integers(1, 20), frames=st.integers(1, 90), step=st.sampled_from([1, 3, 40]), seed=st.integers(0, 3))
def test_every_sampler_gives_exactly_n_distinct_frames_and_the_same_again(
    name: str, half: int, frames: int, step: int, seed: int
) -> None:
    """Lost otherwise: an evaluator crashes on a missing frame, or a rerun evaluates other frames."""
    n = 2 * half
    first, again = (pick(name, Walk(frames, step=step), n, seed) for _ in range(2))
    assert first == again
    assert len(first.ids) == len(first.fill) == n
    assert len(set(first.ids)) == min(n, frames)
    if frames < n:
        assert first.ids == [*range(0, frames * step, step), *[(frames - 1) * step] * (n - frames)]
        assert first.fill == [False] * frames + [True] * (n - frames)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("wrong", "nearest"), [(15, "14 or 16"), (1, "2 or 4"), (0, "2 or 4"), (-3, "2 or 4")])
def test_an_odd_frame_count_names_the_two_nearest_valid_ones(name: str, wrong: int, nearest: str) -> None:
    """Lost otherwise: the last frame has no partner in its tubelet, and the run fails in the queue."""
    with pytest.raises(UserError, match=f"{wrong} frames") as caught:
        pick(name, Walk(40), wrong)
    assert nearest in caught.value.hint


@pytest.mark.parametrize("name", ["uniform", "random", "sa"])
def test_unpaired_samplers_keep_time_order(name: str) -> None:
    """Lost otherwise: the model sees the video shuffled."""
    chosen = pick(name, Walk(100), 16).ids
    assert chosen == sorted(chosen)


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("n", [2, 8, 16, 40])
def test_merged_frames_are_close_in_time_unless_flagged(name: str, n: int) -> None:
    """Lost otherwise: frames of different places end up in one tubelet, which is what these samplers prevent."""
    choice = pick(name, Walk(120), n, window=9)
    pairs = list(zip(choice.ids[::2], choice.ids[1::2], strict=True))
    assert all(a < b for a, b in pairs)
    assert pairs == sorted(pairs)
    real = [b - a for (a, b), f, g in zip(pairs, choice.fill[::2], choice.fill[1::2], strict=True) if not (f or g)]
    assert real
    assert max(real) <= 9 == choice.notes["window"]


@pytest.mark.parametrize(("name", "options"), [("mergeaware_sa", {}), ("mergeaware_uniform", {"partner": "least"})])
def test_merged_frames_overlap_unless_flagged(name: str, options: dict[str, Any]) -> None:
    """Lost otherwise: `min_overlap` promises what the pairs do not keep."""
    view = SceneView(Walk(120), GeometryOptions())
    sampler = plugins.load("samplers", name)(min_overlap=0.7, **options)
    choice = choose(sampler, view, 16, 0)
    overlap = view.voxels(choice.ids).overlap(np.arange(0, 16, 2), np.arange(1, 16, 2))
    real = [o for o, f, g in zip(overlap, choice.fill[::2], choice.fill[1::2], strict=True) if not (f or g)]
    assert real
    assert min(real) >= 0.7


def test_widely_spaced_candidates_widen_the_window_and_say_so() -> None:
    """Lost otherwise: on a long video no pair qualifies and all of `mergeaware_sa` is filler."""
    choice = choose(
        plugins.load("samplers", "mergeaware_sa")(window=3),
        SceneView(Walk(200), GeometryOptions(candidates=21)),
        8,
        0,
    )
    assert choice.notes["window"] == 10
    assert not any(choice.fill)


@pytest.mark.parametrize(("name", "options"), [("mergeaware_uniform", {}), ("mergeaware_sa", {"min_overlap": 1.0})])
def test_frames_numbered_by_the_nanosecond_are_paired_with_neighbours(name: str, options: dict[str, Any]) -> None:
    """Lost otherwise: on images named like EuRoC's a partner is drawn for hours, out of gigabytes of offsets."""
    choice = choose(
        plugins.load("samplers", name)(**options), SceneView(Walk(40, step=50_000_000), GeometryOptions()), 8, 0
    )
    assert {b - a for a, b in zip(choice.ids[::2], choice.ids[1::2], strict=True)} == {50_000_000}


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(6, 9), n=st.sampled_from([2, 4]))
def test_sa_sees_at_least_63_percent_of_what_the_best_frames_see(frames: int, n: int) -> None:
    """Lost otherwise: the guarantee of greedy maximum coverage."""
    view = SceneView(Walk(frames), GeometryOptions())
    sets = view.voxels(range(frames))
    best = max(sets.coverage(list(some)) for some in combinations(range(frames), n))
    assert sets.coverage(pick("sa", Walk(frames), n).ids) >= (1 - 1 / np.e) * best


@pytest.mark.parametrize(("name", "seed"), [("sa", 0), ("mergeaware_sa", 0)])
def test_more_frames_keep_those_chosen_before(name: str, seed: int) -> None:
    """Lost otherwise: going from 8 to 16 frames changes which places are seen, not only how many."""
    few, many = (pick(name, Walk(120), n, seed) for n in (8, 16))
    assert not any(few.fill)
    assert set(few.ids) <= set(many.ids)


def test_a_scene_that_never_changes_is_filled_from_far_apart_and_flagged() -> None:
    """Lost otherwise: the reference returns one frame here and the evaluator crashes."""
    choice = pick("sa", Walk(64, still=True), 8)
    assert choice.fill == [False] + [True] * 7
    assert choice.ids[-1] == 63


def test_more_frames_than_candidates_go_on_with_the_other_frames() -> None:
    """Lost otherwise: 200 frames of a long video are 128, or 72 repeats."""
    view = SceneView(Walk(60), GeometryOptions(candidates=10))
    for options in ({"of": "candidates"}, {"of": "video"}):
        assert len(set(choose(plugins.load("samplers", "uniform")(**options), view, 24, 0).ids)) == 24


def test_uniform_is_qwens_own_rule() -> None:
    """Lost otherwise: `uniform` is not what the model was trained with."""
    torch = pytest.importorskip("torch")
    differing = []
    for total in range(16, 400, 7):
        for n in (4, 8, 16):
            theirs = torch.linspace(0, total - 1, n).round().long().tolist()
            if spread(total, n).tolist() != theirs:
                differing.append((total, n))
    assert differing == []


def test_seeds_differ_only_where_something_is_drawn() -> None:
    """Lost otherwise: seeds of a matrix are the same sample set computed again, or two sets under one name."""
    for name in SAMPLERS:
        sampler = plugins.load("samplers", name)
        differ = {tuple(pick(name, Walk(100), 8, seed).ids) for seed in range(4)}
        assert len(differ) == 1 or sampler.seeded, name


@pytest.mark.parametrize(
    ("name", "options"), [("sa", {}), ("mergeaware_sa", {}), ("mergeaware_uniform", {"partner": "least"})]
)
@pytest.mark.parametrize("lacking", ["cameras", "depth"])
def test_a_scene_without_geometry_says_what_is_missing_and_which_samplers_work(
    name: str, options: dict[str, Any], lacking: str
) -> None:
    """Lost otherwise: a user of plain videos sees a traceback instead of the way out."""
    with pytest.raises(SceneError, match=rf"walk/30x1.*{lacking}.*needs cameras and voxels.*uniform"):
        pick(name, Walk(30, without=lacking), 8, **options)


@pytest.mark.parametrize("name", ["uniform", "random", "mergeaware_uniform"])
def test_samplers_that_need_no_geometry_work_without_it(name: str) -> None:
    """Lost otherwise: VSI-Bench's plain videos cannot be sampled at all."""
    assert len(pick(name, Walk(30, without="cameras"), 8).ids) == 8


def test_frames_without_a_pose_are_not_chosen_for_what_they_see() -> None:
    """Lost otherwise: ScanNet's lost frames put the grid at infinity."""
    choice = pick("sa", Walk(60, lost=range(10, 50)), 8)
    assert not set(choice.ids) & set(range(10, 50))


def test_an_unknown_geometry_source_names_those_there_are() -> None:
    """Lost otherwise: `geometry.source: vgt` silently uses the dataset's depth."""
    with pytest.raises(UserError, match=r"'dataset', 'file' or 'vggt' .*'vgt'"):
        GeometryOptions.parse({"source": "vgt"}, "geometry")


@pytest.mark.parametrize("folder", ["miniworld_threerooms", "redwood_livingroom1_micro"])
def test_every_sampler_works_on_real_rgbd(fixtures: Path, folder: str, tmp_path: Path) -> None:
    """Lost otherwise: all this works only on scenes made for the tests."""
    dataset = plugins.load("datasets", "frames")()
    for scene_id in dataset.scenes(fixtures / folder):
        scene = dataset.open(fixtures / folder, scene_id)
        for name in SAMPLERS:
            summary = make_sample(
                scene,
                sampler_name=name,
                sampler=plugins.load("samplers", name)(),
                n=8,
                seed=0,
                geometry=GeometryOptions(candidates=16),
                folder=tmp_path / name,
                extra={"dataset": "frames"},
            )
            assert summary["frames"] == 8
            assert summary["fill"] == 0
            assert summary["coverage"] > 0.4
            if name == "mergeaware_sa":
                assert summary["overlap"] >= 0.5


def pick(name: str, scene: Walk, n: int, seed: int = 0, **options: Any) -> Choice:
    return choose(plugins.load("samplers", name)(**options), SceneView(scene, GeometryOptions()), n, seed)
