"""ScanNet: cameras and depth of both layouts, proved against the room they were made from."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.licensed import COLOUR, DEPTH, camera_of, scannet_exported, scannet_sens
from support.reprojection import colour_errors, errors, wide_pairs

from smx.datasets import Scene
from smx.datasets.scannet import Dataset
from smx.errors import SceneError, UserError
from smx.geometry.cameras import inverse
from smx.rooms import RoomScene, named_scene

SCENE = "scene0000_00"
LOST = (3, 11)
LAYOUTS = ("exported", "shrunk", "sens")


@pytest.fixture(scope="module")
def room() -> RoomScene:
    return named_scene("test-001", frames=32, width=DEPTH[0], height=DEPTH[1])


@pytest.fixture(scope="module")
def roots(room: RoomScene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A root for each layout. `shrunk`: pictures exported at 160x120 with the intrinsics of 324x242."""
    root = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    scannet_exported(room, root["exported"] / "scans" / SCENE, lost=LOST)
    scannet_exported(room, root["shrunk"] / SCENE, lost=LOST, shrunk_to=DEPTH)
    scannet_sens(room, root["sens"] / "scans" / SCENE / f"{SCENE}.sens", lost=LOST)
    return root


def opened(root: Path, **options: Any) -> Scene:
    dataset = Dataset.parse(options, "dataset scannet")
    assert dataset.scenes(root) == [SCENE]
    return dataset.open(root, SCENE)


def cameras(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    found = scene.cameras(scene.frame_ids.tolist())
    assert found is not None
    assert found.metric
    return found.w2c, found.K


@pytest.mark.parametrize("layout", LAYOUTS)
def test_depth_and_colour_of_one_frame_agree_with_anothers(
    layout: str, roots: dict[str, Path], room: RoomScene
) -> None:
    """Lost otherwise: poses read the wrong way round, or intrinsics of another size, and every overlap is fiction."""
    scene = opened(roots[layout])
    w2c, K = cameras(scene)
    pairs = [pair for pair in wide_pairs(room.w2c, every=1, step=1, apart=4) if not set(pair) & set(LOST)]
    right = errors(scene, w2c, pairs, stride=2)
    judged = np.isfinite(right)
    assert judged.sum() >= 8
    assert np.median(right[judged]) <= 0.01
    wrong = np.nan_to_num(errors(scene, inverse(w2c), pairs, stride=2), nan=np.inf)[judged]
    assert np.median(wrong) >= 0.2
    seen = colour_errors(scene, w2c, K, pairs)
    swollen = K * np.array(
        [[1.1], [1.0], [1.0]]
    )  # fx and cx of a picture a tenth wider: the slip of scaling by one factor
    assert np.nanmedian(seen) < 0.6 * np.nanmedian(colour_errors(scene, w2c, swollen, pairs))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cameras_are_the_rooms(layout: str, roots: dict[str, Path], room: RoomScene) -> None:
    """Lost otherwise: fx and fy scaled together when a picture was resized by other factors along its sides."""
    scene = opened(roots[layout])
    w2c, K = cameras(scene)
    kept = np.setdiff1d(np.arange(len(w2c)), LOST)
    np.testing.assert_allclose(w2c[kept], room.w2c[kept], atol=2e-5)
    assert np.isnan(w2c[list(LOST)]).all(), "a lost frame has a camera"
    truth = camera_of(room, DEPTH if layout == "shrunk" else COLOUR)
    assert (scene.width, scene.height) == (truth.width, truth.height)
    np.testing.assert_allclose(K[0], truth.K, atol=1e-4)
    found = scene.depth(5)
    assert found is not None
    assert found[0].shape == DEPTH[::-1]
    np.testing.assert_allclose(found[1], camera_of(room, DEPTH).K, atol=1e-4)
    assert scene.source()["cameras"]["lost"] == len(LOST)
    assert scene.fps == pytest.approx(30, abs=0.01)


def test_both_layouts_show_the_same_frames(roots: dict[str, Path]) -> None:
    first, second = opened(roots["exported"]), opened(roots["sens"])
    ids = [7, 0, 31]
    for (i, one), (j, two) in zip(first.decode(ids), second.decode(ids), strict=True):
        assert i == j
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(first.timestamps(), second.timestamps(), atol=1e-3)


def test_intrinsics_of_the_real_camera_serve_pictures_of_any_size(tmp_path: Path, room: RoomScene) -> None:
    """Without `<scene>.txt`, an `intrinsic_color.txt` around cx 648 is for 1296x968, whatever the size of the jpgs."""
    folder = scannet_exported(room, tmp_path / SCENE, shrunk_to=DEPTH, scan_info=False)
    full = camera_of(room, (1296, 968)).K
    rows = [[full[0, 0], 0, full[0, 2], 0], [0, full[1, 1], full[1, 2], 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    path = folder / "intrinsic" / "intrinsic_color.txt"
    path.write_text("\n".join(" ".join(map(str, row)) for row in rows))
    np.testing.assert_allclose(cameras(opened(tmp_path))[1][0], room.K, atol=1e-6)
    path.write_text("500 0 200 0\n0 500 130 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(SceneError, match=r"intrinsic_color.txt: cx 200, cy 130 is not the middle of a 160x120"):
        opened(tmp_path).cameras([0])


def test_frames_keep_their_numbers_when_some_were_not_exported(tmp_path: Path, room: RoomScene) -> None:
    scannet_exported(room, tmp_path / SCENE, skip=5)
    scene = opened(tmp_path)
    assert scene.frame_ids.tolist() == [0, 5, 10, 15, 20, 25, 30]
    np.testing.assert_allclose(cameras(scene)[0][2], room.w2c[10], atol=2e-5)


def test_frames_without_a_pose_file_are_lost_and_poses_of_others_an_error(tmp_path: Path, room: RoomScene) -> None:
    folder = scannet_exported(room, tmp_path / SCENE)
    (folder / "pose" / "4.txt").unlink()
    assert np.isnan(cameras(opened(tmp_path))[0][4]).all()
    for file in list((folder / "pose").iterdir()):
        file.rename(file.with_stem(str(int(file.stem) + 500)))
    with pytest.raises(SceneError, match=r"pose: numbered 500 to 531, the frames 0 to 31"):
        opened(tmp_path).cameras([0])


def test_every_pose_lost_names_the_scene(tmp_path: Path, room: RoomScene) -> None:
    scannet_sens(room, tmp_path / SCENE / f"{SCENE}.sens", lost=range(32))
    with pytest.raises(SceneError, match=rf"scene '{SCENE}': every pose in {SCENE}.sens is lost"):
        opened(tmp_path).cameras([0])


def test_a_sens_that_was_cut_short_gives_the_frames_it_holds(tmp_path: Path, room: RoomScene) -> None:
    path = scannet_sens(room, tmp_path / SCENE / f"{SCENE}.sens", declared=40)
    path.write_bytes(path.read_bytes()[:-100])
    scene = opened(tmp_path)
    assert scene.frame_ids.tolist() == list(range(31))
    assert scene.source()["frames_declared"] == 40
    assert len(list(scene.decode([30]))) == 1
    with pytest.raises(SceneError, match=r"scene0000_00.sens: there is no frame 31, the file has 31 .*says 40"):
        list(scene.decode([31]))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SceneError, match=r"scene0000_00.sens: the file ends inside its header"):
        opened(tmp_path)


def test_a_damaged_blob_names_file_and_frame(tmp_path: Path, room: RoomScene) -> None:
    path = scannet_sens(room, tmp_path / SCENE / f"{SCENE}.sens")
    data = path.read_bytes()
    second = data.index(b"\xff\xd8\xff", data.index(b"\xff\xd9") + 2)  # the second jpeg
    path.write_bytes(data[:second] + bytes(64) + data[second + 64 : -40] + bytes(40))
    scene = opened(tmp_path)
    with pytest.raises(SceneError, match=r"scene0000_00.sens: frame 1: damaged"):
        list(scene.decode([0, 1]))
    with pytest.raises(SceneError, match=r"scene0000_00.sens: depth of frame 31: damaged"):
        scene.depth(31)


def test_another_version_or_codec_is_refused(tmp_path: Path, room: RoomScene) -> None:
    path = scannet_sens(room, tmp_path / SCENE / f"{SCENE}.sens", depth_codec=2)
    with pytest.raises(SceneError, match="depth of frame 0: codec 2"):
        opened(tmp_path).depth(0)
    path.write_bytes(struct.pack("<I", 3) + path.read_bytes()[4:])
    with pytest.raises(SceneError, match="version 3 of the format, 4 is known"):
        opened(tmp_path)


def test_times_that_do_not_rise_are_not_believed(tmp_path: Path, room: RoomScene) -> None:
    scannet_sens(room, tmp_path / SCENE / f"{SCENE}.sens", microseconds=0)
    scene = opened(tmp_path)
    np.testing.assert_allclose(scene.timestamps(), scene.frame_ids / 30)
    assert "do not rise" in scene.source()["times"]


def test_depth_of_another_size_and_an_empty_scene_name_the_file(tmp_path: Path, room: RoomScene) -> None:
    folder = scannet_exported(room, tmp_path / SCENE)
    (folder / "intrinsic" / "intrinsic_depth.txt").write_text("577 0 319.5 0\n0 577 239.5 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(SceneError, match=r"depth/0.png: 160x120, not the size its intrinsics are for \(cx 319.5\)"):
        opened(tmp_path).depth(0)
    for file in list((folder / "color").iterdir()):
        file.unlink()
    with pytest.raises(SceneError, match=rf"{SCENE}/color: an empty scene"):
        opened(tmp_path)


def test_a_root_without_scans_and_a_misspelt_scan_say_what_was_looked_for(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no scene under") as nothing:
        Dataset().scenes(tmp_path)
    assert "color/0.jpg" in nothing.value.hint
    with pytest.raises(UserError, match="scene0000_0'") as misspelt:
        Dataset().open(roots["sens"], "scene0000_0")
    assert f"did you mean {SCENE}" in misspelt.value.hint
    with pytest.raises(SceneError, match=r"no .sens file here; the option prefer: exported"):
        opened(roots["exported"], prefer="sens")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_record_names_no_place_and_the_digest_follows_the_data(layout: str, roots: dict[str, Path]) -> None:
    root = roots[layout]
    assert str(root) not in json.dumps(opened(root).source())
    before = Dataset().digest(root)
    extra = root / "scans" if (root / "scans").is_dir() else root
    (extra / "notes.txt").write_text("nothing to do with it")
    assert Dataset().digest(root) == before
