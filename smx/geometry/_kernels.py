"""Compiled loops over points and confidences. Imported only when geometry is computed (numba is heavy).

Every kernel releases the GIL and allocates nothing large, so callers run one per thread. Plain threads are
used rather than numba's own pool, which does not survive a fork and aborts on concurrent callers.
"""

from __future__ import annotations

import numpy as np

from smx._numba import compiled

CELLS = 1 << 20  # lattice indices lie in [-CELLS, CELLS) on each axis: three of them fit one int64 key
SHIFT = 21
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth's multiplicative hashing)
_EMPTY = np.int64(-1)  # keys are never negative
OFF_LATTICE, FULL = -1, -2
_BLOCK = 2048  # points looked at together, so that they stay in the fastest cache


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
    """Widen `box` [2, 3] float32 (low, high) to the finite points [M, 3] whose confidence is at least `least`."""
    x0, y0, z0 = box[0]
    x1, y1, z1 = box[1]
    chosen = np.empty(_BLOCK, dtype=np.int64)
    for start in range(0, len(points), _BLOCK):
        for c in range(_choose(points, confidence, least, start, chosen)):
            m = chosen[c]
            x, y, z = points[m, 0], points[m, 1], points[m, 2]
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
    keys: np.ndarray,
) -> int:
    """Write the distinct voxel keys of the valid points to `keys` and return how many.

    `table` int64 is a hash set (linear probing, a power of two, all -1, left as it was found); `keys` has half
    its length. Returns OFF_LATTICE for a point too far away to have a key, FULL when `table` is too small.
    """
    mask = np.uint64(len(table) - 1)
    found = 0
    chosen = np.empty(_BLOCK, dtype=np.int64)
    for start in range(0, len(points), _BLOCK):
        for c in range(_choose(points, confidence, least, start, chosen)):
            m = chosen[c]
            x = (points[m, 0] - low[0]) / edge
            y = (points[m, 1] - low[1]) / edge
            z = (points[m, 2] - low[2]) / edge
            if (min(x, y, z) < -CELLS) | (max(x, y, z) >= CELLS):
                _clear(table, keys, found)
                return OFF_LATTICE
            key = ((_floor(x) + CELLS) << SHIFT | (_floor(y) + CELLS)) << SHIFT | (_floor(z) + CELLS)
            slot = _hash(key) & mask
            while table[slot] != key and table[slot] != _EMPTY:
                slot = (slot + np.uint64(1)) & mask
            if table[slot] == _EMPTY:
                if found == len(keys):
                    _clear(table, keys, found)
                    return FULL
                table[slot] = key
                keys[found] = key
                found += 1
    _clear(table, keys, found)
    return found


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
def _choose(points: np.ndarray, confidence: np.ndarray, least: np.float32, start: int, chosen: np.ndarray) -> int:
    """Indices of the valid points of one block. No branch: half of them fail, in no order a processor could guess."""
    count = 0
    for m in range(start, min(start + _BLOCK, len(points))):
        chosen[count] = m
        finite = (abs(points[m, 0]) < np.inf) & (abs(points[m, 1]) < np.inf) & (abs(points[m, 2]) < np.inf)
        count += int((confidence[m] >= least) & finite)
    return count


@compiled
def _clear(table: np.ndarray, keys: np.ndarray, found: int) -> None:
    """Empty the slots of `keys[:found]`: newest first, so that every probe still finds its way."""
    mask = np.uint64(len(table) - 1)
    for f in range(found - 1, -1, -1):
        slot = _hash(keys[f]) & mask
        while table[slot] != keys[f]:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = _EMPTY


@compiled
def _floor(value: np.float32) -> np.int64:
    whole = np.int64(value)  # towards zero, in one instruction; floor is a call
    return whole - np.int64(whole > value)


@compiled
def _hash(key: np.int64) -> np.uint64:
    return np.uint64(key) * _GOLDEN >> np.uint64(20)


@compiled
def _is_nan(raw: np.uint32) -> bool:
    return bool((raw & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000))


@compiled
def _ordered(raw: np.uint32) -> np.uint32:
    """Bits of a float32 as an unsigned integer that sorts like the float."""
    return ~raw if raw & np.uint32(0x80000000) else raw | np.uint32(0x80000000)
