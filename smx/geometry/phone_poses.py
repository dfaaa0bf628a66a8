"""Camera files of phones and tablets: ARKitScenes' `.traj` and `.pincam`, ScanNet++'s `pose_intrinsic_imu.json`.

Converted to w2c, OpenCV axes, metres, like everything `smx.geometry.poses` reads. Read against the readers that
Apple and the makers of ScanNet++ publish (ARKitScenes `tenFpsDataLoader.py`, scannetpp toolkit).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry.cameras import axis_angle_to_rotation
from smx.geometry.poses import Poses

IPHONE_SIZE = (1920, 1440)  # of ScanNet++'s rgb.mkv, which its intrinsics are for


def read_traj(path: Path) -> Poses:
    """ARKitScenes `lowres_wide.traj`: `ts rx ry rz tx ty tz` a line, axis-angle (rad) and metres, world to camera.

    Of two poses of one timestamp the first counts.
    """
    rows, numbers = [], []
    for number, line in parse.text_lines(path):
        rows.append(parse.floats(line, 7, f"{path}:{number}", "ts rx ry rz tx ty tz"))
        numbers.append(number)
    if not rows:
        raise SceneError(f"{path}: no pose in this file")
    table = np.array(rows)
    timeless = np.flatnonzero(~np.isfinite(table[:, 0]))
    if len(timeless):
        raise SceneError(f"{path}:{numbers[timeless[0]]}: {table[timeless[0], 0]} is no timestamp")
    found = np.isfinite(table).all(axis=1)
    again = parse.repeated(table[found, 0], lambda i: f"{path}:{numbers[np.flatnonzero(found)[i]]}")
    once = np.delete(np.arange(len(table)), np.flatnonzero(found)[list(again)])
    table, found, numbers = table[once], found[once], [numbers[i] for i in once]
    w2c = np.tile(np.eye(4), (len(table), 1, 1))
    w2c[found, :3, :3] = axis_angle_to_rotation(table[found, 1:4])
    w2c[found, :3, 3] = table[found, 4:]
    w2c[~found] = np.nan
    w2c = parse.checked(w2c, lambda i: f"{path}:{numbers[i]}")
    return Poses("traj", w2c, times=table[:, 0], dropped=tuple(again.values()))


def read_pincam(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """ARKitScenes `.pincam`, `w h fx fy cx cy`: K [3, 3] and the (width, height) of the image it is for."""
    width, height, fx, fy, cx, cy = parse.floats(parse.read_text(path), 6, str(path), "w h fx fy cx cy")
    if not np.isfinite([fx, fy, cx, cy]).all() or min(width, height, fx, fy) <= 0:
        raise SceneError(f"{path}: no camera has these intrinsics: {parse.read_text(path).strip()!r}")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), (int(width), int(height))


def read_iphone(path: Path) -> Poses:
    """ScanNet++ `pose_intrinsic_imu.json`: `{"frame_000000": {"aligned_pose", "intrinsic", "timestamp", …}}`.

    Poses are camera to world, OpenCV axes, metres. `aligned_pose` is in the world of the scan, which COLMAP's and
    the mesh share; a file that has none at all is read by `pose`, ARKit's own world. A frame whose pose is absent
    or null is lost. The intrinsics are for `IPHONE_SIZE`.
    """
    data = parse.read_json(path)
    frames = {key: entry for key, entry in data.items() if re.fullmatch(r"frame_\d+", key)}
    if not frames:
        raise SceneError(f"{path}: no frame_000000 … in this file")
    kind = "aligned_pose" if any(_has(entry, "aligned_pose") for entry in frames.values()) else "pose"
    keys = sorted(frames, key=lambda key: int(key.removeprefix("frame_")))
    c2w = np.full((len(keys), 4, 4), np.nan)
    K = np.empty((len(keys), 3, 3))
    for row, key in enumerate(keys):
        entry, where = frames[key], f"{path}: {key}"
        K[row] = parse.float_array(entry, "intrinsic", where, (3, 3))
        if _has(entry, kind):
            c2w[row] = parse.float_array(entry, kind, where, (4, 4))
    dropped: list[str] = []
    w2c = parse.inverted(c2w, lambda i: f"{path}: {keys[i]}: {kind}", dropped)
    frame_numbers = np.array([int(key.removeprefix("frame_")) for key in keys], dtype=np.int64)
    return Poses(f"iphone {kind}", w2c, K, IPHONE_SIZE, numbers=frame_numbers, dropped=tuple(dropped))


def _has(entry: object, key: str) -> bool:
    return isinstance(entry, dict) and entry.get(key) is not None
