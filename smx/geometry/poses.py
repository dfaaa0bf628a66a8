"""Camera files: TUM, Open3D log, COLMAP, nerfstudio, one matrix a file (7-Scenes, ScanNet), cameras.json.

Every reader converts to w2c, OpenCV axes (x right, y down, z forward), and to pixels whose centres are whole
numbers (COLMAP and nerfstudio count from the pixel's corner: half a pixel is taken off cx, cy). A lost pose
(any inf or NaN) becomes an all-NaN camera. A broken line, or intrinsics that no camera has, are a `SceneError` naming
file and line; so are poses that are no rigid motion, unless they are a tenth at most: then those few are lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry._colmap_files import file_of, lines_of
from smx.geometry._colmap_rigs import rig_poses
from smx.geometry.cameras import quaternion_to_rotation
from smx.geometry.lenses import WAYS_OUT, Distortion, Lens, parameters_of, read_lens

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Poses:
    """Cameras as one file (or folder of files) has them; n poses in the file's order.

    How a pose finds its frame: by `names` of images, by `numbers` of frames, by `times`, else by order.
    """

    format: str
    w2c: np.ndarray  # [n, 4, 4] float64
    K: np.ndarray | None = None  # [n, 3, 3] float64
    size: tuple[int, int] | None = None  # width, height of the image K is for
    names: tuple[str, ...] | None = None
    numbers: np.ndarray | None = None  # [n] int64
    times: np.ndarray | None = None  # [n] float64 seconds
    metric: bool = True
    dropped: tuple[str, ...] = ()  # poses that were not taken, with file, line and reason
    lenses: tuple[Lens | None, ...] | None = None  # of each pose, where pictures are to be undistorted


def read_tum(path: Path) -> Poses:
    """TUM RGB-D trajectory: `timestamp tx ty tz qx qy qz qw` a line, camera to world.

    Of two poses of one timestamp the first counts (freiburg2_desk and EuRoC's V102 have such). A file of one matrix
    a line (`read_matrix_rows`), which goes by the same names, is read as that.
    """
    if parse.columns(path) in _MATRIX_ROWS:
        return read_matrix_rows(path)
    rows, lines = [], []
    for number, line in parse.text_lines(path):
        rows.append(parse.floats(line.replace(",", " "), 8, f"{path}:{number}", "ts tx ty tz qx qy qz qw"))
        lines.append(number)
    if not rows:
        raise SceneError(f"{path}: no pose in this file")
    table = np.array(rows)
    finite = np.isfinite(table).all(axis=1)
    for row in np.flatnonzero(~np.isfinite(table[:, 0])):
        raise SceneError(f"{path}:{lines[row]}: {table[row, 0]} is no timestamp")
    dropped: list[str] = []
    length = np.linalg.norm(table[:, 4:], axis=1)
    bent = np.flatnonzero(finite & ~(abs(length - 1) <= 0.01))
    reasons = [f"{path}:{lines[i]}: qx qy qz qw has length {length[i]:.3g}, no unit quaternion" for i in bent]
    parse.drop(reasons, len(table), dropped)
    finite[bent] = False
    again = parse.repeated(table[finite, 0], lambda i: f"{path}:{lines[np.flatnonzero(finite)[i]]}")
    kept = np.delete(np.arange(len(table)), np.flatnonzero(finite)[list(again)])
    dropped += again.values()
    table, finite, lines = table[kept], finite[kept], [lines[i] for i in kept]
    c2w = np.tile(np.eye(4), (len(table), 1, 1))
    c2w[:, :3, 3] = table[:, 1:4]
    c2w[finite, :3, :3] = quaternion_to_rotation(table[finite, 4:])
    c2w[~finite] = np.nan
    w2c = parse.inverted(c2w, lambda i: f"{path}:{lines[i]}")
    return Poses("tum", w2c, times=table[:, 0], dropped=tuple(dropped))


_MATRIX_ROWS = {12: "kitti", 16: "replica"}


def read_matrix_rows(path: Path) -> Poses:
    """One camera-to-world matrix a line, rows by rows: KITTI's `poses.txt` (3x4), Replica's `traj.txt` (4x4)."""
    lines = list(parse.text_lines(path))
    width = parse.columns(path)
    expected = f"a {width // 4}x4 matrix a line, camera to world"
    rows = [parse.floats(line, width, f"{path}:{number}", expected) for number, line in lines]
    c2w = np.tile(np.eye(4), (len(rows), 1, 1))
    c2w[:, : width // 4] = np.array(rows).reshape(len(rows), -1, 4)
    dropped: list[str] = []
    w2c = parse.inverted(c2w, lambda i: f"{path}:{lines[i][0]}", dropped)
    return Poses(_MATRIX_ROWS[width], w2c, dropped=tuple(dropped))


def read_open3d_log(path: Path) -> Poses:
    """Open3D / Redwood trajectory: a line of three integers, then a 4x4 camera-to-world matrix, repeated.

    The first integer is the frame's number. Where it is not another one in each header (some programs write zeros),
    poses are in the frames' order.
    """
    lines = list(parse.text_lines(path))
    c2w, starts, headers = [], [], []
    for start in range(0, len(lines), 5):
        block = lines[start : start + 5]
        number, header = block[0]
        headers.append(parse.floats(header, 3, f"{path}:{number}", "the three integers that open a pose")[0])
        if len(block) < 5:
            raise SceneError(f"{path}:{number}: the file ends inside this pose")
        c2w.append([parse.floats(text, 4, f"{path}:{at}", "a row of a 4x4 matrix") for at, text in block[1:]])
        starts.append(number)
    if not c2w:
        raise SceneError(f"{path}: no pose in this file")
    dropped: list[str] = []
    w2c = parse.inverted(np.array(c2w), lambda i: f"{path}:{starts[i]}", dropped)
    distinct = all(header == int(header) for header in headers) and len(set(headers)) == len(headers)
    numbers = np.array(headers, dtype=np.int64) if distinct else None
    return Poses("open3d", w2c, numbers=numbers, dropped=tuple(dropped))


def read_matrices(files: list[Path], numbers: list[int], format: str) -> Poses:
    """One camera-to-world 4x4 a file, `numbers` its frames: 7-Scenes `frame-000000.pose.txt`, ScanNet `pose/0.txt`."""
    matrices = np.array([read_matrix(path, (4, 4)) for path in files])
    dropped: list[str] = []
    w2c = parse.inverted(matrices, lambda i: str(files[i]), dropped)
    return Poses(format, w2c, numbers=np.array(numbers, dtype=np.int64), dropped=tuple(dropped))


def read_cameras_json(path: Path) -> Poses:
    """`{"w2c": [n 4x4], "K": 3x3 or [n 3x3], "width", "height"}`: world to camera, OpenCV, metres.

    Optional: `frame_ids` [n], and `"metric": false` where the scale is arbitrary.
    """
    data = parse.read_json(path)
    dropped: list[str] = []
    w2c = parse.checked(parse.float_array(data, "w2c", path, (-1, 4, 4)), lambda i: f"{path}: w2c[{i}]", dropped)
    per_frame = _is_a_list_of_matrices(data.get("K"))
    K = parse.float_array(data, "K", path, (len(w2c), 3, 3) if per_frame else (3, 3))
    K = np.broadcast_to(K, (len(w2c), 3, 3)).copy()
    finite = np.flatnonzero(np.isfinite(w2c).all(axis=(1, 2)))
    parse.each_a_pinhole(K[finite], lambda i: f"{path}: K[{finite[i]}]" if per_frame else f"{path}: K")
    numbers = parse.frame_numbers(data, path, len(w2c)) if "frame_ids" in data else None
    metric = data.get("metric", True)
    if not isinstance(metric, bool):
        raise SceneError(f"{path}: 'metric' is {metric!r}, neither true nor false")
    size = parse.image_size(data, path)
    return Poses("cameras_json", w2c, K, size, numbers=numbers, metric=metric, dropped=tuple(dropped))


def read_colmap(folder: Path, *, distortion: Distortion = "refuse", metric: bool = False) -> Poses:
    """COLMAP model, text or binary (`cameras`, `images`); the scale is arbitrary.

    Where `frames` and `rigs` are there (COLMAP 3.12 and later), the pose of an image that they name is its sensor's
    in the rig after the rig's in the world, and what `images` says of it does not count.

    `distortion`: whether a lens that bends is refused, taken for its pinhole part, or given as a `Lens` with which
    pictures are undistorted. `metric`: the maker of the model has brought it to metres.
    """
    cameras = _colmap_cameras(folder, distortion)
    of_rigs = rig_poses(folder)
    images, w2c, places = [], [], []
    for where, line in lines_of(folder, "images"):
        *fields, name = line.split(maxsplit=9) if len(line.split(maxsplit=9)) == 10 else ("", "")
        expected = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
        values = parse.floats(" ".join(fields), 9, where, expected)
        if values[8] not in cameras:
            raise SceneError(f"{where}: camera {values[8]:g} is not in {_name(folder, 'cameras')}")
        pose = np.eye(4)
        pose[:3, :3] = quaternion_to_rotation(np.array([*values[2:5], values[1]]))
        pose[:3, 3] = values[5:8]
        w2c.append(of_rigs.get(int(values[0]), pose))
        images.append((name, *cameras[int(values[8])]))
        places.append(where)
    if not images:
        raise SceneError(f"{folder / _name(folder, 'images')}: no image in this model")
    names, K, lenses, sizes = zip(*images, strict=True)
    if len(set(sizes)) > 1:
        raise SceneError(f"{folder / _name(folder, 'cameras')}: images of several sizes: {sorted(set(sizes))}")
    dropped: list[str] = []
    checked = parse.checked(np.array(w2c), lambda i: places[i], dropped)
    bent = lenses if any(lenses) else None
    return Poses(
        "colmap", checked, np.array(K), sizes[0], names=names, metric=metric, dropped=tuple(dropped), lenses=bent
    )


def _name(folder: Path, name: str) -> str:
    file = file_of(folder, name)
    return file.name if file is not None else f"{name}.txt"


def read_nerfstudio(
    path: Path,
    *,
    applied: np.ndarray | None = None,
    distortion: Distortion = "refuse",
    metric: bool = False,
    size: Size | None = None,
) -> Poses:
    """nerfstudio / instant-ngp `transforms.json`: camera to world, OpenGL axes; the scale is arbitrary.

    `applied_transform` and `applied_scale`, where the file declares them, are undone, so the world is the one
    the poses came from; `applied` [3 or 4, 4] is undone where it declares none. `distortion`, `metric`: as in
    `read_colmap`. `size`: of the pictures, where the file does not say (instant-ngp). Intrinsics may be the file's or
    a frame's own. The frames of `test_frames`, where there are any, count too.
    """
    data = parse.read_json(path)
    frames = data.get("frames")
    if isinstance(frames, list) and isinstance(data.get("test_frames"), list):
        frames = frames + data["test_frames"]
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise SceneError(f"{path}: 'frames' is missing or empty, or holds what is no frame")
    c2w = np.array(
        [parse.float_array(frame, "transform_matrix", f"{path}: frames[{i}]", (4, 4)) for i, frame in enumerate(frames)]
    )
    if "applied_scale" in data:
        c2w[:, :3, 3] /= parse.positive(data, "applied_scale", path)
    if "applied_transform" in data:
        applied = parse.float_array(data, "applied_transform", path, (-1, 4))
    if applied is not None:
        if len(applied) not in (3, 4):
            raise SceneError(f"{path}: 'applied_transform' is {len(applied)}x4, not 3x4")
        whole = np.eye(4)
        whole[:3] = applied[:3]
        if not abs(np.linalg.det(whole)) > 0:
            raise SceneError(f"{path}: 'applied_transform' has no inverse, so it cannot be undone")
        with np.errstate(invalid="ignore"):  # lost poses
            c2w = np.linalg.inv(whole) @ c2w
    c2w[:, :, 1:3] *= -1  # OpenGL (y up, z backward) to OpenCV
    entries = [_lens_of(data | frame, f"{path}: frames[{i}]", distortion, size) for i, frame in enumerate(frames)]
    sizes = {pixels for _, _, pixels in entries}
    if len(sizes) > 1:
        raise SceneError(f"{path}: images of several sizes: {sorted(sizes)}")
    names = tuple(str(frame.get("file_path", "")) for frame in frames)
    K = np.array([matrix for matrix, _, _ in entries])
    lenses = tuple(lens for _, lens, _ in entries) if any(lens for _, lens, _ in entries) else None
    dropped: list[str] = []
    w2c = parse.inverted(c2w, lambda i: f"{path}: frames[{i}]", dropped)
    lost = tuple(dropped)
    return Poses("nerfstudio", w2c, K, sizes.pop(), names=names, metric=metric, dropped=lost, lenses=lenses)


def read_intrinsics(path: Path) -> tuple[np.ndarray, tuple[int, int] | None]:
    """K [3, 3] and, where the file says, the image's (width, height).

    Open3D's `camera_intrinsic.json` (`intrinsic_matrix` column by column), Replica's `cam_params.json`, or text: 3x3
    (Stray Scanner's with commas), ScanNet's 4x4, or `fx fy cx cy` (ETH3D SLAM's `calibration.txt`).
    """
    size = None
    if path.suffix != ".json":
        words = parse.read_text(path).replace(",", " ").split()
        if len(words) == 4:
            fx, fy, cx, cy = parse.floats(" ".join(words), 4, str(path), "fx fy cx cy")
            K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        else:
            K = read_matrix(path, (3, 3) if len(words) == 9 else (4, 4))[:3, :3]
    elif isinstance(replica := parse.read_json(path).get("camera"), dict):
        values = [parse.positive(replica, key, path) for key in ("fx", "fy", "cx", "cy", "w", "h")]
        K = np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1]])
        size = (int(values[4]), int(values[5]))
    else:
        data = parse.read_json(path)
        key = "intrinsic_matrix" if "intrinsic_matrix" in data else "intrinsic_matrix_column_major"
        K, size = parse.float_array(data, key, path, (9,)).reshape(3, 3).T.copy(), parse.image_size(data, path)
    parse.each_a_pinhole(K[None], lambda _: str(path))
    return K, size


def read_matrix(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A matrix written as text, rows by rows."""
    values = parse.floats(
        parse.read_text(path).replace(",", " "), shape[0] * shape[1], str(path), f"a {shape[0]}x{shape[1]} matrix"
    )
    return np.array(values).reshape(shape)


def _is_a_list_of_matrices(K: Any) -> bool:
    for _ in range(2):
        K = K[0] if isinstance(K, list) and K else None
    return isinstance(K, list)


# --- lenses -------------------------------------------------------------------------------------------------


def _colmap_cameras(folder: Path, distortion: Distortion) -> dict[int, tuple[np.ndarray, Lens | None, Size]]:
    cameras = {}
    for where, line in lines_of(folder, "cameras"):
        fields = line.split()
        if len(fields) < 5:
            raise SceneError(f"{where}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS, got {line!r}")
        model, count = fields[1], parameters_of(fields[1], where)
        camera, width, height = parse.floats(" ".join([fields[0], *fields[2:4]]), 3, where, "CAMERA_ID WIDTH HEIGHT")
        if not (np.isfinite(camera) and 1 <= width < np.inf and 1 <= height < np.inf):
            raise SceneError(f"{where}: camera {camera:g} of {width:g}x{height:g} pixels")
        values = parse.floats(" ".join(fields[4:]), count, where, f"the parameters of {model}")
        size = (int(width), int(height))
        cameras[int(camera)] = (*read_lens(Lens(model, tuple(values), size), where, distortion), size)
    return cameras


# nerfstudio's names of lenses and those of the same formulas in COLMAP, with the distortion in COLMAP's order.
_NERFSTUDIO_LENSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "OPENCV": ("OPENCV", ("k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")),
    "PINHOLE": ("PINHOLE", ()),
    "SIMPLE_PINHOLE": ("PINHOLE", ()),
}


def _lens_of(
    entry: dict[str, Any], where: str, distortion: Distortion, size: Size | None
) -> tuple[np.ndarray, Lens | None, Size]:
    """(K, lens, size) that a frame of transforms.json has; `size` of the pictures where it does not say."""
    name = str(entry.get("camera_model", "OPENCV_FISHEYE" if entry.get("is_fisheye") else "OPENCV"))
    if name not in _NERFSTUDIO_LENSES:
        raise SceneError(f"{where}: {name} is no pinhole camera; {WAYS_OUT}")
    model, keys = _NERFSTUDIO_LENSES[name]
    try:
        width, height = (float(entry[key]) if key in entry else float(size[i]) for i, key in enumerate("wh"))  # type: ignore[index]  # None is said below
        fx = _focal_length(entry, "x", width)
        focal = [fx, fx if not {"fl_y", "camera_angle_y"} & set(entry) else _focal_length(entry, "y", height)]
        centre = [float(entry.get("cx", width / 2)), float(entry.get("cy", height / 2))]
        bend = [float(entry.get(key, 0)) for key in keys]
        pixels = (int(width), int(height))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"{where}: fl_x (or camera_angle_x), w and h are needed ({error})") from None
    if name == "OPENCV" and (k3 := float(entry.get("k3", 0))):
        model, bend = "FULL_OPENCV", [*bend, k3, 0.0, 0.0, 0.0]
    if name == "OPENCV" and float(entry.get("k4", 0)) and distortion != "leave-out":
        raise SceneError(f"{where}: distortion with k4, which COLMAP's lenses do not have; undistort the images first")
    return *read_lens(Lens(model, (*focal, *centre, *bend), pixels), where, distortion), pixels


def _focal_length(entry: dict[str, Any], axis: str, side: float) -> float:
    """In pixels: as stated, or by the field of view along a side (instant-ngp's `transforms.json`)."""
    if f"fl_{axis}" in entry:
        return float(entry[f"fl_{axis}"])
    if f"camera_angle_{axis}" in entry:
        return side / 2 / math.tan(float(entry[f"camera_angle_{axis}"]) / 2)
    raise KeyError(f"fl_{axis}")
