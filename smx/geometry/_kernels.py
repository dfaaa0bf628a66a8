"""Compiled loops over points and confidences. Imported only when geometry is computed (numba is heavy).

Every kernel releases the GIL and allocates nothing large, so callers run one per thread. Plain threads are
used rather than numba's own pool, which does not survive a fork and aborts on concurrent callers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np

Kernel = TypeVar("Kernel", bound=Callable[..., object])

CELLS = 1 << 20  # lattice indices lie in [-CELLS, CELLS) on each axis: three of them fit one int64 key
_SHIFT = 21
_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth's multiplicative hashing)
_EMPTY = np.int64(-1)  # keys are never negative


def compiled(function: Kernel) -> Kernel:
    """Compile on the first call; kept on disk where some cache folder can be written (an image may have none)."""
    try:
        return cast(Kernel, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast(Kernel, numba.njit(nogil=True)(function))


@compiled
def count_high(bits: np.ndarray, counts: np.ndarray) -> None:
    """Add to `counts` [65536] the upper 16 bits of each float32 given as uint32 `bits`, in value order."""
    for raw in bits:
        if not _is_nan(raw):
            counts[_ordered(raw) >> np.uint32(16)] += 1


@compiled
def count_low(bits: np.ndarray, high: int, counts: np.ndarray) -> None:
    """Add to `counts` [65536] the lower 16 bits of those values whose upper 16 bits are `high`."""
    for raw in bits:
        if not _is_nan(raw):
            key = _ordered(raw)
            if key >> np.uint32(16) == high:
                counts[key & np.uint32(0xFFFF)] += 1


@compiled
def bounds(points: np.ndarray, confidence: np.ndarray, least: np.float32, box: np.ndarray) -> None:
    """Widen `box` [2, 3] float32 (low, high) to the finite points [M, 3] whose confidence is >= `least` and > 0.1."""
    x0, y0, z0 = box[0]
    x1, y1, z1 = box[1]
    for m in range(len(points)):
        if confidence[m] >= least and confidence[m] > np.float32(0.1):
            x, y, z = points[m, 0], points[m, 1], points[m, 2]
            if math.isfinite(x) and math.isfinite(y) and math.isfinite(z):
                x0, y0, z0 = min(x0, x), min(y0, y), min(z0, z)
                x1, y1, z1 = max(x1, x), max(y1, y), max(z1, z)
    box[0, 0], box[0, 1], box[0, 2] = x0, y0, z0
    box[1, 0], box[1, 1], box[1, 2] = x1, y1, z1


@compiled
def occupied(
    points: np.ndarray,
    confidence: np.ndarray,
    least: np.float32,
    low: np.ndarray,
    edge: np.float32,
    table: np.ndarray,
    slots: np.ndarray,
    keys: np.ndarray,
) -> int:
    """Write the distinct voxel keys of the valid points to `keys` and return how many; -1 if one is off the lattice.

    `table` int64 (a power of two >= 2 M, all -1) is a hash set with linear probing; it is left as it was found.
    """
    mask = np.uint64(len(table) - 1)
    found = 0
    last = _EMPTY
    inside = True
    for m in range(len(points)):
        if not (confidence[m] >= least and confidence[m] > np.float32(0.1)):
            continue
        x, y, z = points[m, 0], points[m, 1], points[m, 2]
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
            continue
        i = np.floor((x - low[0]) / edge)
        j = np.floor((y - low[1]) / edge)
        k = np.floor((z - low[2]) / edge)
        if min(i, j, k) < -CELLS or max(i, j, k) >= CELLS:
            inside = False
            break
        key = (((np.int64(i) + CELLS) << _SHIFT | (np.int64(j) + CELLS)) << _SHIFT) | (np.int64(k) + CELLS)
        if key == last:  # neighbours in a row mostly share their voxel
            continue
        last = key
        slot = (np.uint64(key) * _HASH >> np.uint64(20)) & mask
        while table[slot] != _EMPTY and table[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] == _EMPTY:
            table[slot] = key
            slots[found] = slot
            keys[found] = key
            found += 1
    for f in range(found):
        table[slots[f]] = _EMPTY
    return found if inside else -1


@compiled
def unproject(depth: np.ndarray, k_inverse: np.ndarray, c2w: np.ndarray, points: np.ndarray) -> None:
    """World points [h*w, 3] float32 of a depth map [h, w] (z along the axis, metres); NaN where it is not > 0."""
    height, width = depth.shape
    m = 0
    for v in range(height):
        for u in range(width):
            z = np.float64(depth[v, u])
            if z > 0 and z < np.inf:
                x = (k_inverse[0, 0] * u + k_inverse[0, 1] * v + k_inverse[0, 2]) * z
                y = (k_inverse[1, 0] * u + k_inverse[1, 1] * v + k_inverse[1, 2]) * z
                for axis in range(3):
                    points[m, axis] = c2w[axis, 0] * x + c2w[axis, 1] * y + c2w[axis, 2] * z + c2w[axis, 3]
            else:
                points[m, 0] = np.nan
                points[m, 1] = np.nan
                points[m, 2] = np.nan
            m += 1


@compiled
def _is_nan(raw: np.uint32) -> bool:
    return bool((raw & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000))


@compiled
def _ordered(raw: np.uint32) -> np.uint32:
    """Bits of a float32 as an unsigned integer that sorts like the float."""
    return ~raw if raw & np.uint32(0x80000000) else raw | np.uint32(0x80000000)
