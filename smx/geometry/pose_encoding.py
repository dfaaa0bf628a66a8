"""VGGT's nine numbers per camera, and the cameras they mean.

`[tx, ty, tz, qx, qy, qz, qw, fov_h, fov_w]`: w2c in OpenCV axes, relative to the first frame and up to the clip's
own scale (not metric); fields of view in radians, vertical first. The principal point is W/2, H/2 in pixels counted
from 0, as the network was trained, half a pixel beside `smx.geometry.cameras`' idea of an image's centre.
Source: "VGGT: Visual Geometry Grounded Transformer".
"""

from __future__ import annotations

import math

import numpy as np

from smx.errors import SceneError
from smx.geometry.cameras import quaternion_to_rotation

WIDTH = 9


def decode(encoding: np.ndarray, size: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """[n, 9] → w2c [n, 4, 4] and K [n, 3, 3] float64, K in pixels of an image of `size` (W, H).

    `size` is what VGGT saw, or any scaling of it. `SceneError` naming frames whose encoding is no camera: not
    finite, a quaternion of length 0, or a field of view outside (0, π); the network's ReLU does give 0.
    """
    assert encoding.shape[1:] == (WIDTH,), f"pose encodings are [n, {WIDTH}], got {encoding.shape}"
    values = encoding.astype(np.float64)
    length = np.linalg.norm(values[:, 3:7], axis=1)
    views = values[:, 7:]
    unknown = np.asarray(~np.isfinite(values).all(axis=1))
    shut = np.asarray(((views <= 0) | (views >= math.pi)).any(axis=1))
    _refuse("pose encodings that are not finite", unknown, "finite numbers", values)
    _refuse("quaternions of length 0", length < 1e-12, "a rotation", values[:, 3:7])
    _refuse("fields of view", shut, "two angles between 0 and π", views)
    w2c = np.tile(np.eye(4), (len(values), 1, 1))
    w2c[:, :3, :3] = quaternion_to_rotation(values[:, 3:7])
    w2c[:, :3, 3] = values[:, :3]
    K = np.tile(np.eye(3), (len(values), 1, 1))
    for axis, field in ((0, views[:, 1]), (1, views[:, 0])):
        K[:, axis, axis] = size[axis] / 2 / np.tan(field / 2)
        K[:, axis, 2] = size[axis] / 2
    return w2c, K


def encode(w2c: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """[n, 9] of w2c [n, 4, 4] and fields of view [n, 2] (vertical, horizontal), radians."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(w2c[:, :3, :3]).as_quat()
    return np.concatenate((w2c[:, :3, 3], turns, fields), axis=1)


def _refuse(what: str, wrong: np.ndarray, expected: str, found: np.ndarray) -> None:
    frames = np.flatnonzero(wrong)
    if len(frames):
        shown = ", ".join(map(str, frames[:8])) + (" …" if len(frames) > 8 else "")
        first = ", ".join(f"{number:g}" for number in found[frames[0]])
        raise SceneError(f"VGGT gave {what} for frames {shown} (by position), first [{first}]; expected {expected}")
