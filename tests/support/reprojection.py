"""Poses proved by what they predict: depth of one frame, moved into another, agrees with what the other shows."""

from __future__ import annotations

import numpy as np

from smx.datasets import Scene
from smx.geometry.cameras import (
    centres,
    inverse,
    project,
    reprojection_error,
    rotation_angle,
    transform_points,
    unproject,
)

# Wide enough that w2c and c2w differ plainly, near enough that both see mostly the same surfaces. The choice
# looks at the cameras and the order of frames, never at an error.
METRES, DEGREES = (0.4, 2.0), (15, 45)


def wide_pairs(w2c: np.ndarray, *, every: int = 5, step: int = 4, apart: int = 16) -> list[tuple[int, int]]:
    """Positions (i, j): every so many frames with a later one 0.4-2 m and 15-45 degrees away, at most `apart` on."""
    place = centres(w2c)
    pairs = []
    for i in range(0, len(w2c), every):
        for j in range(i + step, min(i + apart + 1, len(w2c)), step):
            far = float(np.linalg.norm(place[i] - place[j]))
            turned = float(np.degrees(rotation_angle(w2c[i], w2c[j])))
            if METRES[0] <= far <= METRES[1] and DEGREES[0] <= turned <= DEGREES[1]:
                pairs.append((i, j))
    return pairs


def errors(scene: Scene, w2c: np.ndarray, pairs: list[tuple[int, int]], stride: int = 4) -> np.ndarray:
    """[pairs] median error in metres; pairs of which under a quarter of the points land are left out (NaN)."""
    maps = {i: scene.depth(int(scene.frame_ids[i])) for pair in pairs for i in pair}
    found = []
    for i, j in pairs:
        first, second = maps[i], maps[j]
        assert first is not None
        assert second is not None
        result = reprojection_error(*first, w2c[i], *second, w2c[j], stride=stride)
        found.append(result.median if result.inside >= 0.25 else np.nan)
    return np.array(found)


def colour_errors(scene: Scene, w2c: np.ndarray, K: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """[pairs] median difference (0..255) of the colours of one surface point in both frames; K [N, 3, 3] of the frames.

    Points come from the depth of the first frame; those hidden in the second are left out by its own depth.
    """
    pictures = dict(scene.decode(sorted({int(scene.frame_ids[i]) for pair in pairs for i in pair})))
    found = []
    for i, j in pairs:
        first, second = scene.depth(int(scene.frame_ids[i])), scene.depth(int(scene.frame_ids[j]))
        assert first is not None
        assert second is not None
        points = unproject(*first).reshape(-1, 3)
        points = points[np.isfinite(points).all(axis=1)]
        moved = transform_points(w2c[j] @ inverse(w2c[i]), points)
        seen = _sample(second[0], project(moved, second[1])[0])
        visible = np.abs(seen - moved[:, 2]) < 0.03
        here = _sample(pictures[int(scene.frame_ids[i])], project(points[visible], K[i])[0])
        there = _sample(pictures[int(scene.frame_ids[j])], project(moved[visible], K[j])[0])
        difference = np.abs(here - there).mean(axis=-1)
        found.append(float(np.nanmedian(difference)) if np.isfinite(difference).sum() > 100 else np.nan)
    return np.array(found)


def _sample(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values of `image` at the nearest pixels [n, 2], NaN outside."""
    u, v = np.rint(np.nan_to_num(pixels, nan=-9)).astype(np.int64).T
    height, width = image.shape[:2]
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    values: np.ndarray = image[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)].astype(np.float64)
    values[~inside] = np.nan
    return values
