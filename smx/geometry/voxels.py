"""Space-aware selection: which voxels each frame sees, how much two frames share, which frames cover most.

Same results as the reference of Spatial-MLLM v1.1 (space-aware frame sampling, arXiv 2505.23747), fast:
points become keys of the voxels they occupy (a hash set per frame, so a thin scene costs no more than a
thick one), keys become columns of a bit-packed matrix, and the greedy cover is lazy. Points are float32
throughout; a float64 edge would lose a voxel.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from smx.errors import SceneError

CELLS_ACROSS = 20  # voxels along the smallest side of the scene
TOO_UNSURE = 0.1  # a point of this confidence or less never counts

Rows = Sequence[int] | np.ndarray  # rows of `VoxelSets`, in the order its frames were given
_ANY = np.float32(-np.inf)


class Selection(NamedTuple):
    """What `select_by_coverage` found."""

    selected: list[int]  # frames chosen, ascending; fewer than k when the rest adds nothing
    voxel_size: float  # edge, in the unit of the points
    voxels_per_frame: np.ndarray  # [T] int64
    covered: int  # voxels seen by the selected frames


def select_by_coverage(points: ArrayLike, confidence: ArrayLike, k: int) -> Selection:
    """The k frames that together see most of the scene.

    `points` [T, H, W, 3] world points, `confidence` [T, H, W]. A point counts when it is finite and its
    confidence is at least the median over all frames and above 0.1. Each round takes the frame that adds
    most uncovered voxels, ties to the lowest index; it stops early when nothing is gained.

    Raises `SceneError` when no point counts or all of them lie in a plane.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    confidence = np.ascontiguousarray(confidence, dtype=np.float32)
    if points.ndim != 4 or points.shape[-1] != 3 or confidence.shape != points.shape[:-1]:
        raise ValueError(f"points [T, H, W, 3] and confidence [T, H, W], not {points.shape} and {confidence.shape}")
    frames = len(points)
    points, confidence = points.reshape(frames, -1, 3), confidence.reshape(frames, -1)

    least = least_confidence(confidence)
    boxes = _threaded(lambda mine: [bounding_box(points[f], confidence[f], least) for f in mine], np.arange(frames))
    grid = VoxelGrid.fit(merge_boxes(boxes))
    sets = VoxelSets.pack(_threaded(lambda mine: _keys_of(grid, points, confidence, least, mine), np.arange(frames)))
    selected = sorted(sets.greedy(k))
    return Selection(selected, float(grid.edge), sets.counts, int(sets.union_count(selected)))


def least_confidence(confidence: np.ndarray | Sequence[np.ndarray]) -> np.float32:
    """The least float32 that is both >= the median of all confidences and > 0.1."""
    return max(median(confidence), np.nextafter(np.float32(TOO_UNSURE), np.float32(1)))


def median(values: np.ndarray | Sequence[np.ndarray]) -> np.float32:
    """`numpy.percentile(values, 50)` of float32 arrays, by counting instead of sorting; NaN is left out."""
    from smx.geometry import _kernels

    arrays = [values] if isinstance(values, np.ndarray) else values
    flat = [np.ascontiguousarray(array, dtype=np.float32).reshape(-1).view(np.uint32) for array in arrays]
    parts = [p for bits in flat for p in np.array_split(bits, max(1, min(_threads(), bits.size >> 16)))]

    def histogram(count: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
        def one(mine: Sequence[np.ndarray]) -> np.ndarray:
            counts = np.zeros(1 << 16, dtype=np.int64)
            for part in mine:
                count(part, counts)
            return counts

        shares = [parts[turn :: _threads()] for turn in range(min(_threads(), len(parts)))]
        with ThreadPoolExecutor(max(1, len(shares))) as pool:
            return np.cumsum(np.sum(list(pool.map(one, shares)), axis=0))

    upto = histogram(_kernels.count_high)
    total = int(upto[-1])
    if total == 0:
        raise SceneError("no confidence is a number")
    middle = []
    within: dict[int, np.ndarray] = {}
    for rank in ((total - 1) // 2, total // 2):
        high = int(np.searchsorted(upto, rank, side="right"))
        if high not in within:
            within[high] = histogram(lambda part, counts, high=high: _kernels.count_low(part, high, counts))  # type: ignore[misc]
        before = int(upto[high - 1]) if high else 0
        low = int(np.searchsorted(within[high], rank - before, side="right"))
        ordered = high << 16 | low
        middle.append(ordered & 0x7FFFFFFF if ordered >> 31 else ~ordered & 0xFFFFFFFF)
    return np.float32(np.percentile(np.array(middle, dtype=np.uint32).view(np.float32), 50))


def bounding_box(points: np.ndarray, confidence: np.ndarray | None = None, least: np.float32 = _ANY) -> np.ndarray:
    """[2, 3] float32 low and high corner of the valid points; (inf, -inf) where there are none."""
    from smx.geometry import _kernels

    points = points.reshape(-1, 3)
    box = np.array([[np.inf] * 3, [-np.inf] * 3], dtype=np.float32)
    _kernels.bounds(points, _flat(confidence, len(points)), np.float32(least), box)
    return box


def merge_boxes(boxes: Iterable[np.ndarray]) -> np.ndarray:
    """The box [2, 3] around `boxes`."""
    stack = np.stack(list(boxes))
    return np.stack([stack[:, 0].min(axis=0), stack[:, 1].max(axis=0)])


_STRAY = 0.001  # share of points that may lie anywhere
_REACH = 0.1  # of the box around the others: so far out, a point is of the scene


def without_strays(box: np.ndarray, some: np.ndarray) -> np.ndarray:
    """`box` [2, 3] of measured points, of which `some` [n, 3] float32 are a sample, without a few that lie far out.

    A side that reaches farther than a tenth of the box beyond 99.9 % of the points ends with those: one depth pixel
    at 60 m makes no voxels of 1.5 m. Where nothing lies out, the box stays as it is to the last bit.
    """
    some = some[np.isfinite(some).all(axis=1)]
    if not len(some) or not np.isfinite(box).all():
        return box
    low, high = np.quantile(some, [_STRAY, 1 - _STRAY], axis=0).astype(np.float32)
    reach = np.float32(_REACH) * (high - low)
    return np.stack([np.where(box[0] < low - reach, low, box[0]), np.where(box[1] > high + reach, high, box[1])])


@dataclass(frozen=True)
class VoxelGrid:
    """A lattice of cubes that starts at `low`. Points outside the fitted box have voxels too."""

    low: np.ndarray  # [3] float32
    high: np.ndarray  # [3] float32
    edge: np.float32

    @classmethod
    def fit(cls, box: np.ndarray, edge: float | None = None) -> VoxelGrid:
        """Grid over `box` [2, 3]: a twentieth of its smallest side per voxel, or a fixed `edge` (unit of the points).

        Raises `SceneError` for an empty box and for one that is flat, where no edge follows from it.
        """
        low, high = np.asarray(box, dtype=np.float32)
        if not np.isfinite(box).all():
            raise SceneError("no point of any candidate frame is valid")
        sides = high - low
        size = np.float32(edge) if edge is not None else np.min(sides) / np.float32(CELLS_ACROSS)
        extent = " x ".join(f"{side:.3g}" for side in sides)
        if edge is not None and np.max(sides) >= size * (1 << 20):
            raise SceneError(f"voxels of {edge:g} are too small for valid points that spread over {extent}")
        if not size > 0 or np.max(sides) / size >= 1 << 20:
            raise SceneError(f"all valid points lie in a plane ({extent}), so no voxel edge follows; set a voxel_size")
        return cls(low, high, np.float32(size))

    @staticmethod
    def cells(keys: np.ndarray) -> np.ndarray:
        """[n, 3] int64 lattice indices of voxel keys [n]; a voxel's middle is low + (index + 0.5) · edge."""
        from smx.geometry import _kernels

        mask = (1 << _kernels.SHIFT) - 1
        return (
            np.stack([keys >> 2 * _kernels.SHIFT, keys >> _kernels.SHIFT & mask, keys & mask], axis=1) - _kernels.CELLS
        )

    def keys(self, points: np.ndarray, confidence: np.ndarray | None = None, least: np.float32 = _ANY) -> np.ndarray:
        """Distinct voxels (int64 keys, ascending) of the valid points [..., 3] float32."""
        return self._hashed(points.reshape(-1, 3), confidence, least, _Scratch())

    def _hashed(
        self, points: np.ndarray, confidence: np.ndarray | None, least: np.float32, scratch: _Scratch
    ) -> np.ndarray:
        from smx.geometry import _kernels

        seen = (points, _flat(confidence, len(points)), np.float32(least), self.low, self.edge)
        while (count := _kernels.occupied(*seen, scratch.table, scratch.keys)) == _kernels.FULL:
            scratch.double()
        if count == _kernels.OFF_LATTICE:
            raise SceneError(f"a point lies a million voxels of {self.edge:.3g} away from the scene")
        return np.sort(scratch.keys[:count])


class _Scratch:
    """Work space of one thread: small enough for the processor's cache until a frame needs more."""

    def __init__(self) -> None:
        self._allocate(1 << 14)

    def double(self) -> None:
        self._allocate(2 * len(self.table))

    def _allocate(self, size: int) -> None:
        self.table = np.full(size, -1, dtype=np.int64)
        self.keys = np.empty(size // 2, dtype=np.int64)


class VoxelSets:
    """Which of the occupied voxels each frame sees: a bit per frame and voxel."""

    def __init__(self, bits: np.ndarray, total: int) -> None:
        self.bits = bits  # [F, words] uint64
        self.total = total  # voxels seen by any frame
        self.counts: np.ndarray = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)  # [F] voxels per frame

    @classmethod
    def pack(cls, keys: Sequence[np.ndarray]) -> VoxelSets:
        """From the distinct voxel keys of each frame; columns are compacted to the occupied voxels."""
        universe = np.unique(np.concatenate([*keys, np.empty(0, dtype=np.int64)]))
        words = -(-max(1, len(universe)) // 64)
        bits = np.empty((len(keys), words), dtype=np.uint64)
        row = np.zeros(words * 64, dtype=np.uint8)
        for frame, mine in enumerate(keys):
            columns = np.searchsorted(universe, mine)
            row[columns] = 1
            bits[frame] = np.packbits(row, bitorder="little").view(np.uint64)
            row[columns] = 0
        return cls(bits, len(universe))

    def __len__(self) -> int:
        return len(self.bits)

    def overlap(self, a: Rows | int, b: Rows | int) -> np.ndarray:
        """|Va ∩ Vb| / min(|Va|, |Vb|), element by element; 0 where either is empty. Rows, not frame ids."""
        a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
        shared, smaller = self._shared(a, b), np.minimum(self.counts[a], self.counts[b])
        return np.asarray(np.divide(shared, smaller, out=np.zeros(np.shape(shared)), where=smaller > 0))

    def iou(self, a: Rows | int, b: Rows | int) -> np.ndarray:
        """|Va ∩ Vb| / |Va ∪ Vb|, element by element; 0 where both are empty."""
        a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
        shared = self._shared(a, b)
        either = self.counts[a] + self.counts[b] - shared
        return np.asarray(np.divide(shared, either, out=np.zeros(np.shape(shared)), where=either > 0))

    def union_count(self, rows: Rows) -> int:
        """Voxels seen by at least one of `rows`."""
        return int(np.bitwise_count(self._union(rows)).sum(dtype=np.int64))

    def coverage(self, rows: Rows, of: Rows | None = None) -> float:
        """Share of the voxels seen by rows `of` (all rows) that `rows` see."""
        whole = self._union(np.arange(len(self)) if of is None else of)
        total = int(np.bitwise_count(whole).sum(dtype=np.int64))
        seen = int(np.bitwise_count(whole & self._union(rows)).sum(dtype=np.int64))
        return seen / total if total else 0.0

    def greedy(self, k: int, groups: np.ndarray | None = None) -> list[int]:
        """Up to k groups of rows, in the order taken, each adding most uncovered voxels; stops at no gain.

        `groups` [M, g]: rows taken together (default: each row alone). Groups that share a row exclude each
        other. Ties go to the lowest group. A gain can only shrink as more is covered, so an old gain is an
        upper bound and only the top of a heap is ever computed again.
        """
        members = np.arange(len(self))[:, None] if groups is None else np.asarray(groups, dtype=np.int64)
        heap = [(-gain, group) for group, gain in enumerate(self._group_counts(members))]
        heapq.heapify(heap)
        covered = np.zeros(self.bits.shape[1], dtype=np.uint64)
        used = np.zeros(len(self), dtype=bool)
        order: list[int] = []
        while heap and len(order) < k:
            bound, group = heap[0]
            if bound == 0:
                break
            rows = members[group]
            if used[rows].any():
                heapq.heappop(heap)
                continue
            seen = self._union(rows)
            gain = int(np.bitwise_count(seen & ~covered).sum(dtype=np.int64))
            if gain < -bound:
                heapq.heapreplace(heap, (-gain, group))
                continue
            heapq.heappop(heap)
            covered |= seen
            used[rows] = True
            order.append(group)
        return order

    def _group_counts(self, members: np.ndarray) -> list[int]:
        if members.shape[1] == 1:
            return [int(c) for c in self.counts[members[:, 0]]]
        return [self.union_count(rows) for rows in members]

    def _union(self, rows: Rows) -> np.ndarray:
        return np.asarray(np.bitwise_or.reduce(self.bits[np.asarray(rows, dtype=np.int64)], axis=0))

    def _shared(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        first, second = np.broadcast_arrays(a, b)
        shared = np.empty(first.shape, dtype=np.int64)
        for at in np.ndindex(first.shape):  # one pair at a time: a thin scene has megabytes per row
            shared[at] = np.bitwise_count(self.bits[first[at]] & self.bits[second[at]]).sum(dtype=np.int64)
        return shared


def _keys_of(
    grid: VoxelGrid, points: np.ndarray, confidence: np.ndarray, least: np.float32, frames: np.ndarray
) -> list[np.ndarray]:
    scratch = _Scratch()
    return [grid._hashed(points[f], confidence[f], least, scratch) for f in frames]


def _flat(confidence: np.ndarray | None, size: int) -> np.ndarray:
    return np.ones(size, dtype=np.float32) if confidence is None else confidence.reshape(-1)


def _threaded(work: Callable[[np.ndarray], list[np.ndarray]], frames: np.ndarray) -> list[np.ndarray]:
    """`work` on contiguous parts of `frames`, one part per thread; results in order."""
    parts = np.array_split(frames, max(1, min(_threads(), len(frames))))
    with ThreadPoolExecutor(len(parts)) as pool:
        return [result for part in pool.map(work, parts) for result in part]


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
