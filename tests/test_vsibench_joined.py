"""VSI-Bench's videos joined with the datasets they were made from: the k-th frame is the k-th frame, or an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.licensed import DEPTH, arkitscenes, scannet_sens, scannetpp_iphone, upright_camera
from support.reprojection import errors, wide_pairs

from smx import video
from smx.datasets.vsibench import Dataset
from smx.errors import SceneError
from smx.geometry.cameras import inverse, resize_intrinsics
from smx.rooms import RoomScene, named_scene, render

JOINED = Dataset(joined=True)
SCENES = {"scannet": "scene0000_00", "scannetpp": "0a7cc12c0e", "arkitscenes": "41048190"}
VIDEO = (160, 120)


@pytest.fixture(scope="module")
def room() -> RoomScene:
    return named_scene("test-001", frames=32, width=DEPTH[0], height=DEPTH[1])


@pytest.fixture(scope="module")
def root(room: RoomScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three originals and a video of each: ARKit's tablet was held sideways, its video is upright."""
    root = tmp_path_factory.mktemp("vsibench")
    originals = root / "originals"
    scannet_sens(room, originals / "scannet" / "scans" / SCENES["scannet"] / f"{SCENES['scannet']}.sens")
    scannetpp_iphone(room, originals / "scannetpp" / "data" / SCENES["scannetpp"])
    arkitscenes(room, originals / "arkitscenes", SCENES["arkitscenes"], sky="Left")
    for kind, name in SCENES.items():
        (root / kind).mkdir()
        seen = filmed(room, kind)
        video.write(root / kind / f"{name}.mp4", (f.rgb for f in render(seen, range(32))), 30)
    return root


def filmed(room: RoomScene, kind: str) -> RoomScene:
    """The camera of a video: ARKit's is upright, so higher than wide."""
    return upright_camera(room, "Left", VIDEO) if kind == "arkitscenes" else room


@pytest.mark.parametrize("kind", SCENES)
def test_cameras_of_a_joined_video(kind: str, root: Path, room: RoomScene) -> None:
    """Lost otherwise: sa on VSI-Bench's own videos would choose by the poses of other frames, or turned ones."""
    scene = JOINED.open(root, f"{kind}/{SCENES[kind]}")
    found = scene.cameras(scene.frame_ids.tolist())
    assert found is not None
    truth = filmed(room, kind)
    np.testing.assert_allclose(found.w2c, truth.w2c, atol=2e-5)
    assert (scene.width, scene.height) == (truth.width, truth.height)
    K = (
        truth.K
        if kind != "arkitscenes"
        else resize_intrinsics(upright_camera(room, "Left", (256, 192)).K, (192, 256), (120, 160))
    )
    np.testing.assert_allclose(found.K[3], K, atol=1e-3)
    pairs = wide_pairs(room.w2c, every=1, step=1, apart=4)
    right = errors(scene, found.w2c, pairs)
    assert np.nanmedian(right) <= 0.01
    wrong = np.nan_to_num(errors(scene, inverse(found.w2c), pairs), nan=np.inf)
    assert np.median(wrong[np.isfinite(right)]) >= 0.2
    assert scene.source()["cameras"]["lost"] == 0


def test_another_number_of_frames_is_an_error(root: Path, tmp_path: Path, room: RoomScene) -> None:
    """Shifted by one frame, every camera is wrong and nothing looks it."""
    (tmp_path / "scannet").mkdir()
    (tmp_path / "originals").symlink_to(root / "originals")
    name = f"scannet/{SCENES['scannet']}"
    video.write(tmp_path / f"{name}.mp4", (f.rgb for f in render(room, range(31))), 30)
    with pytest.raises(SceneError, match=r"scene0000_00.mp4: 31 frames, the original has 32"):
        JOINED.open(tmp_path, name)
    video.write(tmp_path / "scannet" / "scene0001_00.mp4", (f.rgb for f in render(room, range(4))), 30)
    with pytest.raises(
        SceneError, match=r"no scene 'scene0001_00' to join the video with; looked for originals/scannet"
    ):
        JOINED.open(tmp_path, "scannet/scene0001_00")
    assert JOINED.digest(root) != Dataset().digest(root)


def test_a_video_that_was_not_turned_is_no_match(root: Path, tmp_path: Path, room: RoomScene) -> None:
    (tmp_path / "arkitscenes").mkdir()
    (tmp_path / "originals").symlink_to(root / "originals")
    name = f"arkitscenes/{SCENES['arkitscenes']}"
    video.write(tmp_path / f"{name}.mp4", (f.rgb for f in render(room, range(32))), 30)
    with pytest.raises(SceneError, match=r"41048190.mp4: 160x120, the camera is 192x256: turned or cropped"):
        JOINED.open(tmp_path, name).cameras([0])


def test_what_of_an_original_is_not_used_is_said_of_the_joined_scene(
    root: Path, tmp_path: Path, room: RoomScene
) -> None:
    """Lost otherwise: poses that were not taken are named for ARKitScenes, and pass in silence for VSI-Bench."""
    kind, name = "arkitscenes", SCENES["arkitscenes"]
    arkitscenes(room, tmp_path / "originals" / kind, name, sky="Left")
    (tmp_path / kind).symlink_to(root / kind)
    (trajectory,) = tmp_path.rglob("lowres_wide.traj")
    lines = trajectory.read_text().splitlines()
    trajectory.write_text("\n".join([*lines[:5], lines[4], *lines[5:]]) + "\n")
    (line,) = JOINED.open(tmp_path, f"{kind}/{name}").remarks()
    assert "lowres_wide.traj:6" in line


def test_videos_of_other_endings_are_named(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lost otherwise: questions about them have no scene, and nobody knows why."""
    (tmp_path / "scannet").mkdir()
    (tmp_path / "scannet" / "scene0000_00.mp4").symlink_to(root / "scannet" / "scene0000_00.mp4")
    (tmp_path / "scannet" / "scene0001_00.MOV").write_bytes(b"")
    assert Dataset().scenes(tmp_path) == ["scannet/scene0000_00"]
    assert "scannet/scene0001_00.MOV is skipped" in caplog.text
