"""ScanNet++: three kinds of poses and three kinds of depth, proved against the room they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.licensed import (
    DEPTH,
    LIDAR,
    VIDEO,
    camera_of,
    depth_maps,
    scannetpp_dslr,
    scannetpp_iphone,
    write_depth_bin,
)
from support.reprojection import colour_errors, errors, wide_pairs

from smx import video
from smx.datasets import Scene
from smx.datasets._depth_stream import DepthStream
from smx.datasets.scannetpp import Dataset
from smx.errors import SceneError, UserError
from smx.geometry.cameras import inverse
from smx.rooms import RoomScene, named_scene, render

SCENE = "0a7cc12c0e"
LOST = (4, 17)


@pytest.fixture(scope="module")
def room() -> RoomScene:
    return named_scene("test-001", frames=32, width=DEPTH[0], height=DEPTH[1])


@pytest.fixture(scope="module")
def root(room: RoomScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scannetpp")
    scannetpp_iphone(room, folder / "data" / SCENE, lost=LOST, registered=1)
    return folder


def opened(root: Path, **options: Any) -> Scene:
    dataset = Dataset.parse(options, "dataset scannetpp")
    assert dataset.scenes(root) == [SCENE]
    return dataset.open(root, SCENE)


def cameras(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    found = scene.cameras(scene.frame_ids.tolist())
    assert found is not None
    assert found.metric
    return found.w2c, found.K


@pytest.mark.parametrize("poses", ["iphone", "colmap", "nerfstudio"])
def test_depth_and_colour_of_one_frame_agree_with_anothers(poses: str, root: Path, room: RoomScene) -> None:
    """Lost otherwise: axes, swapped rows or the direction of a pose taken wrong, and every overlap is fiction."""
    scene = opened(root, poses=poses)
    w2c, K = cameras(scene)
    pairs = [pair for pair in wide_pairs(room.w2c, every=1, step=1, apart=4) if not set(pair) & set(LOST)]
    right = errors(scene, w2c, pairs)
    judged = np.isfinite(right)
    assert judged.sum() >= 8
    assert np.median(right[judged]) <= 0.01
    flip = np.diag([1.0, -1, -1, 1])
    for mistake in (inverse(w2c), flip @ w2c):
        wrong = np.nan_to_num(errors(scene, mistake, pairs), nan=np.inf)[judged]
        assert np.median(wrong) >= 0.2
    unscaled = K * np.array([[4.0], [4.0], [1.0]])  # of the 1920x1440 camera, taken for the video's
    seen = np.nanmedian(colour_errors(scene, w2c, K, pairs))
    far = colour_errors(scene, w2c, unscaled, pairs)
    assert np.isnan(far).all() or seen < 0.6 * np.nanmedian(far)


@pytest.mark.parametrize("poses", ["iphone", "colmap", "nerfstudio"])
def test_cameras_are_the_rooms(poses: str, root: Path, room: RoomScene) -> None:
    """All three are in the same world: a run may change from one to another without moving the scene."""
    scene = opened(root, poses=poses)
    w2c, K = cameras(scene)
    lost = list(LOST) if poses == "iphone" else []
    kept = np.setdiff1d(np.arange(len(w2c)), lost)
    np.testing.assert_allclose(w2c[kept], room.w2c[kept], atol=1e-9)
    assert np.isnan(w2c[lost]).all()
    assert (scene.width, scene.height) == VIDEO
    np.testing.assert_allclose(K[0], camera_of(room, VIDEO).K, atol=1e-9)
    found = scene.depth(5)
    assert found is not None
    np.testing.assert_allclose(found[1], camera_of(room, LIDAR).K, atol=1e-9)
    source = scene.source()
    assert source["cameras"]["lost"] == len(lost)
    assert str(root) not in json.dumps(source)


def test_frames_colmap_did_not_register_are_lost(tmp_path: Path, room: RoomScene) -> None:
    scannetpp_iphone(room, tmp_path / SCENE, registered=3)
    w2c, _ = cameras(opened(tmp_path, poses="colmap"))
    known = np.isfinite(w2c).all(axis=(1, 2))
    assert np.flatnonzero(known).tolist() == list(range(0, 32, 3))


def test_arkits_own_world_serves_where_nothing_was_aligned(tmp_path: Path, room: RoomScene) -> None:
    scannetpp_iphone(room, tmp_path / SCENE, lost=range(32))
    scene = opened(tmp_path)
    pairs = wide_pairs(room.w2c, every=1, step=1, apart=4)
    assert np.nanmedian(errors(scene, cameras(scene)[0], pairs)) <= 0.01
    assert scene.source()["cameras"]["format"] == "iphone pose"


@pytest.mark.parametrize("format", ["lz4", "deflate", "stream"])
def test_each_release_of_depth_reads_back(format: Any, tmp_path: Path, room: RoomScene) -> None:
    maps = depth_maps(room, LIDAR)[:6]
    maps[2][:5] = 0  # the sensor saw nothing there
    write_depth_bin(maps, tmp_path / "depth.bin", format)
    stream = DepthStream(tmp_path / "depth.bin")
    for i in (0, 3, 5, 2, 2):  # forward and back
        found = stream.read(i)
        assert found is not None
        np.testing.assert_allclose(np.nan_to_num(found), maps[i], atol=0.00051)
        assert np.isnan(found).sum() == (maps[i] == 0).sum()
    assert stream.read(6) is None


@pytest.mark.parametrize("format", ["lz4", "deflate", "stream"])
def test_depth_that_was_cut_short_or_damaged(format: Any, tmp_path: Path, room: RoomScene) -> None:
    """The maps that exist, None for those that do not, an error with file and frame for a damaged one."""
    path = tmp_path / "depth.bin"
    write_depth_bin(depth_maps(room, LIDAR)[:4], path, format)
    data = path.read_bytes()
    path.write_bytes(data[:-50])
    stream = DepthStream(path)
    assert stream.read(0) is not None
    assert stream.read(3) is None
    # Deflate has no checksum: only a block's first bits, which say how it is packed, can be wrong for certain.
    at = {"lz4": len(data) // 2, "deflate": 4, "stream": 0}[format]
    path.write_bytes(data[:at] + b"\xff" * 400 + data[at + 400 :])
    stream = DepthStream(path)
    with pytest.raises(SceneError, match=r"depth.bin: (frame \d|damaged from frame \d)"):
        list(map(stream.read, range(4)))


def test_extracted_frames_and_maps_read_like_the_streams(root: Path, tmp_path: Path, room: RoomScene) -> None:
    """The toolkit unpacks rgb.mkv and depth.bin to rgb/frame_000000.jpg and depth/frame_000000.png."""
    from PIL import Image

    scannetpp_iphone(room, tmp_path / SCENE)
    iphone = tmp_path / SCENE / "iphone"
    for name, whole in (("rgb", "rgb.mkv"), ("depth", "depth.bin")):
        (iphone / name).mkdir()
        (iphone / whole).unlink()
    for i in range(0, 32, 10):
        Image.fromarray(next(render(camera_of(room, VIDEO), [i])).rgb).save(iphone / "rgb" / f"frame_{i:06d}.jpg")
        metres = depth_maps(room, LIDAR)[i]
        Image.fromarray(np.round(metres * 1000).astype(np.uint16)).save(iphone / "depth" / f"frame_{i:06d}.png")
    scene = opened(tmp_path)
    assert scene.frame_ids.tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(cameras(scene)[0][2], room.w2c[20], atol=1e-9)
    one, two = scene.depth(10), opened(root).depth(10)
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one[0], two[0])
    np.testing.assert_allclose(one[1], two[1])


def test_the_dslr_is_a_fisheye_until_it_is_undistorted(tmp_path: Path, room: RoomScene) -> None:
    scannetpp_dslr(room, tmp_path / "raw" / SCENE, undistorted=False)
    with pytest.raises(SceneError, match=rf"{SCENE}/dslr: fisheye pictures; undistort them .*camera: iphone"):
        opened(tmp_path / "raw", camera="dslr")
    with pytest.raises(UserError, match="no scene under"):
        Dataset().scenes(tmp_path / "raw")
    scannetpp_dslr(room, tmp_path / "done" / SCENE, undistorted=True)
    scene = opened(tmp_path / "done", camera="dslr")
    w2c, K = cameras(scene)
    np.testing.assert_allclose(w2c, room.w2c, atol=1e-9)
    np.testing.assert_allclose(K[0], room.K, atol=1e-9)
    assert scene.depth(0) is None


def test_poses_of_other_frames_and_an_empty_scene_name_the_file(tmp_path: Path, room: RoomScene) -> None:
    scannetpp_iphone(room, tmp_path / SCENE)
    path = tmp_path / SCENE / "iphone" / "pose_intrinsic_imu.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({f"frame_{i + 900:06d}": entry for i, entry in enumerate(entries.values())}))
    with pytest.raises(SceneError, match=r"pose_intrinsic_imu.json: frames 900 to 931, the scene has 0 to 31"):
        opened(tmp_path).cameras([0])
    for number in range(3, 8):
        entries[f"frame_{number:06d}"]["aligned_pose"][0][0] = 7
    path.write_text(json.dumps(entries))
    with pytest.raises(SceneError, match=r"pose_intrinsic_imu.json: frame_000003: aligned_pose: not a rigid motion"):
        opened(tmp_path).cameras([0])
    (tmp_path / SCENE / "iphone" / "rgb.mkv").unlink()
    with pytest.raises(SceneError, match=rf"{SCENE}/iphone: an empty scene"):
        opened(tmp_path)


def test_a_video_turned_by_its_tag_is_no_match_for_the_cameras(tmp_path: Path, room: RoomScene) -> None:
    """Intrinsics of the lying camera would be wrong for standing frames, and nothing would look it."""
    scannetpp_iphone(room, tmp_path / SCENE)
    iphone = tmp_path / SCENE / "iphone"
    (iphone / "rgb.mkv").unlink()
    video.write(iphone / "rgb.mp4", (np.rot90(f.rgb) for f in render(camera_of(room, VIDEO), range(4))), 30)
    with pytest.raises(SceneError, match=r"pose_intrinsic_imu.json: 360x480, the camera is 1920x1440: turned"):
        opened(tmp_path).cameras([0])


def test_fewer_frames_than_poses_keep_their_numbers(tmp_path: Path, room: RoomScene) -> None:
    """A video that ends early: the poses that go with its frames stay with them."""
    scannetpp_iphone(room, tmp_path / SCENE)
    iphone = tmp_path / SCENE / "iphone"
    (iphone / "rgb.mkv").unlink()
    video.write(iphone / "rgb.mp4", (f.rgb for f in render(camera_of(room, VIDEO), range(9))), 30)
    scene = opened(tmp_path)
    np.testing.assert_allclose(cameras(scene)[0], room.w2c[:9], atol=1e-9)
    with pytest.raises(SceneError, match="there is no frame 9"):
        scene.cameras([9])
