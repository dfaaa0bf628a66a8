"""Cameras and depth are held against each other before they are believed, and the likeliest mistake is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from smx import sampleset
from smx.cli import run
from smx.datasets._rooms_files import write_frames
from smx.datasets.rooms import Dataset
from smx.geometry.depth_agreement import LIMIT, Agreement, agreement
from smx.geometry.voxels import bounding_box, without_strays
from smx.rooms import named_scene

N = 96
Spoil = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def room() -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """w2c [N, 4, 4], and (depth, K) of each frame."""
    scene = Dataset.parse({"frames": N, "width": 64, "height": 48}, "rooms").open(None, "test-000")
    cameras = scene.cameras(range(N))
    assert cameras is not None
    depth = [scene.depth(i) for i in range(N)]
    assert all(one is not None for one in depth)
    return cameras.w2c, [one for one in depth if one is not None]


def measured(
    w2c: np.ndarray, depth: list[tuple[np.ndarray, np.ndarray]], times: float = 1, focal: float = 1
) -> Agreement:
    def of(frame_id: int) -> tuple[np.ndarray, np.ndarray]:
        metres, K = depth[frame_id]
        return metres * np.float32(times), K @ np.diag([focal, focal, 1])

    found = agreement(range(N), w2c, of, lambda: (np.arange(N), w2c))
    assert found is not None
    return found


def other_quaternions(w2c: np.ndarray) -> np.ndarray:
    c2w = np.linalg.inv(w2c)
    c2w[:, :3, :3] = Rotation.from_quat(Rotation.from_matrix(c2w[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]).as_matrix()
    return np.linalg.inv(c2w)


def smaller(w2c: np.ndarray) -> np.ndarray:
    scaled = w2c.copy()
    scaled[:, :3, 3] *= 0.2
    return scaled


WRONG: dict[str, tuple[Spoil, str]] = {
    "inverted": (np.linalg.inv, "world-to-camera matrices read as camera-to-world"),
    "OpenGL": (lambda w2c: np.diag([1.0, -1, -1, 1]) @ w2c, "OpenGL axes"),
    "quaternions": (other_quaternions, "quaternions as w x y z"),
    "from last to first": (lambda w2c: w2c[::-1], "from last to first"),
    "as text": (lambda w2c: w2c[sorted(range(N), key=str)], "sorted as text"),
    "half a turn late": (lambda w2c: np.roll(w2c, N // 2, 0), "the order: poses 48 frames"),
    "in fives of a metre": (smaller, "depth ×5: TUM's 5,000 units a metre?"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_mistake_is_named(name: str, room: Any) -> None:
    """Lost otherwise: coverage and overlap of a scene that never was, in every table."""
    spoil, cause = WRONG[name]
    found = measured(spoil(room[0]).copy(), room[1])
    assert found.error is not None
    assert found.error > LIMIT
    assert cause in found.doubt


@pytest.mark.parametrize(
    ("times", "focal", "cause"), [(1000, 1, "depth in millimetres"), (0.2, 1, "depth ×0.2 "), (1, 2, "intrinsics ×2")]
)
def test_units_and_intrinsics_are_named(times: float, focal: float, cause: str, room: Any) -> None:
    w2c, depth = room
    assert cause in measured(w2c, depth, times, focal).doubt


def test_right_data_agree_to_a_few_thousandths(room: Any) -> None:
    found = measured(*room)
    assert found.error is not None
    assert found.error < 0.004
    assert (found.doubt, found.unconfirmed, found.warnings()) == ("", (), [])


def test_the_recorded_fixtures_agree(fixtures: Path) -> None:
    from smx.datasets.frames import Dataset as Frames
    from smx.geometry.view import GeometryOptions, SceneView

    for name in ("redwood_livingroom1_micro", "miniworld_threerooms"):
        found = SceneView(Frames().open(fixtures / name, name), GeometryOptions()).agreement()
        assert found is not None
        assert found.error is not None
        assert found.error < 0.005
        assert found.unconfirmed == ()


@pytest.mark.parametrize("at", [0, 1, 17, 46, 47])
def test_one_camera_far_off_is_named_and_no_other(at: int, room: Any) -> None:
    w2c = room[0].copy()
    c2w = np.linalg.inv(w2c[at])
    c2w[:3, 3] = 30
    w2c[at] = np.linalg.inv(c2w)
    found = measured(w2c, room[1])
    assert found.unconfirmed == (at,)
    assert found.warnings() == [f"no neighbour confirms the camera of frame {at}: left out"]


def test_frames_that_share_no_view_are_not_accused(room: Any) -> None:
    """Twelve photographs, each of its own room."""
    w2c = room[0][:12].copy()
    w2c[:, 0, 3] += 100.0 * np.arange(12)
    found = agreement(range(12), w2c, lambda i: room[1][i], lambda: (np.arange(12), w2c))
    assert found is not None
    assert found.unconfirmed == ()
    assert found.record()["error"] is None


# --- the scene's box ----------------------------------------------------------------------------------------


def test_a_box_without_strays_is_the_box_to_the_last_bit() -> None:
    points = np.random.default_rng(0).uniform(-3, 3, (20_000, 3)).astype(np.float32)
    box = bounding_box(points)
    np.testing.assert_array_equal(without_strays(box, points[::7]), box)


def test_one_point_at_sixty_metres_does_not_stretch_the_box() -> None:
    points = np.random.default_rng(0).uniform(-3, 3, (20_000, 3)).astype(np.float32)
    points[70] = [60, -60, 60]
    box = without_strays(bounding_box(points), points[::7])
    assert np.abs(box).max() < 3.01


# --- through gen --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "space"))
    (tmp_path / "space").mkdir()
    return write_frames(named_scene("test-000", frames=32, width=96, height=72), tmp_path / "data" / "room")


def gen(root: Path, *more: str) -> int:
    return run(["gen", "--sampler", "sa", "--frames", "8", "--dataset", "frames", "--root", str(root), *more])


def record(root: Path) -> dict[str, Any]:
    (sample,) = sampleset.samples(root.parent / "space" / "samples")
    return sampleset.read(sample).record


def test_one_depth_pixel_far_away_leaves_the_voxels_as_they_are(folder: Path) -> None:
    """Lost otherwise: voxels 1.58 m wide, and every coverage 1.0."""
    file = sorted((folder / "depth").iterdir())[5]
    depth = np.asarray(Image.open(file)).copy()
    depth[36, 48] = 60_000
    Image.fromarray(depth).save(file)
    assert gen(folder.parent) == 0
    assert record(folder.parent)["geometry"]["voxel_edge"] < 0.2


def test_a_scene_in_doubt_is_warned_of_and_refused_when_strict(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gen(folder.parent, "--strict") == 0, "right data pass"
    assert record(folder.parent)["geometry"]["agreement"]["error"] < 0.005
    cameras = json.loads((folder / "cameras.json").read_text())
    cameras["w2c"] = np.linalg.inv(np.array(cameras["w2c"])).tolist()
    (folder.parent.parent / "wrong" / "upside").mkdir(parents=True)
    folder.rename(folder.parent.parent / "wrong" / "upside" / "room")
    wrong = folder.parent.parent / "wrong" / "upside"
    (wrong / "room" / "cameras.json").write_text(json.dumps(cameras))
    capsys.readouterr()
    assert gen(wrong, "--set", "dataset_options.prefer=video") == 0
    assert "warning: room: depth and cameras disagree" in capsys.readouterr().err
    assert gen(wrong, "--set", "dataset_options.prefer=video", "--strict") == 1
    assert "world-to-camera matrices read as camera-to-world" in capsys.readouterr().out


def test_a_few_frames_of_a_long_walk_are_not_called_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: exact scenes are doubted because their frames hardly see one another, and doubts are not read."""
    options = [f"--set=dataset_options.{pair}" for pair in ("count=2", "frames=16", "width=80", "height=60")]
    assert run(["-w", str(tmp_path), "gen", "--sampler", "sa", "--frames", "8", *options]) == 0
    assert "disagree" not in capsys.readouterr().err
