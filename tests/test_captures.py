"""Captures people have, each in its own layout: the same room comes out of every one of them."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.captures import COLOUR, LIDAR, WRITERS, c2w, instant_ngp, polycam, r3d, stray, write_exr
from support.commands import smx
from support.licensed import camera_of, depth_maps, pictures

from smx.datasets import Scene
from smx.datasets._frame_reader import read_depth
from smx.datasets.frames import Dataset
from smx.errors import SceneError, UserError
from smx.geometry.lenses import Lens, undistorted
from smx.geometry.poses import read_colmap, read_nerfstudio
from smx.rooms import RoomScene, named_scene

PUBLISHED = {"tum": (525, 525, 319.5, 239.5), "7scenes": (585, 585, 320, 240)}
WITHOUT_DEPTH = ("kitti", "euroc")


@pytest.fixture(scope="module")
def room() -> RoomScene:
    whole = named_scene("test-000", frames=40, width=96, height=72)
    return replace(whole, w2c=whole.w2c[::8])


def opened(root: Path, **options: object) -> Scene:
    dataset = Dataset.parse(options, "dataset frames")
    (scene,) = dataset.scenes(root)
    return dataset.open(root, scene)


@pytest.mark.parametrize("name", WRITERS)
def test_a_capture_is_read_as_its_app_wrote_it(name: str, tmp_path: Path, room: RoomScene) -> None:
    """Lost otherwise: a capture that is refused, or seen mirrored, five times as far, or by the wrong lens."""
    writer, place, options = WRITERS[name]
    if "r3d" in name or "record3d" in name:
        pytest.importorskip("liblzfse" if "exr" not in name else "OpenEXR")
    writer(room, tmp_path / place)
    root = (tmp_path / place).parent if name != "tum" else tmp_path / place
    scene = opened(root, **options)
    assert len(scene.frame_ids) == len(room.w2c)
    cameras = scene.cameras(scene.frame_ids.tolist())
    assert cameras is not None
    np.testing.assert_allclose(cameras.w2c, room.w2c, atol=1e-6)
    fx, fy, cx, cy = PUBLISHED.get(name, camera_of(room, COLOUR).K[[0, 1, 0, 1], [0, 1, 2, 2]])
    np.testing.assert_allclose(cameras.K[0], np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), atol=1e-6)
    last = int(scene.frame_ids[-1])
    ((_, pixels),) = scene.decode([last])
    truth = pictures(room, (scene.width, scene.height))[-1].astype(int)
    shown = truth if name != "euroc" else truth @ [0.299, 0.587, 0.114]
    assert np.abs(np.asarray(pixels if name != "euroc" else pixels[..., 0], dtype=int) - shown).mean() < 6
    found = scene.depth(last)
    if name in WITHOUT_DEPTH:
        assert found is None
        return
    assert found is not None
    metres, K = found
    true_depth = depth_maps(room, (metres.shape[1], metres.shape[0]))[-1]
    assert np.nanmax(np.abs(metres - true_depth)) < 0.002
    if name not in PUBLISHED:
        np.testing.assert_allclose(K, camera_of(room, (metres.shape[1], metres.shape[0])).K, atol=1e-6)


def test_captures_are_sampled_by_one_command(
    tmp_path: Path, room: RoomScene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`smx gen --root stray_capture/` needs no further word; what it depends on is recorded."""
    stray(room, tmp_path / "walk")
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "lab"))
    command = ["gen", "--dataset", "frames", "--root", str(tmp_path / "walk"), "--sampler", "sa", "--frames", "4"]
    assert smx(*command) == 0
    assert "coverage" in capsys.readouterr().out
    before = Dataset().inputs(tmp_path / "walk", ["walk"])
    (tmp_path / "walk" / "odometry.csv").write_text((tmp_path / "walk" / "odometry.csv").read_text() + "\n")
    assert Dataset().inputs(tmp_path / "walk", ["walk"]) != before
    assert smx(*command, "--dry-run") == 0
    assert "new" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_a_recording_cut_off_is_one_sentence_and_others_go_on(cut: float, tmp_path: Path, room: RoomScene) -> None:
    """Lost otherwise: a traceback of zipfile, or every recording of the folder because of one."""
    pytest.importorskip("liblzfse")
    r3d(room, tmp_path / "whole.r3d")
    data = (tmp_path / "whole.r3d").read_bytes()
    (tmp_path / "half.r3d").write_bytes(data[: int(cut * len(data))])
    dataset = Dataset()
    assert dataset.scenes(tmp_path) == ["half", "whole"]
    with pytest.raises(SceneError, match=r"half.r3d: no whole .r3d file .*share it from the app once more"):
        dataset.open(tmp_path, "half")
    assert len(dataset.open(tmp_path, "whole").frame_ids) == len(room.w2c)


def test_a_damaged_frame_of_a_recording_is_named(tmp_path: Path, room: RoomScene) -> None:
    pytest.importorskip("liblzfse")
    r3d(room, tmp_path / "walk.r3d")
    with zipfile.ZipFile(tmp_path / "walk.r3d") as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["rgbd/1.depth"] = b"nothing"
    parts["rgbd/2.jpg"] = b"nothing"
    parts["../rgbd/9.jpg"] = b"of no recording"
    with zipfile.ZipFile(tmp_path / "walk.r3d", "w") as file:
        for name, data in parts.items():
            file.writestr(name, data)
    scene = opened(tmp_path)
    assert scene.frame_ids.tolist() == list(range(len(room.w2c)))
    with pytest.raises(SceneError, match="depth of frame 1 is damaged"):
        scene.depth(1)
    with pytest.raises(SceneError, match=r"rgbd/2.jpg cannot be read as an image"):
        list(scene.decode([2]))
    assert scene.depth(3) is not None


def test_polycams_own_poses_serve_where_none_were_corrected(tmp_path: Path, room: RoomScene) -> None:
    polycam(room, tmp_path / "walk")
    for name in ("corrected_images", "corrected_cameras"):
        (tmp_path / "walk" / "keyframes" / name).rename(tmp_path / name)
    cameras = opened(tmp_path / "walk").cameras(list(opened(tmp_path / "walk").frame_ids))
    assert cameras is not None
    np.testing.assert_allclose(np.linalg.inv(cameras.w2c)[:, 0, 3], c2w(room)[:, 0, 3] + 5, atol=1e-6)


# --- depth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".npy", ".exr", ".tiff", "int.npy"])
def test_depth_of_every_format(ending: str, tmp_path: Path) -> None:
    """Whole numbers are millimetres and floats metres, unless the scale is said; what was not measured is NaN."""
    metres = np.array([[0.5, 1.25], [0.0, 3.0]], np.float32)
    path = tmp_path / f"1{ending}"
    whole = np.round(metres * 1000).astype(np.uint16)
    if ending == ".exr":
        pytest.importorskip("OpenEXR")
        write_exr(path, metres, "Z")
    elif ending.endswith(".npy"):
        np.save(path, whole if ending == "int.npy" else metres)
    else:
        Image.fromarray(whole if ending == ".png" else metres).save(path)
    expected = np.where(metres > 0, metres, np.nan)
    np.testing.assert_allclose(read_depth(path, None), expected, rtol=1e-6)
    unit = 1000 if ending in (".png", "int.npy") else 1
    np.testing.assert_allclose(read_depth(path, 2.0), expected * unit / 2, rtol=1e-6)


@pytest.mark.parametrize("ending", [".png", ".npy", ".exr", ".tiff"])
def test_a_depth_map_that_is_none_is_named(ending: str, tmp_path: Path) -> None:
    if ending == ".exr":
        pytest.importorskip("OpenEXR")
    path = tmp_path / f"map{ending}"
    path.write_bytes(b"\x93NUMPY\x01\x00nothing of the kind")
    with pytest.raises(SceneError, match=rf"map\{ending}: cannot be read as a depth map"):
        read_depth(path, None)
    np.save(tmp_path / "three.npy", np.zeros((4, 4, 3), np.float32))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    with pytest.raises(SceneError, match="4x4x3 of float32, a depth map is one number a pixel"):
        read_depth(tmp_path / "three.npy", None)
    with pytest.raises(SceneError, match="cannot be read"):
        read_depth(tmp_path / "pickled.npy", None)


# --- COLMAP's own files, by COLMAP ---------------------------------------------------------------------------


def colmap_model(room: RoomScene, folder: Path, form: str, model: str = "PINHOLE", *bend: float) -> None:
    """Written by pycolmap: every other image by the second camera of a rig."""
    import pycolmap

    from smx.geometry.cameras import inverse

    K = camera_of(room, COLOUR).K
    params = [K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5, *bend]
    reconstruction = pycolmap.Reconstruction()
    for camera in (1, 2):
        reconstruction.add_camera(
            pycolmap.Camera(camera_id=camera, model=model, width=COLOUR[0], height=COLOUR[1], params=params)
        )
    beside = np.eye(4)
    beside[:3, 3] = [0.2, 0.1, 0]
    first = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 1)
    second = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 2)
    rig = pycolmap.Rig(rig_id=1)
    rig.add_ref_sensor(first)
    rig.add_sensor(second, pycolmap.Rigid3d(beside[:3]))
    reconstruction.add_rig(rig)
    for i, w2c in enumerate(room.w2c):
        sensor, pose = (second, inverse(beside) @ w2c) if i % 2 else (first, w2c)
        frame = pycolmap.Frame(frame_id=i + 1, rig_id=1)
        frame.rig_from_world = pycolmap.Rigid3d(pose[:3])
        frame.add_data_id(pycolmap.data_t(sensor, i + 1))
        reconstruction.add_frame(frame)
        points = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.0, 2.0]))] * (i % 3))
        image = pycolmap.Image(name=f"{i:04d}.png", points2D=points, camera_id=1 + i % 2, image_id=i + 1)
        image.frame_id = i + 1
        reconstruction.add_image(image)
        reconstruction.register_frame(i + 1)
    folder.mkdir(parents=True, exist_ok=True)
    (reconstruction.write_binary if form == "binary" else reconstruction.write_text)(folder)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_colmaps_own_models_with_rigs(form: str, tmp_path: Path, room: RoomScene) -> None:
    """Lost otherwise: binary models, which COLMAP writes by default, and poses that rigs compose."""
    pytest.importorskip("pycolmap")
    colmap_model(room, tmp_path, form)
    read = read_colmap(tmp_path)
    assert read.names is not None
    assert read.K is not None
    order = np.argsort(read.names)
    np.testing.assert_allclose(read.w2c[order], room.w2c, atol=1e-9)
    np.testing.assert_allclose(read.K[0], camera_of(room, COLOUR).K, atol=1e-9)
    assert read.size == COLOUR


def test_a_binary_model_cut_off_is_named(tmp_path: Path, room: RoomScene) -> None:
    pytest.importorskip("pycolmap")
    colmap_model(room, tmp_path, "binary")
    for name in ("cameras", "images", "rigs", "frames"):
        data = (tmp_path / f"{name}.bin").read_bytes()
        for damaged, message in ((data[:-7], "the file ends inside entry"), (data + b"ab", "2 bytes after the last")):
            (tmp_path / f"{name}.bin").write_bytes(damaged)
            with pytest.raises(SceneError, match=rf"{name}.bin.*{message}"):
                read_colmap(tmp_path)
        (tmp_path / f"{name}.bin").write_bytes(data)


# --- lenses --------------------------------------------------------------------------------------------------

BENT = {"OPENCV": (-0.2, 0.05, 0.002, -0.001), "OPENCV_FISHEYE": (0.05, -0.01, 0.0, 0.0)}


@pytest.mark.parametrize("model", BENT)
def test_pictures_and_depth_of_a_lens_are_undistorted(model: str, tmp_path: Path, room: RoomScene) -> None:
    """What the lens bent, by COLMAP's own formula for seeing, is straight again: a pinhole's picture of the room."""
    pycolmap = pytest.importorskip("pycolmap")
    colmap_model(room, tmp_path / "sparse" / "0", "binary", model, *BENT[model])
    K = camera_of(room, COLOUR).K
    params = (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5, *BENT[model])
    lens = Lens(model, params, COLOUR)
    camera = pycolmap.Camera(model=model, width=COLOUR[0], height=COLOUR[1], params=params)
    u, v = np.meshgrid(np.arange(COLOUR[0]) + 0.5, np.arange(COLOUR[1]) + 0.5)
    rays = camera.cam_from_img(np.stack([u, v], axis=-1).reshape(-1, 2))[:, :2].reshape(*u.shape, 2)
    at = (rays * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]])[..., ::-1]  # of the pinhole's picture: row, column
    from scipy.ndimage import map_coordinates

    columns, rows = np.meshgrid(np.arange(COLOUR[0]), np.arange(COLOUR[1]))
    slope = np.stack([2 * columns, 3 * rows, columns + rows], axis=-1).astype(np.uint8)
    truth, maps = [slope] * len(room.w2c), depth_maps(room, COLOUR)
    for name in ("images", "depth"):
        (tmp_path / name).mkdir()
    for i, (pixels, depth) in enumerate(zip(truth, maps, strict=True)):
        seen = [map_coordinates(pixels[..., c], np.moveaxis(at, -1, 0), order=1, mode="nearest") for c in range(3)]
        Image.fromarray(np.stack(seen, axis=-1)).save(tmp_path / "images" / f"{i:04d}.png")
        measured = map_coordinates(depth, np.moveaxis(at, -1, 0), order=0, mode="nearest")
        np.save(tmp_path / "depth" / f"{i:04d}.npy", measured)
    with pytest.raises(SceneError, match=r"cameras.bin.*option distortion: undistort"):
        opened(tmp_path, metric=True).cameras([0])
    scene = opened(tmp_path, metric=True, distortion="undistort")
    ((_, pixels),) = scene.decode([1])
    ((_, bent),) = opened(tmp_path, metric=True, distortion="leave-out", poses="none").decode([1])
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(bent[inner].astype(int) - slope[inner]).max() > 4
    assert np.abs(pixels[inner].astype(int) - slope[inner]).max() <= 2
    found, cameras = scene.depth(1), scene.cameras([1])
    assert found is not None
    assert cameras is not None
    assert np.nanmedian(np.abs(found[0][inner] - maps[1][inner])) < 0.02
    np.testing.assert_allclose(cameras.K[0], lens.K, atol=1e-9)
    assert scene.source()["cameras"]["distortion"] == "undistort"
    straight = Lens("PINHOLE", params[:4], COLOUR)
    np.testing.assert_array_equal(undistorted(truth[0], straight), truth[0])


def test_a_lens_that_does_not_bend_is_a_pinhole(tmp_path: Path, room: RoomScene) -> None:
    pytest.importorskip("pycolmap")
    colmap_model(room, tmp_path, "text", "FULL_OPENCV", *[0.0] * 8)
    read = read_colmap(tmp_path)
    assert read.lenses is None
    assert read_colmap(tmp_path, distortion="undistort").lenses is None


def test_intrinsics_of_each_frame_count(tmp_path: Path, room: RoomScene) -> None:
    """nerfstudio and instant-ngp: a frame's own fl_x before the file's angle."""
    instant_ngp(room, tmp_path / "lego")
    path = tmp_path / "lego" / "transforms.json"
    data = json.loads(path.read_text())
    data["frames"][1] |= {"fl_x": 50.0, "fl_y": 60.0, "cx": 40.0, "cy": 30.0}
    path.write_text(json.dumps(data))
    read = read_nerfstudio(path, size=COLOUR)
    assert read.K is not None
    np.testing.assert_allclose(read.K[1], np.array([[50, 0, 39.5], [0, 60, 29.5], [0, 0, 1]]))
    np.testing.assert_allclose(read.K[0], camera_of(room, COLOUR).K, atol=1e-9)
    with pytest.raises(SceneError, match=r"fl_x \(or camera_angle_x\), w and h are needed"):
        read_nerfstudio(path)


def test_what_a_capture_lacks_is_said(tmp_path: Path, room: RoomScene) -> None:
    stray(room, tmp_path / "walk")
    (tmp_path / "walk" / "odometry.csv").write_text("timestamp, frame, x\n1, 2, 3\n")
    with pytest.raises(SceneError, match=r"odometry.csv: expected a header with timestamp, frame, x, y, z, qx"):
        opened(tmp_path).cameras([0])
    with pytest.raises(UserError, match="distortion"):
        opened(tmp_path, distortion="bend")
    assert LIDAR[0] < COLOUR[0]
