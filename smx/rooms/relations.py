"""Directions and routes between pieces of furniture, with margins so that no truth hangs on a degree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smx.rooms.entities import Piece
from smx.rooms.floorplan import wall_clearance
from smx.rooms.measures import bearing, corners, footprint, point_distance
from smx.rooms.scene import RoomScene

APART = 0.8  # metres between the centres of two pieces before one has a direction from the other
DIRECTIONS = {
    "easy": ("left", "right"),
    "medium": ("left", "right", "back"),
    "hard": ("front-left", "front-right", "back-left", "back-right"),
}
TURNS = ("Turn left", "Turn right", "Turn back")
MARGIN = 15.0  # degrees
ROOM_TO_PASS = 0.15  # metres a straight way keeps from walls and from other furniture


class Triple(NamedTuple):
    """Standing by `stand`, facing `face`: where `target` is."""

    stand: Piece
    face: Piece
    target: Piece
    direction: str


class Route(NamedTuple):
    """From `stops[0]`, facing `face`, straight from stop to stop; `turns` fill the gaps in order."""

    stops: tuple[Piece, ...]
    face: Piece
    turns: tuple[str, ...]


def direction(angle: np.ndarray, level: str, margin: float = 0.0) -> np.ndarray:
    """Place in `DIRECTIONS[level]` of bearings in degrees (left positive); -1 within `margin` of a boundary.

    easy: left or right. medium: also back, from 135 degrees on. hard: quarters.
    """
    right, size = (angle <= 0).astype(np.int64), np.abs(angle)
    if level == "easy":
        return np.where((size >= margin) & (size <= 180 - margin), right, -1)
    if level == "medium":
        side = np.where((size >= margin) & (size <= 135 - margin), right, -1)
        return np.where(size >= 135 + margin, 2, side)
    off = np.minimum(np.minimum(size, 180 - size), np.abs(size - 90))
    return np.where(off >= margin, 2 * (size > 90) + right, -1)


def triples(pieces: Sequence[Piece], level: str) -> list[Triple]:
    """Every clear triple: the target's centre is `MARGIN` or more off any boundary, its corners on one side."""
    spots = np.array([[p.centre[:2], *corners(footprint(p))] for p in pieces]).reshape(-1, 5, 2)
    centres = spots[:, 0]
    far = np.linalg.norm(centres[:, None] - centres[None], axis=-1) >= APART
    found = []
    for a, b in itertools.permutations(range(len(pieces)), 2):
        if not far[a, b]:
            continue
        angles = np.degrees(bearing(centres[a], centres[b], spots))
        centre = direction(angles[:, 0], level, MARGIN)
        clear = (centre >= 0) & np.all(direction(angles[:, 1:], level) == centre[:, None], axis=1)
        for c in np.flatnonzero(clear & far[a] & far[b]).tolist():
            found.append(Triple(pieces[a], pieces[b], pieces[c], DIRECTIONS[level][centre[c]]))
    return found


def turn(angle: float) -> str | None:
    """Name of a turn by `angle` degrees (left positive), or None where it is no clear left, right or back."""
    if abs(angle) >= 155:
        return "Turn back"
    if 55 <= abs(angle) <= 125:
        return "Turn left" if angle > 0 else "Turn right"
    return None


def routes(scene: RoomScene, pieces: Sequence[Piece]) -> list[Route]:
    """Every route of one or two turns along open straight ways whose turns are all clear."""
    open_way = passable(scene, pieces)
    centres = np.array([p.centre[:2] for p in pieces]).reshape(-1, 2)
    count = len(pieces)
    found = []
    for a, b in itertools.permutations(range(count), 2):
        if not open_way[a, b]:
            continue
        ahead = centres[b] + (centres[b] - centres[a])
        at_b = [turn(float(v)) for v in np.degrees(bearing(centres[b], ahead, centres))]
        for c in range(count):
            name = at_b[c]
            if c in (a, b) or name is None or not open_way[b, c]:
                continue
            found.append(Route((pieces[a], pieces[b], pieces[c]), pieces[b], (name,)))
            for f in range(count):
                if f in (a, b, c) or np.linalg.norm(centres[f] - centres[a]) < APART:
                    continue
                start = turn(float(np.degrees(bearing(centres[a], centres[f], centres[b]))))
                if start:
                    found.append(Route((pieces[a], pieces[b], pieces[c]), pieces[f], (start, name)))
    return found


def passable(scene: RoomScene, pieces: Sequence[Piece]) -> np.ndarray:
    """[n, n] whether one can go straight from piece to piece: through doorways, past all other furniture."""
    count = len(pieces)
    result = np.zeros((count, count), bool)
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(count), 2)
        if np.hypot(*np.subtract(pieces[a].centre[:2], pieces[b].centre[:2])) >= APART
    ]
    if not pairs:
        return result
    share = np.linspace(0, 1, 161)[:, None]
    start = np.array([pieces[a].centre[:2] for a, _ in pairs])[:, None]
    end = np.array([pieces[b].centre[:2] for _, b in pairs])[:, None]
    points = start + share * (end - start)  # [pairs, 161, 2]
    clear = wall_clearance(points, scene.rooms, scene.doorways) >= ROOM_TO_PASS
    for k, (a, b) in enumerate(pairs):
        ends = [point_distance(points[k], footprint(p)) == 0 for p in (pieces[a], pieces[b])]
        ok = bool(np.all(clear[k] | ends[0] | ends[1]))
        for p in scene.pieces:
            if ok and p is not pieces[a] and p is not pieces[b]:
                ok = bool(point_distance(points[k], footprint(p)).min() >= ROOM_TO_PASS)
        result[a, b] = result[b, a] = ok
    return result
