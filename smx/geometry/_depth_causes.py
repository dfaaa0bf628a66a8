"""Why cameras and depth disagree: each usual mistake is undone, and the one that brings the error down is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from smx.geometry.cameras import inverse, quaternion_to_rotation

_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_RIGHT, _AGREES = 0.02, 0.05  # a cause must bring the error below the first, or to a fifth and below the second
_FACTORS = 2.0 ** np.arange(-12, 12.25, 0.25)  # of depth to cameras; 1000 is tried beside
_FOCAL = (0.25, 0.5, 2.0, 4.0)
# Depth that is so many times what the cameras say.
_UNITS = {
    5.0: "TUM's 5,000 units a metre?",
    4.0: "4,000 units a metre?",
    6.5535: "Replica's 6,553.5 units a metre?",
    10.0: "10,000 units a metre?",
    0.1: "100 units a metre?",
    1000.0: "depth in millimetres, or poses in kilometres?",
    0.001: "poses in millimetres, or depth in kilometres?",
    100.0: "depth in centimetres?",
    0.01: "poses in centimetres?",
}


class Moved(Protocol):
    """What is asked again and again: the error, were cameras and depth others."""

    ids: list[int]
    w2c: np.ndarray

    def error(
        self, pairs: Sequence[tuple[int, int]], w2c: np.ndarray | None = None, factor: float = 1.0, focal: float = 1.0
    ) -> float: ...


def likeliest_cause(
    frames: Moved, pairs: Sequence[tuple[int, int]], error: float, all_ids: np.ndarray, all_w2c: np.ndarray
) -> str:
    """In words; "" where none of the usual mistakes explains it."""
    tried: list[tuple[float, int, str]] = []  # (error, how far-fetched, cause)
    factor, left = _best_factor(frames, pairs, None)
    tried.append((left, 0, _of_units(factor)))
    tried += [(frames.error(pairs, w2c), 1, cause) for cause, w2c in _conventions(frames.w2c)]
    tried += [(frames.error(pairs, w2c), 2, cause) for cause, w2c in _orders(frames.ids, all_ids, all_w2c)]
    tried += [
        (frames.error(pairs, focal=focal), 2, f"intrinsics ×{1 / focal:g}: of a picture of another size?")
        for focal in _FOCAL
    ]
    enough = min(_AGREES, max(_RIGHT, error / 5))
    explaining = [entry for entry in tried if entry[0] <= enough]
    if not explaining:
        for cause, w2c in _conventions(frames.w2c):
            factor, left = _best_factor(frames, pairs[:: max(1, len(pairs) // 5)], w2c)
            if left <= enough:
                explaining.append((left, 3, f"{cause}; and {_of_units(factor)}"))
    # Of causes that explain it about as well, the nearest at hand.
    best = min((left for left, _, _ in explaining), default=0.0)
    near = [(fetched, left, cause) for left, fetched, cause in explaining if left <= 2 * best + 0.002]
    return f"likeliest cause: {min(near)[2]}" if near else ""


def _best_factor(frames: Moved, pairs: Sequence[tuple[int, int]], w2c: np.ndarray | None) -> tuple[float, float]:
    """(what depth must be multiplied by, the error then): over a grid, then finer around its best."""
    few = pairs[:: max(1, len(pairs) // 12)]
    tried = {float(f): frames.error(few, w2c, factor=float(f)) for f in (*_FACTORS, 1e-3, 1e3)}
    best = min(tried, key=lambda f: tried[f])
    width = 2.0**0.125
    for _ in range(6):
        around = {f: frames.error(few, w2c, factor=f) for f in (best / width, best * width)}
        tried |= around
        best = min((best, *around), key=lambda f: tried[f])
        width = width**0.5
    return best, frames.error(pairs, w2c, factor=best)


def _of_units(factor: float) -> str:
    times = 1 / factor
    # The factor is found to a hundredth or two.
    usual = next((unit for unit in _UNITS if abs(times / unit - 1) < 0.03), None)
    if usual is None:
        return f"depth ×{times:.2g} of what the cameras say: another unit, or poses without a scale?"
    return f"depth ×{usual:g}: {_UNITS[usual]}"


def _conventions(w2c: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Cameras as they would be, were the file of another convention."""
    yield "the convention: world-to-camera matrices read as camera-to-world, or the reverse?", inverse(w2c)
    yield "the convention: OpenGL axes (y up, z backward)?", _OPENGL @ w2c
    yield "the convention: OpenGL axes, and the matrices inverted?", _OPENGL @ inverse(w2c)
    yield "the convention: the world turned to OpenGL axes and the cameras not?", w2c @ _OPENGL
    yield "the convention: quaternions as w x y z read as x y z w?", _requaternioned(w2c, [1, 2, 3, 0])
    yield "the convention: quaternions as x y z w read as w x y z?", _requaternioned(w2c, [3, 0, 1, 2])


def _requaternioned(w2c: np.ndarray, order: list[int]) -> np.ndarray:
    """Cameras whose camera-to-world quaternion had its four numbers in another order."""
    from scipy.spatial.transform import Rotation

    c2w = inverse(w2c)
    c2w[:, :3, :3] = quaternion_to_rotation(Rotation.from_matrix(c2w[:, :3, :3]).as_quat()[:, order])
    return inverse(c2w)


def _orders(ids: list[int], all_ids: np.ndarray, all_w2c: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Cameras of `ids`, were the poses of the scene's frames in another order."""
    rows = np.searchsorted(all_ids, ids)
    count = len(all_ids)
    as_text = np.argsort([str(i) for i in all_ids.tolist()], kind="stable")
    yield "the order: poses sorted as text (1, 10, 100, 2 …)?", all_w2c[np.argsort(as_text)][rows]
    yield "the order: poses from last to first?", all_w2c[::-1][rows]
    for shift in (*range(1, 9), *(count * k // 8 for k in range(1, 8))):
        for by in (shift, -shift):
            late = "late" if by < 0 else "early"
            yield f"the order: poses {abs(by)} frames too {late}?", np.roll(all_w2c, by, axis=0)[rows]
