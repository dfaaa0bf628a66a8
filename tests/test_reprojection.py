"""Poses proved by what they predict: depth of one frame, moved into another, agrees with the other's depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.reprojection import errors, wide_pairs

from smx.datasets.frames import Dataset
from smx.geometry.cameras import inverse, reprojection_error

SCENES = ("redwood_livingroom1_micro", "miniworld_threerooms")


@pytest.mark.parametrize("prefer", ["images", "video"])
@pytest.mark.parametrize("name", SCENES)
def test_depth_of_one_frame_agrees_with_anothers(name: str, prefer: str, fixtures: Path) -> None:
    """If this fails, poses are read the wrong way round and every overlap and coverage is fiction."""
    root = fixtures / name
    if prefer == "video" and not (root / "video.mp4").exists():
        pytest.skip("this fixture has no video")
    scene = Dataset.parse({"prefer": prefer}, "dataset frames").open(root, name)
    cameras = scene.cameras(scene.frame_ids.tolist())
    assert cameras is not None
    pairs = wide_pairs(cameras.w2c)
    right = errors(scene, cameras.w2c, pairs)
    judged = np.isfinite(right)
    assert judged.sum() >= 15
    assert np.median(right[judged]) <= 0.01
    assert np.quantile(right[judged], 0.9) <= 0.015

    # c2w taken for w2c; OpenGL's axes taken for OpenCV's; cameras in the wrong order
    flip = np.diag([1.0, -1, -1, 1])
    for mistake in (inverse(cameras.w2c), flip @ cameras.w2c, cameras.w2c[::-1]):
        wrong = np.nan_to_num(errors(scene, mistake, pairs), nan=np.inf)[judged]
        assert np.median(wrong) >= 0.2, "a wrong reading of the poses would pass"
        assert (wrong > 5 * right[judged]).mean() > 0.9


def test_a_known_shift_is_the_error() -> None:
    """The measure itself: a wall seen square on, the second camera half a metre nearer than it claims."""
    K = np.array([[100.0, 0, 49.5], [0, 100, 39.5], [0, 0, 1]])
    far, near = np.full((80, 100), 3.0), np.full((80, 100), 2.0)
    near[0, 0] = np.nan
    step = np.eye(4)
    step[2, 3] = -1.0
    assert reprojection_error(far, K, np.eye(4), near, K, step).median == pytest.approx(0)
    step[2, 3] = -0.5
    result = reprojection_error(far, K, np.eye(4), near, K, step)
    assert result.median == pytest.approx(0.5)
    assert 0.5 < result.inside < 0.9
    step[2, 3] = -10
    assert reprojection_error(far, K, np.eye(4), near, K, step).median == np.inf
