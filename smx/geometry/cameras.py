"""Cameras: rigid transforms, projection, and the reprojection error that proves a pose reader right.

Frames of reference: world, and a camera's own axes x right, y down, z forward (OpenCV). `w2c` 4x4 takes world
points to camera points. Pixel (0, 0) is the *centre* of the top-left pixel, so a symmetric image of width w
has cx = (w - 1) / 2. A lost camera is all NaN and stays NaN through every function here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIELD_OF_VIEW = (10.0, 170.0)  # degrees: narrower is a telescope, wider no pinhole sees


def inverse(transform: np.ndarray) -> np.ndarray:
    """Inverse of rigid transforms [..., 4, 4], from their transpose; w2c <-> c2w."""
    assert transform.shape[-2:] == (4, 4), transform.shape
    rotation = np.swapaxes(transform[..., :3, :3], -1, -2)
    result = np.zeros_like(transform)
    result[..., :3, :3] = rotation
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, transform[..., :3, 3])
    result[..., 3, :] = transform[..., 3, :]
    return result


def is_rigid(transform: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    """[...] bool: rotation orthonormal and right-handed, last row 0 0 0 1, within `tolerance`; False for NaN."""
    rotation = transform[..., :3, :3]
    gram = rotation @ np.swapaxes(rotation, -1, -2)
    with np.errstate(invalid="ignore"):
        orthonormal = np.abs(gram - np.eye(3)).max(axis=(-1, -2)) < tolerance
        proper = np.linalg.det(np.nan_to_num(rotation, posinf=0, neginf=0)) > 0
        closed = np.abs(transform[..., 3, :] - [0, 0, 0, 1]).max(axis=-1) < tolerance
    result: np.ndarray = orthonormal & proper & closed & np.isfinite(transform).all(axis=(-1, -2))
    return result


def centres(w2c: np.ndarray) -> np.ndarray:
    """[..., 3] camera centres in the world."""
    centre: np.ndarray = inverse(w2c)[..., :3, 3]
    return centre


def rotation_angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[...] angle in rad between the rotations of two transforms [..., 4, 4]."""
    relative = a[..., :3, :3] @ np.swapaxes(b[..., :3, :3], -1, -2)
    # atan2 of both parts keeps small angles exact, where arccos alone loses half the digits
    skew = relative - np.swapaxes(relative, -1, -2)
    sine = np.sqrt(skew[..., 0, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 2] ** 2) / 2
    angle: np.ndarray = np.arctan2(sine, (np.trace(relative, axis1=-2, axis2=-1) - 1) / 2)
    return angle


def quaternion_to_rotation(xyzw: np.ndarray) -> np.ndarray:
    """[..., 3, 3] rotations of quaternions [..., 4] in the order x y z w, normalised here."""
    x, y, z, w = np.moveaxis(xyzw / np.linalg.norm(xyzw, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def axis_angle_to_rotation(vectors: np.ndarray) -> np.ndarray:
    """[..., 3, 3] rotations about the vectors [..., 3], by their lengths in rad (Rodrigues' formula)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    skew = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    # sinc(t / pi) is sin(t) / t, and 1 at t = 0
    half = np.sinc(angle / (2 * np.pi))
    rotation: np.ndarray = np.eye(3) + np.sinc(angle / np.pi) * skew + 0.5 * half**2 * (skew @ skew)
    return rotation


def transform_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 3] through one rigid transform [4, 4]."""
    assert transform.shape == (4, 4), transform.shape
    moved: np.ndarray = points @ transform[:3, :3].T + transform[:3, 3]
    return moved


def unproject(depth: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Camera points [H, W, 3] of a z-depth map [H, W] with intrinsics K [3, 3]; NaN depth gives NaN points."""
    assert depth.ndim == 2, depth.shape
    assert K.shape == (3, 3), K.shape
    height, width = depth.shape
    x = (np.arange(width) - K[0, 2]) / K[0, 0]
    y = (np.arange(height) - K[1, 2]) / K[1, 1]
    return np.stack([x[None, :] * depth, y[:, None] * depth, depth], axis=-1)


def project(points: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [..., 2] (u, v) and depths z [...] of camera points [..., 3]; pixels are NaN where z <= 0."""
    assert points.shape[-1] == 3, points.shape
    assert K.shape == (3, 3), K.shape
    z = points[..., 2]
    safe = np.where(z > 0, z, np.nan)
    u = points[..., 0] / safe * K[0, 0] + K[0, 2]
    v = points[..., 1] / safe * K[1, 1] + K[1, 2]
    return np.stack([u, v], axis=-1), z


def resize_intrinsics(K: np.ndarray, size: tuple[int, int], to: tuple[int, int]) -> np.ndarray:
    """K [..., 3, 3] of an image of `size` (width, height) after resizing it to `to`, each axis by its own factor."""
    sx, sy = to[0] / size[0], to[1] / size[1]
    scaled = K.copy()
    scaled[..., 0, :] *= sx
    scaled[..., 1, :] *= sy
    # pixel centres: the outer edge of the image (-0.5) stays the outer edge
    scaled[..., 0, 2] = (K[..., 0, 2] + 0.5) * sx - 0.5
    scaled[..., 1, 2] = (K[..., 1, 2] + 0.5) * sy - 0.5
    return scaled


def impossible_intrinsics(K: np.ndarray, size: tuple[int, int]) -> tuple[int, str] | None:
    """The first of K [n, 3, 3] that no camera of pictures of `size` (width, height) has, and why; None: all can be.

    A principal point outside the picture, or a field of view outside `FIELD_OF_VIEW` along a side: usually K is for
    pictures of another size. Rows that are not finite are left to those who say what they miss.
    """
    for row in np.flatnonzero(np.isfinite(K).all((1, 2))):
        for axis, (side, name) in enumerate(zip(size, "xy", strict=True)):
            focal, centre = float(K[row, axis, axis]), float(K[row, axis, 2])
            degrees = 2 * np.degrees(np.arctan2(side / 2, focal))
            if not FIELD_OF_VIEW[0] <= degrees <= FIELD_OF_VIEW[1]:
                return int(row), (
                    f"f{name} {focal:g} is a field of view of {degrees:.3g}° over {side} pixels, "
                    f"outside {FIELD_OF_VIEW[0]:g}° to {FIELD_OF_VIEW[1]:g}°"
                )
            if not -0.5 <= centre <= side - 0.5:
                return int(row), f"the principal point c{name} {centre:g} is outside the picture, {side} pixels"
    return None


def turned_image(pixels: np.ndarray, quarters: int) -> np.ndarray:
    """An image or map [H, W, ...] turned clockwise by that many quarter turns."""
    return np.ascontiguousarray(np.rot90(pixels, -quarters))


def turned_camera(
    w2c: np.ndarray, K: np.ndarray, size: tuple[int, int], quarters: int
) -> tuple[np.ndarray, np.ndarray]:
    """(w2c [..., 4, 4], K [..., 3, 3]) of the camera whose image is `turned_image` of this camera's.

    `size` is (width, height) before the turn. The world stays as it is: the camera turns about its own optical
    axis, and K with it, so a world point lands on the same piece of the picture.
    """
    width, height = size
    w2c, K = w2c.copy(), K.copy()
    for _ in range(quarters % 4):
        # clockwise: what was left is up, so the new x is the old -y and the new y is the old x
        w2c[..., :2, :] = np.stack([-w2c[..., 1, :], w2c[..., 0, :]], axis=-2)
        fx, fy, cx, cy = K[..., 0, 0].copy(), K[..., 1, 1].copy(), K[..., 0, 2].copy(), K[..., 1, 2].copy()
        K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2] = fy, fx, height - 1 - cy, cx
        width, height = height, width
    return w2c, K


@dataclass(frozen=True)
class Reprojection:
    """How well one frame's depth, moved into another, agrees with the other's own depth."""

    median: float  # metres, |z moved - z seen| over `n` points; inf where nothing landed
    inside: float  # share of the valid points that land in the other image on valid depth
    n: int


def reprojection_error(
    depth_i: np.ndarray,
    K_i: np.ndarray,
    w2c_i: np.ndarray,
    depth_j: np.ndarray,
    K_j: np.ndarray,
    w2c_j: np.ndarray,
    stride: int = 1,
) -> Reprojection:
    """Move depth map i [H, W] into camera j and compare with depth map j at the nearest pixel.

    Points hidden in j count as the errors they are (nothing is filtered by its error, which would make any
    poses look good), so choose pairs that see mostly the same surfaces. Every `stride`-th pixel of i is used.
    """
    points = unproject(depth_i, K_i)[::stride, ::stride].reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=-1)]
    moved = transform_points(w2c_j @ inverse(w2c_i), points)
    pixels, z = project(moved, K_j)
    height, width = depth_j.shape
    with np.errstate(invalid="ignore"):
        uv = np.rint(pixels)
        inside = (uv[:, 0] >= 0) & (uv[:, 0] < width) & (uv[:, 1] >= 0) & (uv[:, 1] < height)
    u, v = uv[inside].astype(np.int64).T
    error = np.abs(z[inside] - depth_j[v, u])
    error = error[np.isfinite(error)]
    if not len(error):
        return Reprojection(float("inf"), 0.0, 0)
    return Reprojection(float(np.median(error)), len(error) / len(points), len(error))
