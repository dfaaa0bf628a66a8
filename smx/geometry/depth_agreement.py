"""Whether cameras and depth belong together: depth of candidates, moved into neighbouring cameras, against theirs.

Right data agree to a thousandth of the distance (a Kinect's: four); wrong units, order, scale or conventions are off
by a tenth to infinity. A neighbour is the farthest candidate that still sees much of the same: a camera-to-world matrix
taken for its inverse, and another unit, hide between two frames of one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from smx.geometry._depth_causes import likeliest_cause
from smx.geometry.cameras import centres, inverse, project, rotation_angle, transform_points, unproject

LIMIT = 0.05  # relative error above which cameras and depth do not belong together
ANCHORS = 12  # candidates that are moved
_CAMERA_LIMIT = 0.1  # between two neighbours, one of which may be half hidden
_POINTS = 800  # of a depth map that are moved
_LANDED = 0.02  # share of them below which two frames see nothing in common
_TURN, _STEP = np.deg2rad(25.0), 0.5  # rad, and share of the depth, up to which two frames see much of the same
_SEARCH = 4  # every so many of those points are enough to look for a cause with
_FARTHEST = 16  # candidates to a neighbour, at most
_JUMP = 3.0  # times the longest step of the others
_FEW = 0.1  # share of candidates that may be left out for their cameras

Depth = Callable[[int], "tuple[np.ndarray, np.ndarray] | None"]  # frame id -> (depth [h, w], its K)


@dataclass(frozen=True)
class Agreement:
    """How well a scene's depth agrees with its cameras."""

    error: float | None  # median relative error of the depth; None where no two frames could be compared
    pairs: int  # that were compared
    unconfirmed: tuple[int, ...] = ()  # frame ids of cameras that no neighbour confirms, where others do
    cause: str = ""  # the likeliest, where the error is large

    def record(self) -> dict[str, Any]:
        """For `sample.json`; an infinite error is null, since JSON has no infinity."""
        error = None if self.error is None or not np.isfinite(self.error) else round(self.error, 6)
        return {**asdict(self), "error": error, "unconfirmed": list(self.unconfirmed)}

    @property
    def doubt(self) -> str:
        """Why the scene is not to be believed; "" where nothing speaks against it."""
        if self.error is None or self.error <= LIMIT:
            return ""
        off = f"off by {self.error:.0%}" if np.isfinite(self.error) else "nowhere near what they see"
        cause = self.cause or "no usual cause explains it; cameras or depth may be of other frames"
        return f"depth and cameras disagree: moved into its neighbours, depth is {off} (right: below 1%); {cause}"

    def warnings(self) -> list[str]:
        """What to say of it."""
        lines = [self.doubt] if self.doubt else []
        if self.unconfirmed:
            names = ", ".join(map(str, self.unconfirmed[:8])) + (" …" if len(self.unconfirmed) > 8 else "")
            plural = "s" if len(self.unconfirmed) > 1 else ""
            lines.append(f"no neighbour confirms the camera{plural} of frame{plural} {names}: left out")
        return lines


def agreement(ids: Sequence[int], w2c: np.ndarray, depth: Depth, all_poses: Callable[[], Any]) -> Agreement | None:
    """Of frames `ids` (in time order) with cameras `w2c` [n, 4, 4], NaN where lost; None without cameras or depth.

    `all_poses`: (frame ids [N], w2c [N, 4, 4]) of the whole scene, asked for where something is wrong.
    """
    posed = np.flatnonzero(np.isfinite(w2c).all(axis=(1, 2)))
    frames = _Frames([int(ids[row]) for row in posed.tolist()], w2c[posed], depth)
    if not len(posed) or not any(frames.points(at) is not None for at in frames.anchors()):
        return None
    chosen = [(a, b, near) for a in frames.anchors() for b, near in frames.neighbours(a)]
    chosen = [each for each in chosen if frames.points(each[0]) is not None and frames.target(each[1]) is not None]
    if not chosen:
        return Agreement(None, 0)
    pairs = [(a, b) for a, b, _ in chosen]
    error = frames.error(pairs)
    if error > LIMIT:
        cause = likeliest_cause(frames.thinned(), pairs, error, *all_poses())
        if not cause and 2 * sum(near for _, _, near in chosen) <= len(chosen):
            return Agreement(None, 0)  # few frames of a long walk see little of the same: nothing follows
        return Agreement(error, len(pairs), cause=cause)
    return Agreement(error, len(pairs), tuple(frames.ids[at] for at in _unconfirmed(frames)))


class _Frames:
    """Frames with cameras; what is moved of each is taken once."""

    def __init__(self, ids: list[int], w2c: np.ndarray, depth: Depth) -> None:
        self.ids, self.w2c, self._depth = ids, w2c, depth
        self._points: dict[int, np.ndarray | None] = {}
        self.centres = centres(w2c)

    def anchors(self) -> list[int]:
        """Places of up to `ANCHORS` frames, spread evenly."""
        return sorted(set(np.linspace(0, len(self.ids) - 1, min(ANCHORS, len(self.ids))).round().astype(int).tolist()))

    def target(self, at: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(depth map, its K) of a frame."""
        return self._depth(self.ids[at])

    def points(self, at: int) -> np.ndarray | None:
        """[p, 3] points of a frame in its camera's axes; None without valid depth."""
        if at not in self._points:
            target = self.target(at)
            self._points[at] = None if target is None else _some_points(*target)
        return self._points[at]

    def neighbours(self, at: int) -> list[tuple[int, bool]]:
        """The farthest frames before and after that are turned and moved little enough (True), else the next."""
        points = self.points(at)
        if points is None:
            return []
        far = _STEP * float(np.median(points[:, 2]))
        places = []
        for way in (1, -1):
            ahead = [b for k in range(1, _FARTHEST + 1) if 0 <= (b := at + way * k) < len(self.ids)]
            if ahead:
                turned = rotation_angle(self.w2c[ahead], self.w2c[at]) > _TURN
                moved = np.linalg.norm(self.centres[ahead] - self.centres[at], axis=1) > far
                near = int(np.argmax([*(turned | moved), True]))
                places.append((ahead[max(0, near - 1)], near > 0))
        return places

    def thinned(self) -> _Frames:
        """The same with fewer points, to look for causes."""
        thin = _Frames(self.ids, self.w2c, self._depth)
        thin._points = {at: None if p is None else p[::_SEARCH] for at, p in self._points.items()}
        return thin

    def error(
        self, pairs: Sequence[tuple[int, int]], w2c: np.ndarray | None = None, factor: float = 1.0, focal: float = 1.0
    ) -> float:
        """Median over `pairs` of their relative errors, were the cameras `w2c`, depth `factor` and K `focal` times."""
        return float(np.median([self.pair_error(a, b, w2c, factor, focal) for a, b in pairs]))

    def pair_error(
        self, a: int, b: int, w2c: np.ndarray | None = None, factor: float = 1.0, focal: float = 1.0
    ) -> float:
        """Median of |z moved - z measured| / z measured; inf where next to nothing lands."""
        points, target = self.points(a), self.target(b)
        if points is None or target is None:
            return np.inf
        poses = self.w2c if w2c is None else w2c
        relative = poses[b] @ inverse(poses[a])
        if not np.isfinite(relative).all():
            return np.inf
        depth, K = target
        relative[:3, 3] /= factor  # as if depth were longer
        moved = transform_points(relative, points / [focal, focal, 1.0])
        pixels, z = project(moved, K @ np.diag([focal, focal, 1.0]))
        with np.errstate(invalid="ignore"):
            uv = np.rint(pixels)  # NaN behind the camera, which is inside of nothing
            inside = ((uv >= 0) & (uv < depth.shape[::-1])).all(axis=1)
        u, v = uv[inside].astype(np.int64).T
        measured = depth[v, u]
        off = np.abs(z[inside] - measured) / measured
        off = off[np.isfinite(off)]  # NaN where nothing was measured
        return float(np.median(off)) if len(off) >= max(8, _LANDED * len(points)) else np.inf


def _some_points(depth: np.ndarray, K: np.ndarray) -> np.ndarray | None:
    step = max(1, int(np.sqrt(depth.size / _POINTS)))
    rows, columns = np.arange(step // 2, depth.shape[0], step), np.arange(step // 2, depth.shape[1], step)
    thin = K.copy()
    thin[:2] /= step
    thin[:2, 2] = (K[:2, 2] - step // 2) / step  # pixel step // 2 is the first of the thinned rows and columns
    points = unproject(depth[np.ix_(rows, columns)].astype(np.float64), thin).reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1)]
    return points if len(points) else None


def _unconfirmed(frames: _Frames) -> list[int]:
    """Places of cameras that agree with none of their neighbours, where those on both sides of them agree, or that are
    farther from these than any two others in a row are from each other.

    A few at most: where many stand alone, the frames share no view, and nothing follows.
    """
    count = len(frames.ids)
    agree: dict[tuple[int, int], bool] = {}

    def both(a: int, b: int) -> bool:
        key = (min(a, b), max(a, b))
        if key not in agree:
            agree[key] = min(frames.pair_error(a, b), frames.pair_error(b, a)) <= _CAMERA_LIMIT
        return agree[key]

    def near(at: int, reach: int) -> list[int]:
        return [b for b in range(at - reach, at + reach + 1) if b != at and 0 <= b < count]

    alone = [at for at in range(count) if frames.points(at) is not None and not any(both(at, b) for b in near(at, 1))]
    alone = [at for at in alone if not any(both(at, b) for b in near(at, 3))]
    others = [at for at in range(count) if at not in set(alone)]

    wrong = [at for at in alone if _jumps(frames, at, others) or _bridged(at, others, both)]
    return wrong if len(wrong) <= max(1, _FEW * count) else []


def _bridged(at: int, others: Sequence[int], agree: Callable[[int, int], bool]) -> bool:
    before, after = [b for b in others if b < at][-2:], [b for b in others if b > at][:2]
    return any(agree(a, b) for a in before for b in after)


def _jumps(frames: _Frames, at: int, others: Sequence[int]) -> bool:
    if len(others) < 3:
        return False
    centre = frames.centres
    longest = float(np.linalg.norm(np.diff(centre[others], axis=0), axis=1).max())
    away = float(np.linalg.norm(centre[others] - centre[at], axis=1).min())
    return away > _JUMP * longest
