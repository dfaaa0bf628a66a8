"""Camera files: every format lands on the same known cameras, and broken files say where they are broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smx.errors import SceneError
from smx.geometry import poses
from smx.geometry.cameras import (
    centres,
    inverse,
    is_rigid,
    project,
    quaternion_to_rotation,
    resize_intrinsics,
    rotation_angle,
    transform_points,
    unproject,
)

K = np.array([[410.0, 0, 311.25], [0, 395.0, 246.5], [0, 0, 1]])
SIZE = (640, 480)
N = 6


def rodrigues(axis_angle: np.ndarray) -> np.ndarray:
    """Rotation of an axis-angle vector by its power series: slow, and unlike anything in smx."""
    x, y, z = axis_angle
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    term, total = np.eye(3), np.eye(3)
    for k in range(1, 60):
        term = term @ skew / k
        total = total + term
    return total


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """x y z w: the eigenvector of Bar-Itzhack's symmetric 4x4 matrix, independent of the sign of any trace."""
    m = rotation
    B = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    vector: np.ndarray = np.linalg.eigh(B / 3)[1][:, -1]
    return vector


@pytest.fixture
def truth() -> np.ndarray:
    """[N, 4, 4] w2c of cameras far from the identity, half-turns among them."""
    rng = np.random.default_rng(3)
    w2c = np.tile(np.eye(4), (N, 1, 1))
    for i in range(N):
        axis = rng.normal(size=3)
        angle = (0.3, 1.2, 2.0, 2.9, np.pi - 1e-6, 3.1)[i]
        w2c[i, :3, :3] = rodrigues(axis / np.linalg.norm(axis) * angle)
        w2c[i, :3, 3] = rng.uniform(-4, 4, 3)
    return w2c


def camera_to_world(w2c: np.ndarray) -> np.ndarray:
    return np.linalg.solve(w2c, np.tile(np.eye(4), (len(w2c), 1, 1)))


def rows(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.12g}" for value in row) for row in matrix)


def write_tum(folder: Path, w2c: np.ndarray) -> poses.Poses:
    lines = ["# timestamp tx ty tz qx qy qz qw", ""]
    for i, pose in enumerate(camera_to_world(w2c)):
        numbers = [10.5 + i / 30, *pose[:3, 3], *quaternion(pose[:3, :3])]
        lines.append(" ".join(f"{value:.12g}" for value in numbers))
    (folder / "groundtruth.txt").write_text("\n".join(lines))
    return poses.read_tum(folder / "groundtruth.txt")


def write_open3d(folder: Path, w2c: np.ndarray) -> poses.Poses:
    text = "".join(f"{i} {i} {i + 1}\n{rows(pose)}\n" for i, pose in enumerate(camera_to_world(w2c)))
    (folder / "trajectory.log").write_text(text)
    return poses.read_open3d_log(folder / "trajectory.log")


def write_colmap(folder: Path, w2c: np.ndarray) -> poses.Poses:
    """COLMAP: w2c, quaternion w first, pixel corners whole numbers; a second line of points, sometimes empty."""
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME"]
    for i, pose in enumerate(w2c):
        x, y, z, w = quaternion(pose[:3, :3])
        t = pose[:3, 3]
        lines.append(f"{i + 1} {w:.12g} {x:.12g} {y:.12g} {z:.12g} {t[0]:.12g} {t[1]:.12g} {t[2]:.12g} 7 frame {i}.jpg")
        lines.append("" if i % 2 else "11.5 12.5 -1 300.25 20.5 4")
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    parameters = f"{K[0, 0]} {K[1, 1]} {K[0, 2] + 0.5} {K[1, 2] + 0.5}"
    (folder / "cameras.txt").write_text(f"# CAMERA_ID, MODEL, ...\n7 PINHOLE 640 480 {parameters}\n")
    return poses.read_colmap(folder)


def write_nerfstudio(folder: Path, w2c: np.ndarray) -> poses.Poses:
    """nerfstudio: c2w whose columns 1 and 2 are negated, in a world turned by `applied_transform` and scaled."""
    applied = np.array([[0, 1, 0, 0.5], [1, 0, 0, -2], [0, 0, -1, 1.0]])
    frames = []
    for i, pose in enumerate(camera_to_world(w2c)):
        gl = pose @ np.diag([1, -1, -1, 1.0])
        turned = np.vstack([applied, [0, 0, 0, 1]]) @ gl
        turned[:3, 3] *= 0.25
        frames.append({"file_path": f"./images/frame_{i:05d}.jpg", "transform_matrix": turned.tolist()})
    camera = {"w": 640, "h": 480, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2] + 0.5, "cy": K[1, 2] + 0.5}
    data = {"camera_model": "OPENCV", "k1": 0.0, **camera, "frames": frames}
    data |= {"applied_transform": applied.tolist(), "applied_scale": 0.25}
    (folder / "transforms.json").write_text(json.dumps(data))
    return poses.read_nerfstudio(folder / "transforms.json")


def write_posetxt(folder: Path, w2c: np.ndarray) -> poses.Poses:
    files = [folder / f"frame-{i:06d}.pose.txt" for i in range(N)]
    for file, pose in zip(files, camera_to_world(w2c), strict=True):
        file.write_text(rows(pose))
    return poses.read_matrices(files, list(range(N)), "posetxt")


def write_cameras_json(folder: Path, w2c: np.ndarray) -> poses.Poses:
    data = {"width": 640, "height": 480, "K": K.tolist(), "w2c": w2c.tolist()}
    (folder / "cameras.json").write_text(json.dumps(data))
    return poses.read_cameras_json(folder / "cameras.json")


WRITERS: dict[str, Callable[[Path, np.ndarray], poses.Poses]] = {
    "tum": write_tum,
    "open3d": write_open3d,
    "colmap": write_colmap,
    "nerfstudio": write_nerfstudio,
    "posetxt": write_posetxt,
    "cameras_json": write_cameras_json,
}


@pytest.mark.parametrize("format", WRITERS)
def test_every_format_gives_the_same_cameras(format: str, tmp_path: Path, truth: np.ndarray) -> None:
    """A c2w read as w2c, or flipped axes, would train a model on mirrored rooms."""
    read = WRITERS[format](tmp_path, truth)
    assert read.format == format
    assert read.w2c.dtype == np.float64
    np.testing.assert_allclose(read.w2c, truth, atol=1e-9)
    if read.K is not None:
        np.testing.assert_allclose(read.K, np.tile(K, (N, 1, 1)), atol=1e-9)
        assert read.size == SIZE
    assert read.metric == (format not in ("colmap", "nerfstudio"))


def test_a_world_point_lands_on_its_pixel(tmp_path: Path, truth: np.ndarray) -> None:
    """The whole chain against a loop over plain formulas: world -> camera -> pixel."""
    read = write_nerfstudio(tmp_path, truth)
    rng = np.random.default_rng(0)
    assert read.K is not None
    for i in range(N):
        for _ in range(5):
            x, y, z = rng.uniform([-1, -1, 1], [1, 1, 5])
            R, t = truth[i, :3, :3], truth[i, :3, 3]
            world = R.T @ (np.array([x, y, z]) - t)
            (u, v), depth = project(transform_points(read.w2c[i], world[None])[0], read.K[i])
            assert (u, v) == pytest.approx((410 * x / z + 311.25, 395 * y / z + 246.5), abs=1e-6)
            assert depth == pytest.approx(z)


@pytest.mark.parametrize("lost", ["-inf", "nan", "-1.#INF"])
def test_lost_poses_are_nan_cameras(lost: str, tmp_path: Path, truth: np.ndarray) -> None:
    """ScanNet marks lost frames with -inf; inverting that makes a camera that looks valid."""
    write_posetxt(tmp_path, truth)
    write_open3d(tmp_path, truth)
    write_tum(tmp_path, truth)
    (tmp_path / "frame-000002.pose.txt").write_text("\n".join([" ".join([lost] * 4)] * 4))
    log = (tmp_path / "trajectory.log").read_text().splitlines()
    log[11:15] = [" ".join([lost] * 4)] * 4
    (tmp_path / "trajectory.log").write_text("\n".join(log))
    tum = (tmp_path / "groundtruth.txt").read_text().splitlines()
    tum[4] = " ".join(["10.6", *[lost] * 7])
    (tmp_path / "groundtruth.txt").write_text("\n".join(tum))
    files = sorted(tmp_path.glob("*.pose.txt"))
    for read in (
        poses.read_matrices(files, list(range(N)), "posetxt"),
        poses.read_open3d_log(tmp_path / "trajectory.log"),
        poses.read_tum(tmp_path / "groundtruth.txt"),
    ):
        assert np.isnan(read.w2c[2]).all()
        np.testing.assert_allclose(np.delete(read.w2c, 2, 0), np.delete(truth, 2, 0), atol=1e-9)


def test_a_null_in_cameras_json_is_a_lost_pose(tmp_path: Path, truth: np.ndarray) -> None:
    data = {"K": K.tolist(), "w2c": truth.tolist()}
    data["w2c"][1] = [[None] * 4] * 4
    (tmp_path / "cameras.json").write_text(json.dumps(data))
    read = poses.read_cameras_json(tmp_path / "cameras.json")
    assert np.isnan(read.w2c[1]).all()
    assert np.isfinite(read.w2c[0]).all()


def one_frame(**said: Any) -> str:
    pinhole = {"fl_x": 9, "fl_y": 9, "cx": 4, "cy": 4, "w": 8, "h": 8}
    return json.dumps(pinhole | {"frames": [{"file_path": "0.png", "transform_matrix": np.eye(4).tolist()}]} | said)


def one_camera(poses: int = 1, **said: Any) -> str:
    return json.dumps({"w2c": [np.eye(4).tolist()] * poses, "K": [[9, 0, 4], [0, 9, 4], [0, 0, 1]]} | said)


BROKEN: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a word among numbers": (poses.read_tum, "1 0 0 0 0 0 0 1\n2 0 0 x 0 0 0 1\n", r":2: expected 8 numbers"),
    "a short line": (poses.read_tum, "# c\n\n1 0 0 0 0 0 0\n", r":3: expected 8 numbers .*got '1 0 0 0 0 0 0'"),
    "no unit quaternion": (poses.read_tum, "1 0 0 0 0.5 0 0 0.5\n", r":1: .*no unit quaternion"),
    "no pose": (poses.read_tum, "# nothing\n", "no pose"),
    "a log that ends early": (poses.read_open3d_log, "0 0 1\n1 0 0 0\n0 1 0 0\n", ":1: the file ends inside"),
    "a log with a short row": (poses.read_open3d_log, "0 0 1\n1 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", ":2: expected 4"),
    "a scaled rotation": (poses.read_open3d_log, "0 0 1\n2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n", ":1: not a rigid"),
    "a mirror": (poses.read_open3d_log, "0 0 1\n-1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", ":1: not a rigid"),
    "a transposed matrix": (poses.read_open3d_log, "0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n1 2 3 1\n", ":1: not a rigid"),
    "broken JSON": (poses.read_cameras_json, '{"w2c": [\n1,,', ":2: broken JSON"),
    "no K": (poses.read_cameras_json, '{"w2c": [[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]]}', "'K' is missing"),
    "a wrong shape": (poses.read_cameras_json, '{"w2c": [[1, 2]], "K": []}', "'w2c' is 1x2, not nx4x4"),
    "ragged numbers": (poses.read_cameras_json, '{"w2c": [[1, 2], [1]], "K": []}', "'w2c' is not nx4x4 numbers"),
    "no frames": (poses.read_nerfstudio, '{"frames": []}', "'frames' is missing or empty"),
    "frames that are none": (poses.read_nerfstudio, '{"frames": [null]}', "what is no frame"),
    "a scale of 0": (poses.read_nerfstudio, one_frame(applied_scale=0), "'applied_scale' is 0"),
    "a transform of words": (poses.read_nerfstudio, one_frame(applied_transform="up"), "'applied_transform' is not"),
    "a flat transform": (poses.read_nerfstudio, one_frame(applied_transform=[[0] * 4] * 3), "has no inverse"),
    "a wide image": (poses.read_nerfstudio, one_frame(w=float("inf")), r"frames\[0\]: .* are needed"),
    "a focal length of 0": (poses.read_nerfstudio, one_frame(fl_x=0), r"frames\[0\]: 0 0 .* no camera's intrinsics"),
    "no focal length": (
        poses.read_cameras_json,
        one_camera(K=[[0, 0, 1], [0, 0, 1], [0, 0, 1]]),
        "K: 0 0 1 / .* no camera",
    ),
    "a lost K": (poses.read_cameras_json, one_camera(K=[[[None] * 3] * 3]), r"K\[0\]: nan .* no camera"),
    "a ragged K": (poses.read_cameras_json, one_camera(K=[[[1, 2], 3]]), "'K' is not"),
    "a width in words": (poses.read_cameras_json, one_camera(width="wide", height=9), "'width' is 'wide'"),
    "half a frame": (poses.read_cameras_json, one_camera(frame_ids=[0.5]), r"frame_ids\[0\] is 0.5"),
    "no frame number": (poses.read_cameras_json, one_camera(frame_ids=[None]), r"frame_ids\[0\] is nan"),
    "a frame twice": (poses.read_cameras_json, one_camera(2, frame_ids=[4, 4]), "frame 4 again"),
    "a scale in words": (poses.read_cameras_json, one_camera(metric="no"), "'metric' is 'no'"),
    "a list for an object": (poses.read_nerfstudio, "[]", "expected a JSON object"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_name_file_and_line(name: str, tmp_path: Path) -> None:
    read, text, message = BROKEN[name]
    path = tmp_path / "cameras.dat"
    path.write_text(text)
    with pytest.raises(SceneError, match=f"cameras.dat.*{message}"):
        read(path)


def test_lens_distortion_is_refused_with_the_way_out(tmp_path: Path, truth: np.ndarray) -> None:
    """smx projects by pinhole: a fisheye read as one would put every voxel in the wrong place."""
    write_colmap(tmp_path, truth)
    for model, parameters in (("OPENCV", "500 500 320 240 0.1 0 0 0"), ("OPENCV_FISHEYE", "500 500 320 240 0 0 0 0")):
        (tmp_path / "cameras.txt").write_text(f"7 {model} 640 480 {parameters}\n")
        with pytest.raises(SceneError, match=r"cameras.txt:1: .*image_undistorter"):
            poses.read_colmap(tmp_path)
    (tmp_path / "cameras.txt").write_text("7 SIMPLE_RADIAL 640 480 500 320 240 0\n")
    read = poses.read_colmap(tmp_path)
    assert read.K is not None
    np.testing.assert_allclose(read.K[0], np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]))
    write_nerfstudio(tmp_path, truth)
    data = json.loads((tmp_path / "transforms.json").read_text())
    (tmp_path / "transforms.json").write_text(json.dumps(data | {"k1": 0.01}))
    with pytest.raises(SceneError, match="distortion"):
        poses.read_nerfstudio(tmp_path / "transforms.json")


def test_an_image_of_an_unknown_camera_is_named(tmp_path: Path, truth: np.ndarray) -> None:
    write_colmap(tmp_path, truth)
    (tmp_path / "cameras.txt").write_text("8 PINHOLE 640 480 500 500 320 240\n")
    with pytest.raises(SceneError, match=r"images.txt:2: camera 7 is not in cameras.txt"):
        poses.read_colmap(tmp_path)


def test_intrinsics_files(tmp_path: Path) -> None:
    """Open3D writes its matrix column by column; read by rows, cx and cy end up in the last row."""
    column_major = [410.0, 0, 0, 0, 395.0, 0, 311.25, 246.5, 1]
    data = {"width": 640, "height": 480, "intrinsic_matrix": column_major}
    (tmp_path / "a.json").write_text(json.dumps(data))
    (tmp_path / "b.txt").write_text(rows(K))
    four = np.eye(4)
    four[:3, :3] = K
    (tmp_path / "c.txt").write_text(rows(four))
    for name in ("a.json", "b.txt", "c.txt"):
        read, size = poses.read_intrinsics(tmp_path / name)
        np.testing.assert_allclose(read, K)
        assert size == (SIZE if name == "a.json" else None)


# --- laws of the helpers ------------------------------------------------------------------------------------


def test_inverse_is_the_inverse_and_keeps_lost_cameras_lost(truth: np.ndarray) -> None:
    np.testing.assert_allclose(inverse(truth) @ truth, np.tile(np.eye(4), (N, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(inverse(inverse(truth)), truth, atol=1e-12)
    np.testing.assert_allclose(centres(truth), camera_to_world(truth)[:, :3, 3], atol=1e-12)
    lost = np.full((4, 4), np.nan)
    assert np.isnan(inverse(lost)[:3]).all()
    assert not is_rigid(lost)
    assert is_rigid(truth).all()


def test_rotation_angle_is_the_angle(truth: np.ndarray) -> None:
    """Small ones too, where an arccos of the trace gives 0 or NaN."""
    for angle in (0.0, 1e-9, 1e-4, 0.5, 2.5, np.pi):
        turn = np.eye(4)
        turn[:3, :3] = rodrigues(np.array([0, 0.6, 0.8]) * angle)
        assert rotation_angle(turn @ truth[2], truth[2]) == pytest.approx(angle, abs=1e-7, rel=1e-6)


def test_quaternions_of_either_sign_and_length_are_one_rotation(truth: np.ndarray) -> None:
    for pose in truth:
        q = quaternion(pose[:3, :3])
        np.testing.assert_allclose(quaternion_to_rotation(q), pose[:3, :3], atol=1e-9)
        np.testing.assert_allclose(quaternion_to_rotation(-3 * q), pose[:3, :3], atol=1e-9)


def test_projecting_an_unprojected_map_gives_its_pixels() -> None:
    depth = np.random.default_rng(0).uniform(1, 4, (6, 8))
    depth[2, 3] = np.nan
    uv, z = project(unproject(depth, K), K)
    v, u = np.mgrid[:6, :8]
    valid = np.isfinite(depth)
    np.testing.assert_allclose(uv[valid], np.stack([u, v], -1)[valid], atol=1e-9)
    np.testing.assert_array_equal(z, depth)
    behind, _ = project(np.array([[0.1, 0.1, -1.0]]), K)
    assert np.isnan(behind).all()


def test_resized_intrinsics_see_the_same_ray() -> None:
    """1296x968 to 640x480 is not the same factor in x and y; the image's edges must stay its edges."""
    K2 = resize_intrinsics(K, (1296, 968), (640, 480))
    for u, v in ((-0.5, -0.5), (100.0, 700.0), (1295.5, 967.5)):
        ray = [(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]]
        u2, v2 = (u + 0.5) * 640 / 1296 - 0.5, (v + 0.5) * 480 / 968 - 0.5
        assert [(u2 - K2[0, 2]) / K2[0, 0], (v2 - K2[1, 2]) / K2[1, 1]] == pytest.approx(ray)
