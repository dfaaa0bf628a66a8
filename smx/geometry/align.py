"""Two sets of cameras of the same frames, brought into one world: how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smx.geometry.cameras import centres, inverse, rotation_angle

_LINE = 0.02  # points whose second extent is less than this share of their first are taken for a line


@dataclass(frozen=True)
class Agreement:
    """Of n frames, after the best similarity has taken the first set's world into the second's."""

    frames: int
    scale: float  # units of the second to one of the first
    rotation: float  # median angle between the cameras, rad
    translation: float  # median distance between the centres, in units of the second
    extent: float  # root mean square distance of the second's centres from their middle, to compare it with
    focal: float  # median of |fx / fx' - 1|


def agreement(w2c: np.ndarray, K: np.ndarray, true_w2c: np.ndarray, true_K: np.ndarray) -> Agreement | None:
    """Cameras [n, 4, 4], [n, 3, 3] against others of the same frames and picture size.

    None where fewer than three frames have both, or all stand in one place: then no similarity follows.
    """
    known = np.isfinite(w2c).all(axis=(1, 2)) & np.isfinite(true_w2c).all(axis=(1, 2))
    ours, theirs = w2c[known], true_w2c[known]
    if len(ours) < 3:
        return None
    here, there = centres(ours), centres(theirs)
    extent = float(np.sqrt(((there - there.mean(axis=0)) ** 2).sum(axis=1).mean()))
    if extent < 1e-9 or np.ptp(here, axis=0).max() < 1e-9:
        return None
    scale, rotation, shift = similarity(here, there, inverse(ours)[:, :3, :3], inverse(theirs)[:, :3, :3])
    moved = scale * here @ rotation.T + shift
    turned = ours.copy()
    turned[:, :3, :3] = ours[:, :3, :3] @ rotation.T
    focal = np.abs(K[known, 0, 0] / true_K[known, 0, 0] - 1)
    return Agreement(
        len(ours),
        scale,
        float(np.median(rotation_angle(turned, theirs))),
        float(np.median(np.linalg.norm(moved - there, axis=1))),
        extent,
        float(np.median(focal)),
    )


def similarity(
    points: np.ndarray, others: np.ndarray, axes: np.ndarray, other_axes: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(scale, rotation [3, 3], shift [3]) that bring points [n, 3] nearest to others [n, 3] (Umeyama 1991).

    Points on a line leave the turn about it open: there the cameras' axes [n, 3, 3] (columns in the world) decide.
    """
    middle, other = points.mean(axis=0), others.mean(axis=0)
    near, far = points - middle, others - other
    spread = far.T @ near
    across = np.linalg.svd(near, compute_uv=False)
    if across[1] < _LINE * across[0]:
        turns = np.einsum("nij,nkj->ik", other_axes, axes) / len(points)
        spread = spread / np.linalg.norm(spread) + turns
    u, _, vt = np.linalg.svd(spread)
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    scale = float((far * (near @ rotation.T)).sum() / (near**2).sum())
    shift: np.ndarray = other - scale * rotation @ middle
    return scale, rotation, shift
