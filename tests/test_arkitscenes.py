"""ARKitScenes: axis-angle world-to-camera poses, names by time, tablets held any way up, proved against the room."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.licensed import LOWRES, VGA, arkitscenes, rotation_vector, upright_camera
from support.reprojection import colour_errors, errors, wide_pairs

from smx.datasets import Scene
from smx.datasets.arkitscenes import Dataset
from smx.errors import SceneError, UserError
from smx.geometry.cameras import axis_angle_to_rotation, inverse, quaternion_to_rotation, turned_camera
from smx.rooms import RoomScene, named_scene, render

SCENE = "41048190"
N = 36
SKIES = ("Up", "Left", "Down", "Right")


@pytest.fixture(scope="module")
def room() -> RoomScene:
    return named_scene("test-001", frames=N, width=64, height=48)


@pytest.fixture(scope="module")
def roots(room: RoomScene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for sky in SKIES:
        found[sky] = tmp_path_factory.mktemp(sky)
        arkitscenes(room, found[sky], SCENE, sky=sky, layout="raw" if sky in ("Up", "Left") else "3dod")
    return found


def opened(root: Path, **options: Any) -> Scene:
    dataset = Dataset.parse(options, "dataset arkitscenes")
    assert dataset.scenes(root) == [SCENE]
    return dataset.open(root, SCENE)


def cameras(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    found = scene.cameras(scene.frame_ids.tolist())
    assert found is not None
    assert found.metric
    return found.w2c, found.K


@pytest.mark.parametrize(("sky", "upright"), [*((sky, True) for sky in SKIES), ("Left", False), ("Down", False)])
def test_depth_and_colour_of_one_frame_agree_with_anothers(
    sky: str, upright: bool, roots: dict[str, Path], room: RoomScene
) -> None:
    """Lost otherwise: a picture turned without its camera, or poses read the wrong way round."""
    scene = opened(roots[sky], upright=upright)
    w2c, K = cameras(scene)
    pairs = wide_pairs(room.w2c, every=1, step=1, apart=4)
    right = errors(scene, w2c, pairs)
    judged = np.isfinite(right)
    assert judged.sum() >= 4
    assert np.median(right[judged]) <= 0.01
    assert np.median(np.nan_to_num(errors(scene, inverse(w2c), pairs), nan=np.inf)[judged]) >= 0.2
    # the picture turned once more than its camera
    turned, _ = turned_camera(w2c, K, (scene.width, scene.height), 1)
    mistaken = np.nan_to_num(errors(scene, turned, pairs), nan=np.inf)[judged]
    assert np.median(mistaken) > 5 * np.median(right[judged])
    seen = np.nanmedian(colour_errors(scene, w2c, K, pairs))
    upside_down, K_down = turned_camera(w2c, K, (scene.width, scene.height), 2)
    assert seen < 0.7 * np.nanmedian(colour_errors(scene, upside_down, K_down, pairs))


@pytest.mark.parametrize("sky", SKIES)
def test_upright_frames_have_upright_cameras(sky: str, roots: dict[str, Path], room: RoomScene) -> None:
    """Pictures as the room was seen, sky above; cameras to nine digits of what was written."""
    scene = opened(roots[sky])
    truth = upright_camera(room, sky, LOWRES)
    assert (scene.width, scene.height) == (truth.width, truth.height)
    for frame_id, pixels in scene.decode([0, 7, 35]):
        np.testing.assert_array_equal(pixels, next(render(truth, [frame_id])).rgb)
    w2c, K = cameras(scene)
    np.testing.assert_allclose(w2c, truth.w2c, atol=1e-7)
    np.testing.assert_allclose(K[5], truth.K, atol=1e-5)
    found = scene.depth(7)
    assert found is not None
    np.testing.assert_allclose(found[0], next(render(truth, [7])).depth, atol=0.00051)
    np.testing.assert_allclose(found[1], truth.K, atol=1e-5)
    source = scene.source()
    assert source["turned"] == 90 * SKIES.index(sky)
    assert source["cameras"]["sky_from"] == "metadata.csv"
    assert str(roots[sky]) not in json.dumps(source)


@pytest.mark.parametrize("sky", SKIES)
def test_the_sky_is_found_from_the_poses_where_no_table_says(sky: str, tmp_path: Path, room: RoomScene) -> None:
    arkitscenes(room, tmp_path, SCENE, sky=sky, metadata=False)
    scene = opened(tmp_path)
    assert scene.source()["turned"] == 90 * SKIES.index(sky)
    assert scene.source()["cameras"]["sky_from"] == "trajectory"


def test_vga_pictures_have_the_depth_of_the_small_camera(tmp_path: Path, room: RoomScene) -> None:
    arkitscenes(room, tmp_path, SCENE, camera="vga_wide", sky="Left")
    with pytest.raises(UserError, match="no scene under"):
        Dataset().scenes(tmp_path)
    scene = opened(tmp_path, camera="vga_wide")
    assert (scene.width, scene.height) == VGA[::-1]
    np.testing.assert_allclose(cameras(scene)[1][0], upright_camera(room, "Left", VGA).K, atol=1e-5)
    found = scene.depth(3)
    assert found is not None
    assert found[0].shape == LOWRES
    pairs = wide_pairs(room.w2c, every=1, step=1, apart=4)
    assert np.nanmedian(errors(scene, cameras(scene)[0], pairs)) <= 0.012


def test_frames_between_poses_take_the_nearest_one_in_time(tmp_path: Path, room: RoomScene) -> None:
    arkitscenes(room, tmp_path, SCENE, per_pose=3)
    scene = opened(tmp_path)
    assert len(scene.frame_ids) == 3 * N
    assert scene.fps == pytest.approx(30, rel=0.01)
    w2c, _ = cameras(scene)
    for frame_id in range(3 * (N - 1)):
        pose = frame_id // 3 + (frame_id % 3 > 1)
        np.testing.assert_allclose(w2c[frame_id], room.w2c[pose], atol=1e-7, err_msg=f"frame {frame_id}")


def test_a_gap_in_the_trajectory_leaves_frames_without_a_camera(tmp_path: Path, room: RoomScene) -> None:
    folder = arkitscenes(room, tmp_path, SCENE)
    rows = (folder / "lowres_wide.traj").read_text().splitlines()
    rows[9] = rows[9].split()[0] + " nan nan nan nan nan nan"
    (folder / "lowres_wide.traj").write_text("\n".join(rows[:5] + rows[8:]))
    known = np.isfinite(cameras(opened(tmp_path))[0]).all(axis=(1, 2))
    assert np.flatnonzero(~known).tolist() == [5, 6, 7, 9]


def test_wrong_files_are_named(tmp_path: Path, room: RoomScene) -> None:
    folder = arkitscenes(room, tmp_path, SCENE)
    traj = folder / "lowres_wide.traj"
    rows = traj.read_text().splitlines()
    traj.write_text("\n".join([*rows[:2], "3415.05 0 0 0"]))
    with pytest.raises(SceneError, match=r"lowres_wide.traj:3: expected 7 numbers"):
        opened(tmp_path).cameras([0])
    traj.write_text("\n".join(rows))
    pincam = sorted((folder / "lowres_wide_intrinsics").iterdir())[0]
    pincam.write_text("256 192 0 212 127 95")
    with pytest.raises(SceneError, match=r"pincam: no camera has these intrinsics"):
        opened(tmp_path).cameras([0])
    pincam.write_text("192 256 212 212 95 127")
    with pytest.raises(SceneError, match=r"pincam: 256x192, the camera is 192x256: turned or cropped"):
        opened(tmp_path).cameras([0])
    picture = sorted((folder / "lowres_wide").iterdir())[0]
    picture.with_suffix(".jpg").write_bytes(picture.read_bytes())
    with pytest.raises(SceneError, match=r"timestamp 3414.850 again, as 41048190_3414.850"):
        opened(tmp_path)
    for file in (folder / "lowres_wide").iterdir():
        file.unlink()
    with pytest.raises(SceneError, match=rf"{SCENE}/lowres_wide: an empty scene"):
        opened(tmp_path)


def test_a_table_without_its_columns_is_named(tmp_path: Path, room: RoomScene) -> None:
    arkitscenes(room, tmp_path, SCENE)
    (tmp_path / "raw" / "metadata.csv").write_text("id;sky\n41048190;Left\n")
    with pytest.raises(SceneError, match=r"metadata.csv: no columns video_id and sky_direction"):
        opened(tmp_path)


def test_another_direction_of_the_sky_is_other_data(tmp_path: Path, room: RoomScene) -> None:
    """Lost otherwise: a corrected metadata.csv turns the frames, and the old sample set passes for the new one."""
    arkitscenes(room, tmp_path, SCENE)
    before = Dataset().digest(tmp_path)
    table = tmp_path / "raw" / "metadata.csv"
    table.write_text(table.read_text().replace("Training,Up", "Training,Left"))
    assert Dataset().digest(tmp_path) == before, "another scene's row"
    table.write_text(table.read_text().replace("Validation,Up", "Validation,Left"))
    assert Dataset().digest(tmp_path) != before


def test_axis_angles_are_rotations() -> None:
    """Against scipy, at no angle, tiny ones, half turns and beyond."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 3)) * np.array([0, 1e-12, 1e-6, 0.3, 1, np.pi / 1.7, 2, 4] * 5)[:, None]
    np.testing.assert_allclose(axis_angle_to_rotation(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)
    turn = quaternion_to_rotation(np.array([0.1, -0.7, 0.2, 0.4]))
    np.testing.assert_allclose(axis_angle_to_rotation(rotation_vector(turn)), turn, atol=1e-12)


def test_a_walk_of_which_only_the_video_was_loaded_is_named(
    tmp_path: Path, room: RoomScene, caplog: pytest.LogCaptureFixture
) -> None:
    """Lost otherwise: fewer scenes than were downloaded, and nobody knows why."""
    folder = arkitscenes(room, tmp_path, SCENE)
    (folder.parent / "41048191").mkdir()
    (folder.parent / "41048191" / "41048191.mov").write_bytes(b"")
    assert Dataset().scenes(tmp_path) == [SCENE]
    assert "41048191 is skipped: it has 41048191.mov and no pictures of lowres_wide" in caplog.text
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"walks with a video alone \(41048191.mov\) are not read"):
        Dataset().scenes(tmp_path)
