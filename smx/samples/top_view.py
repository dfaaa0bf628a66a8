"""A scene from above: its voxels, those that the chosen frames see, and where the cameras stood and looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smx.samples.drawing import FAINT, INK, Canvas, Point, legible, mixed

if TYPE_CHECKING:
    import numpy as np

    from smx.sampleset import Sample

_EMPTY, _NONE, _ALL = "#f2f4f6", "#dfe3e8", "#8fb8de"  # ground, columns of which no voxel is seen, all are seen
_SNAP = 0.8  # a mean up direction this near an axis is that axis: voxels line up with the drawing


@dataclass(frozen=True)
class Floor:
    """Everything in the plane of the floor: u to the right, v up the page, in the unit of the cameras."""

    columns: np.ndarray  # [C, 2] int64 cells of the floor with any voxel in them
    share: np.ndarray  # [C] float64 share of a column's voxels that are seen
    origin: np.ndarray  # [2] corner of cell 0, 0
    edge: float
    places: np.ndarray  # [n, 2] camera centres, NaN where lost
    looks: np.ndarray  # [n, 2] direction of view, of length up to 1
    metric: bool
    unseen: str  # why there are no columns, where there are none

    def draw(
        self, canvas: Canvas, x: float, y: float, w: float, h: float,
        colours: Sequence[str], overlaps: Sequence[float | None],
    ) -> None:  # fmt: skip
        """Into a box of the canvas. `colours` and `overlaps` are those of the pairs."""
        low, high = self._bounds()
        scale = min(w / (high[0] - low[0]), h / (high[1] - low[1]))
        width, height = scale * (high - low)

        def at(point: np.ndarray) -> Point:
            return float(x + (point[0] - low[0]) * scale), float(y + (high[1] - point[1]) * scale)

        canvas.rect(x, y, width, height, _EMPTY)
        for cell, share in zip(self.columns, self.share, strict=True):
            left, bottom = at(self.origin + cell * self.edge)
            side = self.edge * scale
            canvas.rect(left, bottom - side, side, side, mixed(_NONE, _ALL, share) if share else _NONE)
        known = [self.places[i][0] == self.places[i][0] for i in range(len(self.places))]
        spots = [at(place) if there else (0.0, 0.0) for place, there in zip(self.places, known, strict=True)]
        for k, colour in enumerate(colours):
            if known[2 * k] and known[2 * k + 1]:
                canvas.line([spots[2 * k], spots[2 * k + 1]], colour, 3)
        for i, spot in enumerate(spots):
            if known[i]:
                overlap = overlaps[i // 2]
                about = "unknown" if overlap is None else f"{100 * overlap:.0f} %"
                self._camera(canvas, i, spot, colours[i // 2], f"{i + 1} of the list; overlap of its pair {about}")
        self._key(canvas, x, y + height + 20, scale)

    def _camera(self, canvas: Canvas, i: int, spot: Point, colour: str, about: str) -> None:
        px, py = spot
        dx, dy = float(self.looks[i][0]), -float(self.looks[i][1])
        canvas.polygon([(px + 18 * dx, py + 18 * dy), (px - 6 * dy, py + 6 * dx), (px + 6 * dy, py - 6 * dx)], INK)
        canvas.circle(px, py, 8, INK)
        canvas.circle(px, py, 7, colour, about)
        canvas.text(px, py + 3.2, str(i + 1), 9, legible(colour), "middle", bold=True)

    def _key(self, canvas: Canvas, x: float, y: float, scale: float) -> None:
        length = _round_length(90 / scale)
        canvas.line([(x, y), (x + length * scale, y)], INK, 2)
        unit = "m" if self.metric else "units, scale unknown"
        canvas.text(x + length * scale + 8, y + 4, f"{length:g} {unit}", 11)
        x += length * scale + 60 + 5 * len(unit)
        if not len(self.columns):
            canvas.text(x, y + 4, self.unseen, 11, FAINT)
            return
        for colour, words in ((_NONE, "seen by no chosen frame"), (_ALL, "all seen, floor to ceiling")):
            canvas.rect(x, y - 7, 14, 14, colour)
            canvas.text(x + 20, y + 4, words, 11, FAINT)
            x += 185
        canvas.text(x, y + 4, "a tip points where the camera looks", 11, FAINT)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of what is drawn, with a little room."""
        import numpy as np

        corners = [self.places[np.isfinite(self.places).all(axis=1)]]
        if len(self.columns):
            corners += [self.origin + self.columns * self.edge, self.origin + (self.columns + 1) * self.edge]
        points = np.concatenate(corners)
        low, high = points.min(axis=0), points.max(axis=0)
        room = 0.03 * max(float((high - low).max()), 1e-6) + 1e-6
        return low - room, high + room


def floor_of(sample: Sample) -> tuple[Floor | None, str]:
    """(the map, "") or (None, why there is none)."""
    import numpy as np

    w2c = sample.w2c
    if w2c is None or not np.isfinite(w2c).all(axis=(1, 2)).any():
        return None, "No map: the cameras of this sample are unknown."
    c2w = np.full_like(w2c, np.nan)
    known = np.isfinite(w2c).all(axis=(1, 2))
    c2w[known] = np.linalg.inv(w2c[known])
    voxels = sample.voxels
    plane = _lying(np.stack(_plane(c2w[known])), c2w[known, :3, 3], voxels)
    columns, share, origin, edge = np.empty((0, 2), np.int64), np.empty(0), np.zeros(2), 1.0
    if voxels is not None:
        edge = float(voxels["edge"])
        cells = voxels["cells"]
        seen = np.unpackbits(voxels["seen"], axis=1, count=len(cells)).any(axis=0)
        middles = (voxels["low"] + (cells + 0.5) * edge).astype(np.float64) @ plane.T
        origin = middles.min(axis=0) - edge / 2 if len(cells) else origin
        at = np.floor((middles - origin) / edge + 1e-3).astype(np.int64)
        columns, inverse = np.unique(at, axis=0, return_inverse=True)
        total = np.bincount(inverse.ravel(), minlength=len(columns))
        share = np.bincount(inverse.ravel(), weights=seen, minlength=len(columns)) / total
    unseen = "what the frames see is unknown: the scene has no depth"
    if sample.coverage is not None:
        unseen = "what the frames see was not kept by the smx that made this sample"
    places, looks = c2w[:, :3, 3] @ plane.T, c2w[:, :3, 2] @ plane.T
    return Floor(columns, share, origin, edge, places, looks, sample.metric, unseen), ""


def _plane(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors of the world that span the floor: up is what is up in most pictures."""
    import numpy as np

    up = -c2w[:, :3, 1].mean(axis=0)
    length = float(np.linalg.norm(up))
    up = up / length if length > 1e-6 else np.array([0, 0, 1.0])
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _SNAP:
        up = np.eye(3)[axis] * np.sign(up[axis])
    aside = np.eye(3)[(axis + 1) % 3]
    right = aside - (aside @ up) * up
    right /= np.linalg.norm(right)
    return right, np.cross(up, right)


def _lying(plane: np.ndarray, places: np.ndarray, voxels: Mapping[str, np.ndarray] | None) -> np.ndarray:
    """The plane turned so that what is drawn is wider than high: there is more room that way."""
    import numpy as np

    drawn = places @ plane.T
    if voxels is not None:
        drawn = np.concatenate([drawn, (voxels["low"] + voxels["cells"] * voxels["edge"]) @ plane.T])
    wide, high = np.ptp(drawn, axis=0)
    return np.stack([plane[1], -plane[0]]) if high > wide else plane


def _round_length(length: float) -> float:
    """1, 2 or 5 times a power of ten, the largest that is no longer."""
    import math

    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * 1.0000001)
