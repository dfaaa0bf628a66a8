"""Which cells of space a camera looks into, from its pose and intrinsics alone."""

from __future__ import annotations

import numpy as np

from smx.errors import SceneError
from smx.geometry.cameras import centres, inverse, project, transform_points

_SHIFT = 21
_CELLS = 1 << (_SHIFT - 1)  # lattice indices lie in [-_CELLS, _CELLS) on each axis: three of them fit one int64 key


def cells_in_view(
    w2c: np.ndarray, K: np.ndarray, size: tuple[int, int], near: float, far: float, edge: float
) -> list[np.ndarray]:
    """Per camera the distinct cells (int64 keys, ascending) whose centre it has in its frustum.

    `w2c` [n, 4, 4] and `K` [n, 3, 3] of images of `size` (width, height) pixels. In the frustum is what lies
    `near` to `far` along the axis and projects into the image. Cells are cubes of `edge` on a lattice that
    starts at the lowest corner of the box around all camera centres, so that moving the world moves nothing.
    Lengths are in the unit of the cameras. Raises `SceneError` where cameras lie millions of cells apart.
    """
    origin = centres(w2c).min(axis=0)
    return [
        _in_frustum(pose, intrinsics, size, near, far, edge, origin) for pose, intrinsics in zip(w2c, K, strict=True)
    ]


def _in_frustum(
    w2c: np.ndarray,
    K: np.ndarray,
    size: tuple[int, int],
    near: float,
    far: float,
    edge: float,
    origin: np.ndarray,
) -> np.ndarray:
    corners = transform_points(inverse(w2c), _corners(K, size, near, far)) - origin
    low, high = np.floor(corners.min(axis=0) / edge), np.floor(corners.max(axis=0) / edge)
    if max(-low.min(), high.max()) >= _CELLS:
        raise SceneError(f"cameras lie a million cells of {edge:.3g} apart")
    axes = [np.arange(a, b + 1) for a, b in zip(low.astype(np.int64), high.astype(np.int64), strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    pixels, z = project(transform_points(w2c, (cells + 0.5) * edge + origin), K)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= -0.5) & (pixels < np.array(size) - 0.5)).all(axis=1) & (z >= near) & (z <= far)
    x, y, z_index = cells[inside].T + _CELLS
    return np.asarray((x << _SHIFT | y) << _SHIFT | z_index)


def _corners(K: np.ndarray, size: tuple[int, int], near: float, far: float) -> np.ndarray:
    """[8, 3] camera points: the outer corners of the image at both ends of the frustum."""
    u, v = np.meshgrid([-0.5, size[0] - 0.5], [-0.5, size[1] - 0.5])
    rays = np.stack([u.ravel(), v.ravel(), np.ones(4)], axis=1) @ np.linalg.inv(K).T
    return np.concatenate([rays * near, rays * far])
