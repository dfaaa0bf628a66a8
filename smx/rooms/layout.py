"""Rooms, doorways and furniture of a scene, from a seeded generator.

World axes: x and y span the floor, z points up, metres. Furniture turns about z only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smx.rooms.catalogue import CATEGORIES, ROOM_KINDS, Category, RoomKind
from smx.rooms.entities import Doorway, Picture, Piece, Room
from smx.rooms.floorplan import FloorPlan
from smx.rooms.measures import footprint, footprint_distance

WALL = 0.12  # thickness of a wall between two rooms, metres
DOOR_HEIGHT = 2.05
GAP = 0.08  # pieces of furniture keep this far apart
ENOUGH = 9  # categories; with fewer there is little to ask
DOOR_FREE = 0.75  # nothing stands this close in front of a doorway


class Dwelling(NamedTuple):
    """Everything that stands still."""

    height: float
    rooms: tuple[Room, ...]
    doorways: tuple[Doorway, ...]
    pieces: tuple[Piece, ...]
    pictures: tuple[Picture, ...]
    plan: FloorPlan


def make_layout(rng: np.random.Generator) -> Dwelling:
    """Draw rooms, join them by doorways and furnish them so that one can still walk through."""
    height = float(rng.uniform(2.45, 2.9))
    count = int(rng.choice([2, 3, 4], p=[0.45, 0.43, 0.12]))
    while True:
        rooms = _rooms(rng, count)
        doorways = _doorways(rng, rooms)
        plan = FloorPlan(rooms, doorways)
        pieces = _furnish(rng, rooms, doorways, plan)
        if len({p.category for p in pieces}) >= ENOUGH:
            break
    pictures = _pictures(rng, rooms, doorways)
    return Dwelling(height, rooms, doorways, pieces, pictures, plan)


def _rooms(rng: np.random.Generator, count: int) -> tuple[Room, ...]:
    """Split a rectangle `count - 1` times, always the largest piece across its longer side."""
    while True:
        area = count * float(np.exp(rng.uniform(np.log(7.5), np.log(24.0))))
        aspect = rng.uniform(1.0, 1.7)
        width, depth = float(np.sqrt(area * aspect)), float(np.sqrt(area / aspect))
        rects = [(0.0, 0.0, width, depth) if rng.random() < 0.5 else (0.0, 0.0, depth, width)]
        for _ in range(count - 1):
            x0, y0, x1, y1 = rects.pop(max(range(len(rects)), key=lambda i: _area(rects[i])))
            share = rng.uniform(0.36, 0.64)
            if x1 - x0 > y1 - y0:
                cut = x0 + share * (x1 - x0)
                rects += [(x0, y0, cut, y1), (cut, y0, x1, y1)]
            else:
                cut = y0 + share * (y1 - y0)
                rects += [(x0, y0, x1, cut), (x0, cut, x1, y1)]
        if min(min(r[2] - r[0], r[3] - r[1]) for r in rects) >= 2.5:
            break
    half = WALL / 2
    kinds = _kinds(rng, [_area(r) for r in rects])
    return tuple(
        Room(kind, x0 + half, y0 + half, x1 - half, y1 - half)
        for kind, (x0, y0, x1, y1) in zip(kinds, rects, strict=True)
    )


def _area(rect: tuple[float, float, float, float]) -> float:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _kinds(rng: np.random.Generator, areas: Sequence[float]) -> list[RoomKind]:
    """A different kind for each room; the smallest of three or more is the bathroom, if there is one."""
    drawn = [ROOM_KINDS[i] for i in rng.permutation(len(ROOM_KINDS))[: len(areas)]]
    if "bathroom" in drawn:
        drawn.remove("bathroom")
        drawn.insert(int(np.argmin(areas)), "bathroom")
    return drawn


def _doorways(rng: np.random.Generator, rooms: Sequence[Room]) -> tuple[Doorway, ...]:
    """A doorway for each pair of a random spanning tree, and now and then one that closes a loop."""
    possible = [d for a in range(len(rooms)) for b in range(len(rooms)) if (d := _doorway(rng, rooms, a, b))]
    group = list(range(len(rooms)))
    chosen = []
    for i in rng.permutation(len(possible)):
        door = possible[i]
        if group[door.a] != group[door.b]:
            chosen.append(door)
            old, new = group[door.b], group[door.a]
            group = [new if g == old else g for g in group]
        elif rng.random() < 0.3:
            chosen.append(door)
    assert len(set(group)) == 1
    return tuple(chosen)


def _doorway(rng: np.random.Generator, rooms: Sequence[Room], a: int, b: int) -> Doorway | None:
    """A doorway from room `a` to the room `b` on its right (or above), or None where they do not touch."""
    p, q = rooms[a], rooms[b]
    width = float(rng.uniform(0.85, 1.1))
    if abs(q.x0 - p.x1 - WALL) < 1e-6:
        low, high = max(p.y0, q.y0) + 0.2, min(p.y1, q.y1) - 0.2
        if high - low < width:
            return None
        at = float(rng.uniform(low, high - width))
        return Doorway(a, b, 0, p.x1, at, q.x0, at + width)
    if abs(q.y0 - p.y1 - WALL) < 1e-6:
        low, high = max(p.x0, q.x0) + 0.2, min(p.x1, q.x1) - 0.2
        if high - low < width:
            return None
        at = float(rng.uniform(low, high - width))
        return Doorway(a, b, 1, at, p.y1, at + width, q.y0)
    return None


def _furnish(
    rng: np.random.Generator, rooms: Sequence[Room], doorways: Sequence[Doorway], plan: FloorPlan
) -> tuple[Piece, ...]:
    """Each single category at most once a scene; two or three categories as often as such things stand about."""
    pieces: list[Piece] = []
    singles: set[str] = set()
    several = [c.name for c in CATEGORIES.values() if c.several]
    many = {several[i] for i in rng.permutation(len(several))[: int(rng.integers(2, 4))]}

    def put(name: str, room: int) -> bool:
        for _ in range(14):
            piece = _draw(rng, CATEGORIES[name], rooms[room], room)
            if piece and _fits(piece, pieces, doorways) and plan.block(footprint(piece)):
                pieces.append(piece)
                return True
        return False

    for room in rng.permutation(len(rooms)):
        own = [c.name for c in CATEGORIES.values() if rooms[room].kind in c.rooms and c.name not in many]
        own.sort(key=lambda name: (CATEGORIES[name].several is not None, len(CATEGORIES[name].rooms), rng.random()))
        wanted = 3 + int(rooms[room].area / 4.5)
        for name in own:
            if name not in singles and wanted and put(name, int(room)):
                singles.add(name)
                wanted -= 1
    for name in sorted(many):
        homes = [i for i, r in enumerate(rooms) if r.kind in CATEGORIES[name].rooms] or list(range(len(rooms)))
        fewest, most = CATEGORIES[name].several or (1, 1)
        for _ in range(int(rng.integers(fewest, most + 1))):
            put(name, int(rng.choice(homes)))
    return tuple(pieces)


def _draw(rng: np.random.Generator, category: Category, room: Room, index: int) -> Piece | None:
    """A piece at a random place of the room (along a wall where it belongs there), or None if too large."""
    width, depth, height = (float(rng.uniform(a, b)) for a, b in zip(category.low, category.high, strict=True))
    brightness = float(rng.uniform(0.9, 1.08))
    if category.against_wall:
        side = int(rng.integers(4))  # the wall at its back: 0 low y, 1 high x, 2 high y, 3 low x
        yaw = side * np.pi / 2
        along, across = (room.y1 - room.y0, room.x1 - room.x0) if side % 2 else (room.x1 - room.x0, room.y1 - room.y0)
        if width > along - 0.1 or depth > across - 0.8:
            return None
        at = float(rng.uniform(width / 2 + 0.05, along - width / 2 - 0.05))
        off = 0.03 + depth / 2
        x, y = (
            (room.x0 + at, room.y0 + off),
            (room.x1 - off, room.y0 + at),
            (room.x0 + at, room.y1 - off),
            (room.x0 + off, room.y0 + at),
        )[side]
    else:
        quarter = int(rng.integers(4)) * np.pi / 2
        yaw = quarter + (float(rng.uniform(-0.5, 0.5)) if category.several else 0.0)
        reach_x = abs(np.cos(yaw)) * width / 2 + abs(np.sin(yaw)) * depth / 2 + 0.06
        reach_y = abs(np.sin(yaw)) * width / 2 + abs(np.cos(yaw)) * depth / 2 + 0.06
        if 2 * reach_x > room.x1 - room.x0 or 2 * reach_y > room.y1 - room.y0:
            return None
        x = float(rng.uniform(room.x0 + reach_x, room.x1 - reach_x))
        y = float(rng.uniform(room.y0 + reach_y, room.y1 - reach_y))
    return Piece(category.name, index, (float(x), float(y), height / 2), (width, depth, height), float(yaw), brightness)


def _fits(piece: Piece, others: Sequence[Piece], doorways: Sequence[Doorway]) -> bool:
    own = footprint(piece)
    for other in others:
        reach = np.hypot(*piece.size[:2]) / 2 + np.hypot(*other.size[:2]) / 2 + GAP
        if np.hypot(piece.centre[0] - other.centre[0], piece.centre[1] - other.centre[1]) > reach:
            continue
        if footprint_distance(own, footprint(other)) < GAP:
            return False
    for door in doorways:
        if piece.room in (door.a, door.b):
            dx, dy = (DOOR_FREE, 0.05) if door.axis == 0 else (0.05, DOOR_FREE)
            centre = np.array([(door.x0 + door.x1) / 2, (door.y0 + door.y1) / 2])
            half = np.array([(door.x1 - door.x0) / 2 + dx, (door.y1 - door.y0) / 2 + dy])
            if footprint_distance(own, (centre, half, 0.0)) <= 0:
                return False
    return True


def _pictures(rng: np.random.Generator, rooms: Sequence[Room], doorways: Sequence[Doorway]) -> tuple[Picture, ...]:
    """Up to one picture on each wall, never over a doorway."""
    pictures = []
    for index, room in enumerate(rooms):
        for side in range(4):
            axis = 1 - side % 2  # the wall's normal: y for sides 0 and 2, x for 1 and 3
            low, high = (room.x0, room.x1) if axis else (room.y0, room.y1)
            width, height = float(rng.uniform(0.5, 1.2)), float(rng.uniform(0.4, 0.8))
            at = float(rng.uniform(low + width / 2 + 0.1, high - width / 2 - 0.1))
            colours = tuple(tuple(int(v) for v in rng.integers(70, 180, 3)) for _ in range(2))
            pattern = int(rng.integers(1, 7))
            wall = (room.y0, room.x1, room.y1, room.x0)[side]
            if rng.random() < 0.25 or any(_over(d, axis, wall, at, width) for d in doorways):
                continue
            off = wall + (0.015 if side in (0, 3) else -0.015)
            centre = (at, off, 1.6) if axis else (off, at, 1.6)
            size = (width, 0.03, height) if axis else (0.03, width, height)
            pictures.append(Picture(index, centre, size, (colours[0], colours[1]), pattern))  # type: ignore[arg-type]
    return tuple(pictures)


def _over(door: Doorway, axis: int, wall: float, at: float, width: float) -> bool:
    if door.axis != axis:
        return False
    low, high, near, far = (door.x0, door.x1, door.y0, door.y1) if axis else (door.y0, door.y1, door.x0, door.x1)
    return min(abs(wall - near), abs(wall - far)) < 1e-6 and at + width / 2 > low and at - width / 2 < high
