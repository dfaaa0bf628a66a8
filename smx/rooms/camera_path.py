"""A hand-held walk through all rooms: in by the doorways, a look around in each, and back again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from smx.rooms.floorplan import CELL, KEEP, FloorPlan

STEP = 0.05  # seconds between points of the fine track, before it is slowed down for turns
SPEED = 1.0  # metres a second
TURN = np.radians(60)  # radians a second, at most
SAFE = 0.2  # the camera never comes closer than this to a wall or a piece of furniture


def make_walk(rng: np.random.Generator, plan: FloorPlan, frames: int) -> np.ndarray:
    """[frames, 4, 4] float64 w2c (OpenCV axes, metres), evenly spaced in time.

    World z is up. The eye is about 1.5 m high and looks slightly down.
    """
    stops, looks = _stops(rng, plan)
    track, yaw = _track(rng, plan, stops, looks)
    clock = _clock(track, yaw)
    t = np.linspace(0, clock[-1], frames)
    x, y, turn = (np.interp(t, clock, values) for values in (track[:, 0], track[:, 1], yaw))
    phase = rng.uniform(0, 2 * np.pi, 4)
    z = rng.uniform(1.4, 1.6) + 0.02 * np.sin(2 * np.pi * 0.9 * t + phase[0])
    pitch = np.radians(-14) + np.radians(5) * np.sin(2 * np.pi * 0.13 * t + phase[1])
    roll = np.radians(1.5) * np.sin(2 * np.pi * 0.21 * t + phase[2])
    turn = turn + np.radians(8) * np.sin(2 * np.pi * 0.17 * t + phase[3])
    w2c = look(np.stack([x, y, z], axis=1), turn, pitch, roll)
    w2c.setflags(write=False)  # scenes are shared within a process
    return w2c


def look(centre: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """[n, 4, 4] w2c of cameras at `centre` [n, 3]; yaw from +x counter-clockwise, pitch up, roll clockwise."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(yaw)
    forward = np.stack([cy * cp, sy * cp, sp], axis=1)
    right = np.stack([sy, -cy, zero], axis=1)
    down = np.cross(forward, right)
    cr, sr = np.cos(roll)[:, None], np.sin(roll)[:, None]
    rotation = np.stack([cr * right + sr * down, cr * down - sr * right, forward], axis=1)
    w2c = np.tile(np.eye(4), (len(centre), 1, 1))
    w2c[:, :3, :3] = rotation
    w2c[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, centre)
    return w2c


def _stops(rng: np.random.Generator, plan: FloorPlan) -> tuple[list[np.ndarray], list[bool]]:
    """Grid points to walk by, and at which of them to look around.

    Rooms are visited depth first, so rooms on the way are seen again on the way back.
    """
    rooms = len(plan.rooms)
    next_to: list[list[int]] = [[] for _ in range(rooms)]
    for door in plan.doorways:
        next_to[door.a].append(door.b)
        next_to[door.b].append(door.a)
    stops: list[np.ndarray] = []
    looks: list[bool] = []
    seen: set[int] = set()

    def visit(room: int) -> None:
        seen.add(room)
        here = _spread(rng, plan, room)
        stops.extend(here)
        looks.extend([True, False])
        for other in rng.permutation(next_to[room]):
            if int(other) not in seen:
                visit(int(other))

    visit(int(rng.integers(rooms)))
    stops.append(stops[1])
    looks.append(False)
    return stops, looks


def _spread(rng: np.random.Generator, plan: FloorPlan, room: int) -> list[np.ndarray]:
    """Two open places of a room, the first near its middle, the second far from the first."""
    free = plan.free(room)
    clear = plan.clearance[free[:, 0], free[:, 1]]
    r = plan.rooms[room]
    middle = np.array([(r.x0 + r.x1) / 2, (r.y0 + r.y1) / 2])
    off = np.linalg.norm(plan.points[free[:, 0], free[:, 1]] - middle, axis=1)
    first = free[np.argmax(np.minimum(clear, 0.8) - 0.4 * off + rng.uniform(0, 0.3, len(free)))]
    far = np.linalg.norm((free - first) * CELL, axis=1)
    second = free[np.argmax(0.5 * np.minimum(far, 2.5) + np.minimum(clear, 0.6) + rng.uniform(0, 0.4, len(free)))]
    return [first, second]


def _track(
    rng: np.random.Generator, plan: FloorPlan, stops: Sequence[np.ndarray], looks: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [m, 2] and unwrapped yaw [m] every `STEP` seconds, smoothed but clear of everything."""
    from scipy.ndimage import gaussian_filter1d

    legs = _legs(plan, stops)
    place: list[np.ndarray] = []
    yaw: list[np.ndarray] = []
    now = _heading(legs[0], 0) + rng.uniform(-np.pi, np.pi)
    for i, stop in enumerate(stops):
        leg = legs[i] if i < len(legs) else None
        ahead = _heading(leg, 0) if leg is not None else now
        if looks[i]:  # turn to the next leg the way round that shows most of the room
            turns = (ahead - now + np.pi) % (2 * np.pi) - np.pi + np.array([-2, 0, 2]) * np.pi
            turn = float(turns[np.argmin(np.abs(np.abs(turns) - np.radians(240)))])
            count = max(2, int(abs(turn) / TURN / STEP))
            place.append(np.repeat(plan.points[tuple(stop)][None], count, axis=0))
            yaw.append(np.linspace(now, now + turn, count))
            now += turn
        if leg is not None:
            heads = np.unwrap([_heading(leg, k) for k in range(len(leg))])
            heads += 2 * np.pi * np.round((now - heads[0]) / (2 * np.pi))
            place.append(leg)
            yaw.append(heads)
            now = float(heads[-1])
    rough, turning = np.concatenate(place), np.unwrap(np.concatenate(yaw))
    turning = gaussian_filter1d(turning, 0.5 / STEP, mode="nearest")
    for sigma in (0.5, 0.3, 0.18, 0.1, 0.05):
        smooth = gaussian_filter1d(rough, sigma / STEP, axis=0, mode="nearest")
        if plan.exact_clearance(smooth).min() >= SAFE:
            return smooth, turning
    return rough, turning


def _clock(track: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """[m] seconds at which each point is reached when neither `SPEED` nor `TURN` is exceeded."""
    from scipy.ndimage import gaussian_filter1d

    walked = np.linalg.norm(np.diff(track, axis=0), axis=1) / SPEED
    needed = np.maximum(np.maximum(walked, np.abs(np.diff(yaw)) / TURN), 0.1 * STEP)
    return np.concatenate([[0], np.cumsum(gaussian_filter1d(needed, 4.0, mode="nearest"))])


def _heading(leg: np.ndarray, k: int) -> float:
    """Direction of walking, looking about a metre ahead."""
    a, b = leg[min(k, len(leg) - 2)], leg[min(k + int(1.0 / SPEED / STEP), len(leg) - 1)]
    step = b - a
    return float(np.arctan2(step[1], step[0]))


def _legs(plan: FloorPlan, stops: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The shortest open way between consecutive stops, a point every `STEP` seconds of walking."""
    from scipy.sparse.csgraph import dijkstra

    graph, number = _graph(plan)
    nodes = [int(number[tuple(s)]) for s in stops]
    sources = sorted(set(nodes[:-1]))
    _, before = dijkstra(graph, indices=sources, return_predecessors=True)
    where = plan.points[number >= 0]
    legs = []
    for a, b in itertools.pairwise(nodes):
        way = [b]
        while way[-1] != a:
            way.append(int(before[sources.index(a), way[-1]]))
        points = where[way[::-1]]
        if len(points) < 2:
            points = np.repeat(points, 2, axis=0)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        at = np.linspace(0, length[-1], max(2, int(length[-1] / SPEED / STEP)))
        legs.append(np.stack([np.interp(at, length, points[:, 0]), np.interp(at, length, points[:, 1])], axis=1))
    return legs


def _graph(plan: FloorPlan) -> tuple[object, np.ndarray]:
    """The free grid points as a graph (8 neighbours), dearer where it is tight; and each point's number."""
    from scipy.sparse import coo_matrix

    free = plan.clearance >= KEEP
    number = np.full(free.shape, -1)
    number[free] = np.arange(int(free.sum()))
    rows, columns, costs = [], [], []
    dear = 1 + 2 * np.maximum(0, 0.55 - plan.clearance)
    nx, ny = free.shape
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        a = (slice(0, nx - dx), slice(max(0, -dy), ny - max(0, dy)))
        b = (slice(dx, nx), slice(max(0, dy), ny - max(0, -dy)))
        both = free[a] & free[b]
        if dx and dy:  # never cut a corner
            both &= free[slice(dx, nx), a[1]] & free[slice(0, nx - dx), b[1]]
        rows.append(number[a][both])
        columns.append(number[b][both])
        costs.append(np.hypot(dx, dy) * CELL * (dear[a][both] + dear[b][both]) / 2)
    row, column, cost = np.concatenate(rows), np.concatenate(columns), np.concatenate(costs)
    size = int(free.sum())
    graph = coo_matrix(
        (np.tile(cost, 2), (np.concatenate([row, column]), np.concatenate([column, row]))), shape=(size, size)
    )
    return graph.tocsr(), number
