"""Camera files of captures: Stray Scanner, Record3D, Polycam, EuRoC, KITTI.

Converted to w2c, OpenCV axes, metres, like everything `smx.geometry.poses` reads. Sources: Stray Scanner's data
specification (docs.strayrobots.io) and StrayVisualizer; nerfstudio 1.1's `process_data/record3d_utils.py` and
`polycam_utils.py`; the ASL format's `sensor.yaml` and `data.csv` (EuRoC MAV); the KITTI odometry devkit's readme.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry.cameras import quaternion_to_rotation
from smx.geometry.lenses import Distortion, Lens, read_lens
from smx.geometry.poses import Poses, read_matrix_rows

_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # y up, z backward (ARKit's camera), to OpenCV


def read_stray(path: Path) -> Poses:
    """Stray Scanner's `odometry.csv`: camera to world, OpenCV axes, with the number of each row's frame.

    Releases that write `fx fy cx cy` have intrinsics of each frame; the others leave them to `camera_matrix.csv`.
    """
    rows = list(csv.DictReader(parse.read_text(path).splitlines(), skipinitialspace=True))
    columns = ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw")
    if not rows or any(name not in rows[0] for name in columns):
        raise SceneError(f"{path}: expected a header with {', '.join(columns)}, and rows below it")
    names = (*columns, *(("fx", "fy", "cx", "cy") if "fx" in rows[0] else ()))
    table = np.array(
        [
            parse.floats(" ".join(str(row.get(name)) for name in names), len(names), f"{path}:{i}", ", ".join(names))
            for i, row in enumerate(rows, 2)
        ]
    )
    dropped: list[str] = []
    w2c = parse.inverted(_c2w(table[:, 2:5], table[:, 5:9]), lambda i: f"{path}:{i + 2}", dropped)
    K = _pinholes(table[:, 9:], lambda i: f"{path}:{i + 2}") if table.shape[1] > 9 else None
    numbers = parse.frame_numbers({"frame_ids": table[:, 1].tolist()}, path, len(table))
    return Poses("stray", w2c, K, numbers=numbers, dropped=tuple(dropped))


def read_record3d(data: Mapping[str, Any], where: str) -> Poses:
    """Record3D's `metadata`: `poses` `qx qy qz qw x y z` (camera to world, OpenGL axes), `K` column by column.

    `perFrameIntrinsicCoeffs` (`fx fy cx cy`), where there are any, count before `K`; `w`, `h` are the pictures'.
    """
    values = dict(data)
    table = parse.float_array(values, "poses", where, (-1, 7))
    if not len(table):
        raise SceneError(f"{where}: 'poses' is empty")
    dropped: list[str] = []
    w2c = parse.inverted(_c2w(table[:, 4:], table[:, :4]) @ _OPENGL, lambda i: f"{where}: poses[{i}]", dropped)
    if values.get("perFrameIntrinsicCoeffs"):
        coefficients = parse.float_array(values, "perFrameIntrinsicCoeffs", where, (len(table), 4))
        K = _pinholes(coefficients, lambda i: f"{where}: perFrameIntrinsicCoeffs[{i}]")
    else:
        one = parse.float_array(values, "K", where, (9,)).reshape(3, 3).T
        parse.each_a_pinhole(one[None], lambda _: f"{where}: K")
        K = np.tile(one, (len(table), 1, 1))
    size = tuple(int(parse.positive(values, key, where)) for key in ("w", "h"))
    return Poses("record3d", w2c, K, (size[0], size[1]), dropped=tuple(dropped))


def read_polycam(files: Sequence[Path]) -> Poses:
    """Polycam's `cameras/*.json` of keyframes: `t_00` … `t_23`, camera to world, ARKit's axes; intrinsics of each."""
    c2w, K, sizes = np.tile(np.eye(4), (len(files), 1, 1)), [], set()
    for row, file in enumerate(files):
        data = parse.read_json(file)
        data["t"] = [[data.get(f"t_{i}{j}") for j in range(4)] for i in range(3)]
        c2w[row, :3] = parse.float_array(data, "t", f"{file}: t_00 to t_23:", (3, 4))
        K.append([parse.positive(data, key, file) for key in ("fx", "fy", "cx", "cy")])
        sizes.add(parse.image_size(data, file))
    if len(sizes) > 1:
        raise SceneError(f"{files[0].parent}: keyframes of several sizes")
    dropped: list[str] = []
    w2c = parse.inverted(c2w @ _OPENGL, lambda i: str(files[i]), dropped)
    names = tuple(file.name for file in files)
    matrices = _pinholes(np.array(K), lambda i: str(files[i]))
    return Poses("polycam", w2c, matrices, sizes.pop(), names=names, dropped=tuple(dropped))


def read_euroc(truth: Path, sensor: Path, distortion: Distortion) -> Poses:
    """EuRoC's `state_groundtruth_estimate0/data.csv` (body in the world, nanoseconds) after cam0's `sensor.yaml`."""
    T_BS, K, lens, size = _asl_camera(sensor, distortion)
    rows = [(i, line) for i, line in parse.text_lines(truth)]
    table = np.array(
        [
            parse.floats(" ".join(line.split(",")[:8]), 8, f"{truth}:{i}", "ns, x, y, z, qw, qx, qy, qz")
            for i, line in rows
        ]
    )
    if not len(table):
        raise SceneError(f"{truth}: no pose in this file")
    dropped: list[str] = []
    body = _c2w(table[:, 1:4], table[:, [5, 6, 7, 4]])
    w2c = parse.inverted(body @ T_BS, lambda i: f"{truth}:{rows[i][0]}", dropped)
    times = np.array([int(line.split(",")[0]) for _, line in rows]) / 1e9
    lenses = None if lens is None else (lens,) * len(w2c)
    matrices = np.tile(K, (len(w2c), 1, 1))
    return Poses("euroc", w2c, matrices, size, times=times, dropped=tuple(dropped), lenses=lenses)


def read_kitti(poses: Path, calibration: Path, camera: int) -> Poses:
    """KITTI odometry's poses (of camera 0) moved to camera `camera` by its `P` in `calib.txt`, with its K."""
    read = read_matrix_rows(poses)
    for number, line in parse.text_lines(calibration):
        name, _, numbers = line.partition(":")
        if name.strip() == f"P{camera}":
            where = f"{calibration}:{number}"
            P = np.array(parse.floats(numbers, 12, where, f"P{camera}, a 3x4 matrix")).reshape(3, 4)
            parse.each_a_pinhole(P[None, :, :3], lambda _, where=where: where)  # type: ignore[misc]
            beside = np.eye(4)
            beside[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
            K = np.tile(P[:, :3], (len(read.w2c), 1, 1))
            return Poses("kitti", beside @ read.w2c, K, dropped=read.dropped)
    raise SceneError(f"{calibration}: no line P{camera}:")


def _asl_camera(path: Path, distortion: Distortion) -> tuple[np.ndarray, np.ndarray, Lens | None, tuple[int, int]]:
    """(body from camera [4, 4], K, lens, size) of a `sensor.yaml`."""
    try:
        data = yaml.safe_load(parse.read_text(path))
        extrinsics = parse.float_array(data["T_BS"], "data", f"{path}: T_BS", (16,)).reshape(4, 4)
        intrinsics = [float(value) for value in data["intrinsics"]]
        bend = [float(value) for value in data["distortion_coefficients"]]
        width, height = (int(side) for side in data["resolution"])
        kind = str(data["distortion_model"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SceneError(f"{path}: no camera of the ASL format ({error})") from None
    models = {"radial-tangential": "OPENCV", "radtan": "OPENCV", "equidistant": "OPENCV_FISHEYE"}
    if kind not in models or len(intrinsics) != 4 or len(bend) != 4:
        raise SceneError(f"{path}: {kind} with {len(bend)} coefficients; known: {', '.join(models)}, with 4")
    # counted from the pixel's corner, as lenses are here
    corner = (*intrinsics[:2], intrinsics[2] + 0.5, intrinsics[3] + 0.5)
    lens = Lens(models[kind], (*corner, *bend), (width, height))
    return extrinsics, *read_lens(lens, str(path), distortion), lens.size


def _c2w(translations: np.ndarray, xyzw: np.ndarray) -> np.ndarray:
    """[n, 4, 4]; all NaN where the quaternion has no length."""
    c2w = np.tile(np.eye(4), (len(translations), 1, 1))
    lost = ~(np.linalg.norm(xyzw, axis=1) > 0)
    c2w[~lost, :3, :3] = quaternion_to_rotation(xyzw[~lost])
    c2w[:, :3, 3] = translations
    c2w[lost] = np.nan
    return c2w


def _pinholes(fx_fy_cx_cy: np.ndarray, where: Any) -> np.ndarray:
    """[n, 3, 3], checked."""
    K = np.tile(np.eye(3), (len(fx_fy_cx_cy), 1, 1))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = fx_fy_cx_cy.T
    parse.each_a_pinhole(K, where)
    return K
