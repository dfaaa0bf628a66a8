"""A scene as plain arrays: cells and portals for the building, boxes for what stands in it, materials.

The building is a set of convex empty cells (rooms and doorways). A ray leaves its cell through a face; where
it leaves through a portal it goes on in the next cell, else it has hit floor, wall or ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smx.rooms.catalogue import CATEGORIES, CEILING, DOORWAY, FLOORS, WALLS
from smx.rooms.entities import Doorway, Picture, Piece, Room
from smx.rooms.layout import DOOR_HEIGHT


class Tables(NamedTuple):
    """Arrays the renderers read. Materials: floor, wall and ceiling of cell c are 3c, 3c + 1, 3c + 2."""

    cells: np.ndarray  # [C, 2, 3] low and high corner; rooms first, then doorways
    portal_range: np.ndarray  # [C, 2] int64: portals of a cell
    portals: np.ndarray  # [P, 6]: face (2 axis + side), low and high along the face, top, next cell, 0
    boxes: np.ndarray  # [B, 8]: centre xyz, half size xyz, cos and sin of yaw
    owner: np.ndarray  # [C + B] int16: number of the piece a hit belongs to, -1 for building and pictures
    home: np.ndarray  # [B] int64: room
    material: np.ndarray  # [C * 3 + B, 8] float64: two colours, pattern, period


def make_tables(
    rooms: Sequence[Room],
    doorways: Sequence[Doorway],
    pieces: Sequence[Piece],
    pictures: Sequence[Picture],
    *,
    ceiling: float,
    seed: int,
) -> Tables:
    """The arrays of a scene; pieces keep their order. `ceiling` in metres; `seed` chooses floors and walls."""
    cells, portal_range, portals = _building(rooms, doorways, ceiling)
    boxes, home, material = [], [], _surfaces(len(rooms), len(doorways), seed)
    owner = [-1] * len(cells)
    for index, piece in enumerate(pieces):
        category = CATEGORIES[piece.category]
        size, (c, s) = np.array(piece.size), (np.cos(piece.yaw), np.sin(piece.yaw))
        for x0, x1, y0, y1, z0, z1, tone in category.parts:
            middle = (np.array([x0 + x1, y0 + y1, z0 + z1]) / 2 - 0.5) * size
            half = np.array([x1 - x0, y1 - y0, z1 - z0]) / 2 * size
            turned = np.array([c * middle[0] - s * middle[1], s * middle[0] + c * middle[1], middle[2]])
            boxes.append([*(piece.centre + turned), *half, c, s])
            owner.append(index)
            home.append(piece.room)
            first, second = category.colours[tone], category.colours[1 - tone]
            # A part shows its own tone; the other tone is only hinted at in the pattern.
            mixed = [0.65 * a + 0.35 * b for a, b in zip(first, second, strict=True)]
            material.append(_row(first, mixed, category.pattern, category.period, piece.brightness))
    for picture in pictures:
        boxes.append([*picture.centre, *(np.array(picture.size) / 2), 1.0, 0.0])
        owner.append(-1)
        home.append(picture.room)
        material.append(_row(*picture.colours, picture.pattern, 0.17, 1.0))
    return Tables(
        cells, portal_range, portals, np.array(boxes).reshape(-1, 8), np.array(owner, np.int16),
        np.array(home, np.int64), np.array(material),
    )  # fmt: skip


def _building(
    rooms: Sequence[Room], doorways: Sequence[Doorway], ceiling: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cells = [[(r.x0, r.y0, 0.0), (r.x1, r.y1, ceiling)] for r in rooms]
    cells += [[(d.x0, d.y0, 0.0), (d.x1, d.y1, DOOR_HEIGHT)] for d in doorways]
    portals: list[list[float]] = []
    portal_range = []
    for cell in range(len(cells)):
        start = len(portals)
        for number, d in enumerate(doorways):
            low, high = (d.y0, d.y1) if d.axis == 0 else (d.x0, d.x1)
            own = len(rooms) + number
            for room, side in ((d.a, 0), (d.b, 1)):  # room a lies before the doorway, b behind it
                if cell == own:
                    portals.append([2 * d.axis + side, low, high, DOOR_HEIGHT, room, 0])
                elif cell == room:
                    portals.append([2 * d.axis + 1 - side, low, high, DOOR_HEIGHT, own, 0])
        portal_range.append([start, len(portals)])
    return np.array(cells), np.array(portal_range, np.int64), np.array(portals)


def _surfaces(rooms: int, doorways: int, seed: int) -> list[list[float]]:
    """Floor, wall and ceiling of every cell; which ones a room gets follows from the seed."""
    rng = np.random.default_rng([20_252, seed])
    floors, walls = rng.permutation(len(FLOORS)), rng.permutation(len(WALLS))
    rows = []
    for i in range(rooms):
        for surface in (FLOORS[floors[i % len(FLOORS)]], WALLS[walls[i % len(WALLS)]], CEILING):
            rows.append(_row(*surface.colours, surface.pattern, surface.period, 1.0))
    for _ in range(doorways):
        rows += [_row(*DOORWAY.colours, DOORWAY.pattern, DOORWAY.period, 1.0)] * 3
    return rows


def _row(
    first: Sequence[float], second: Sequence[float], pattern: int, period: float, brightness: float
) -> list[float]:
    return [*(v * brightness for v in (*first, *second)), float(pattern), period]
