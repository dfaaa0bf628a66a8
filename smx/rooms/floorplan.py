"""Where one can walk: a grid over the floor, with furniture and walls kept at arm's length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smx.rooms.entities import Doorway, Room
from smx.rooms.measures import Footprint, point_distance

CELL = 0.1  # metres
KEEP = 0.30  # a walker's centre keeps this far from walls and furniture


class FloorPlan:
    """Clearance of every grid point, updated as furniture arrives.

    `clearance` [nx, ny]: distance in metres to the nearest wall or piece, 0 outside rooms and doorways.
    """

    def __init__(self, rooms: Sequence[Room], doorways: Sequence[Doorway]) -> None:
        self.rooms, self.doorways = tuple(rooms), tuple(doorways)
        self.rects: list[Footprint] = []
        x = np.arange(min(r.x0 for r in rooms), max(r.x1 for r in rooms) + CELL, CELL)
        y = np.arange(min(r.y0 for r in rooms), max(r.y1 for r in rooms) + CELL, CELL)
        self.points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
        self.clearance = wall_clearance(self.points, self.rooms, self.doorways)

    def block(self, rect: Footprint) -> bool:
        """Add a piece if every room stays reachable and roomy; returns whether it was added."""
        candidate = np.minimum(self.clearance, point_distance(self.points, rect))
        if not self._walkable(candidate):
            return False
        self.clearance = candidate
        self.rects.append(rect)
        return True

    def free(self, room: int) -> np.ndarray:
        """[k, 2] indices of the grid points of a room where one can stand."""
        return np.argwhere((self.clearance >= KEEP) & self._inside(room))

    def exact_clearance(self, points: np.ndarray) -> np.ndarray:
        """Distance in metres of floor points [n, 2] to the nearest wall or piece, off the grid."""
        clear = wall_clearance(points, self.rooms, self.doorways)
        for rect in self.rects:
            clear = np.minimum(clear, point_distance(points, rect))
        return clear

    def _walkable(self, clearance: np.ndarray) -> bool:
        from scipy import ndimage

        labels, count = ndimage.label(clearance >= KEEP)
        # Cells without a way out are as good as blocked: one part must hold most of the free floor.
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        if not count:
            return False
        main = labels == int(sizes.argmax()) + 1
        if sizes.sum() > sizes.max():
            return False
        return all((main & self._inside(i)).sum() * CELL * CELL >= 0.22 * r.area for i, r in enumerate(self.rooms))

    def _inside(self, room: int) -> np.ndarray:
        r = self.rooms[room]
        x, y = self.points[..., 0], self.points[..., 1]
        return np.asarray((x > r.x0) & (x < r.x1) & (y > r.y0) & (y < r.y1))


def wall_clearance(points: np.ndarray, rooms: Sequence[Room], doorways: Sequence[Doorway]) -> np.ndarray:
    """Distance of floor points [..., 2] to the nearest wall, 0 inside walls and outside the rooms.

    Near a doorway the walls end in four corner posts, so a point facing the opening has no wall ahead.
    """
    x, y = points[..., 0], points[..., 1]
    inside = np.zeros(x.shape, bool)
    for x0, y0, x1, y1 in [(r.x0, r.y0, r.x1, r.y1) for r in rooms] + [(d.x0, d.y0, d.x1, d.y1) for d in doorways]:
        inside |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    clear = np.where(inside, np.inf, 0.0)
    for x0, y0, x1, y1 in wall_rectangles(rooms, doorways):
        centre, half = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), np.array([(x1 - x0) / 2, (y1 - y0) / 2])
        clear = np.minimum(clear, point_distance(points, (centre, half, 0.0)))
    return clear


def wall_rectangles(rooms: Sequence[Room], doorways: Sequence[Doorway]) -> list[tuple[float, float, float, float]]:
    """The four sides of each room as floor segments (x0, y0, x1, y1) of no thickness, doorways cut out."""
    found = []
    for index, r in enumerate(rooms):
        for axis, at in ((0, r.x0), (0, r.x1), (1, r.y0), (1, r.y1)):
            low, high = (r.y0, r.y1) if axis == 0 else (r.x0, r.x1)
            holes = []
            for d in doorways:
                if index in (d.a, d.b) and d.axis == axis:
                    near, far = (d.x0, d.x1) if axis == 0 else (d.y0, d.y1)
                    if at in (near, far):
                        holes.append((d.y0, d.y1) if axis == 0 else (d.x0, d.x1))
            start = low
            for a, b in [*sorted(holes), (high, high)]:
                found.append((at, start, at, a) if axis == 0 else (start, at, a, at))
                start = b
    for d in doorways:  # the jambs
        if d.axis == 0:
            found += [(d.x0, d.y0, d.x1, d.y0), (d.x0, d.y1, d.x1, d.y1)]
        else:
            found += [(d.x0, d.y0, d.x0, d.y1), (d.x1, d.y0, d.x1, d.y1)]
    return found
