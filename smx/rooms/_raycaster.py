"""The fast renderer: one ray per pixel, compiled by numba. `reference.py` is the same in plain numpy.

Only imported by `render.py`, when something is rendered. Three passes: the building cell by cell through
its portals; the boxes of the rooms that were seen, each only where it can appear on screen; the colours.
"""

from __future__ import annotations

import numpy as np

from smx._numba import compiled
from smx.rooms.catalogue import BANDS, BRICKS, CHECKS, DOTS, PLANKS, STRIPES

NEAR = 0.02
FAR = 1e30


@compiled
def building(
    rotation: np.ndarray,
    centre: np.ndarray,
    K: np.ndarray,
    cells: np.ndarray,
    portal_range: np.ndarray,
    portals: np.ndarray,
    start: int,
    depth: np.ndarray,
    hit: np.ndarray,
    face: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Cast every ray through the empty building. Fills `depth` (z, metres), `hit` (cell), `face` (2 axis + side).

    `rotation` [3, 3] is camera to world, `centre` [3] the camera in the world, `start` the cell it is in. The
    three results are [H, W]; `seen` [C] is set for each cell some ray came through.
    """
    height, width = depth.shape
    ox, oy, oz = centre[0], centre[1], centre[2]
    for v in range(height):
        y = (v - K[1, 2]) / K[1, 1]
        bx = rotation[0, 1] * y + rotation[0, 2]
        by = rotation[1, 1] * y + rotation[1, 2]
        bz = rotation[2, 1] * y + rotation[2, 2]
        for u in range(width):
            x = (u - K[0, 2]) / K[0, 0]
            dx, dy, dz = bx + rotation[0, 0] * x, by + rotation[1, 0] * x, bz + rotation[2, 0] * x
            ix = 1 / dx if dx != 0 else FAR
            iy = 1 / dy if dy != 0 else FAR
            iz = 1 / dz if dz != 0 else FAR
            sx, sy, sz = int(dx > 0), int(dy > 0), int(dz > 0)
            cell = start
            while True:
                seen[cell] = True
                tx = (cells[cell, sx, 0] - ox) * ix
                ty = (cells[cell, sy, 1] - oy) * iy
                tz = (cells[cell, sz, 2] - oz) * iz
                if tx <= ty and tx <= tz:
                    t, side, along = tx, sx, oy + tx * dy
                elif ty <= tz:
                    t, side, along = ty, 2 + sy, ox + ty * dx
                else:
                    t, side, along = tz, 4 + sz, 0.0
                following = -1
                if side < 4:
                    top = oz + t * dz
                    for p in range(portal_range[cell, 0], portal_range[cell, 1]):
                        if portals[p, 0] == side and portals[p, 1] <= along <= portals[p, 2] and top <= portals[p, 3]:
                            following = int(portals[p, 4])
                if following < 0:
                    break
                cell = following
            depth[v, u] = t
            hit[v, u] = cell
            face[v, u] = side


@compiled
def furniture(
    rotation: np.ndarray,
    centre: np.ndarray,
    K: np.ndarray,
    boxes: np.ndarray,
    home: np.ndarray,
    seen: np.ndarray,
    depth: np.ndarray,
    hit: np.ndarray,
    face: np.ndarray,
) -> None:
    """Put the boxes of the rooms in `seen` in front; `hit` becomes number of cells + number of the box."""
    for box in range(len(boxes)):
        if seen[home[box]]:
            _cast_box(rotation, centre, K, boxes[box], len(seen) + box, depth, hit, face)


@compiled
def _cast_box(
    rotation: np.ndarray,
    centre: np.ndarray,
    K: np.ndarray,
    box: np.ndarray,
    number: int,
    depth: np.ndarray,
    hit: np.ndarray,
    face: np.ndarray,
) -> None:
    u0, u1, v0, v1 = _on_screen(rotation, centre, K, box, depth.shape[1], depth.shape[0])
    if u0 >= u1 or v0 >= v1:
        return
    c, s = box[6], box[7]
    wx, wy = centre[0] - box[0], centre[1] - box[1]
    ox, oy, oz = c * wx + s * wy, c * wy - s * wx, centre[2] - box[2]
    hx, hy, hz = box[3], box[4], box[5]
    # Rows of `turn` are the box's axes seen from the camera, so a pixel's ray is linear in u and v.
    turn = np.empty((3, 3))
    for k in range(3):
        turn[0, k] = c * rotation[0, k] + s * rotation[1, k]
        turn[1, k] = c * rotation[1, k] - s * rotation[0, k]
        turn[2, k] = rotation[2, k]
    for v in range(v0, v1):
        y = (v - K[1, 2]) / K[1, 1]
        bx = turn[0, 1] * y + turn[0, 2]
        by = turn[1, 1] * y + turn[1, 2]
        bz = turn[2, 1] * y + turn[2, 2]
        for u in range(u0, u1):
            x = (u - K[0, 2]) / K[0, 0]
            dx, dy, dz = bx + turn[0, 0] * x, by + turn[1, 0] * x, bz + turn[2, 0] * x
            ix = 1 / dx if dx != 0 else FAR
            iy = 1 / dy if dy != 0 else FAR
            iz = 1 / dz if dz != 0 else FAR
            ax, ay, az = -ox * ix, -oy * iy, -oz * iz
            ex, ey, ez = abs(hx * ix), abs(hy * iy), abs(hz * iz)
            nx, ny, nz = ax - ex, ay - ey, az - ez
            near = max(nx, ny, nz)
            if near < NEAR or near >= depth[v, u] or near > min(ax + ex, ay + ey, az + ez):
                continue
            depth[v, u] = near
            hit[v, u] = number
            if nx >= ny and nx >= nz:
                face[v, u] = int(dx > 0)
            elif ny >= nz:
                face[v, u] = 2 + int(dy > 0)
            else:
                face[v, u] = 4 + int(dz > 0)


@compiled
def _on_screen(
    rotation: np.ndarray, centre: np.ndarray, K: np.ndarray, box: np.ndarray, width: int, height: int
) -> tuple[int, int, int, int]:
    """Pixels u0 <= u < u1, v0 <= v < v1 outside which the box cannot appear: its edges, clipped at `NEAR`."""
    corner = np.empty((8, 3))
    for i in range(8):
        lx = box[3] if i & 1 else -box[3]
        ly = box[4] if i & 2 else -box[4]
        wx = box[0] + box[6] * lx - box[7] * ly - centre[0]
        wy = box[1] + box[7] * lx + box[6] * ly - centre[1]
        wz = box[2] + (box[5] if i & 4 else -box[5]) - centre[2]
        for k in range(3):
            corner[i, k] = rotation[0, k] * wx + rotation[1, k] * wy + rotation[2, k] * wz
    left, right, top, bottom = FAR, -FAR, FAR, -FAR
    for i in range(8):
        for bit in (1, 2, 4):
            j = i ^ bit
            if corner[i, 2] < NEAR and corner[j, 2] < NEAR:
                continue
            x, y, z = corner[i, 0], corner[i, 1], corner[i, 2]
            if z < NEAR:
                share = (NEAR - z) / (corner[j, 2] - z)
                x += share * (corner[j, 0] - x)
                y += share * (corner[j, 1] - y)
                z = NEAR
            u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            left, right, top, bottom = min(left, u), max(right, u), min(top, v), max(bottom, v)
    if left > right:
        return 0, 0, 0, 0
    return (
        int(max(0.0, min(left, float(width)))),
        int(max(-1.0, min(right, width - 1.0))) + 1,
        int(max(0.0, min(top, float(height)))),
        int(max(-1.0, min(bottom, height - 1.0))) + 1,
    )


@compiled
def shade(
    rotation: np.ndarray,
    centre: np.ndarray,
    K: np.ndarray,
    cells: np.ndarray,
    boxes: np.ndarray,
    material: np.ndarray,
    depth: np.ndarray,
    hit: np.ndarray,
    face: np.ndarray,
    rgb: np.ndarray,
) -> None:
    """Fill `rgb` [H, W, 3] uint8 from what the casts found. The constants are those of `reference.shade`."""
    height, width = depth.shape
    count = len(cells)
    for v in range(height):
        y = (v - K[1, 2]) / K[1, 1]
        for u in range(width):
            x = (u - K[0, 2]) / K[0, 0]
            t = depth[v, u]
            px = centre[0] + t * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2])
            py = centre[1] + t * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2])
            pz = centre[2] + t * (rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2])
            thing, side = hit[v, u], face[v, u]
            axis = side >> 1
            if thing < count:
                row = 3 * thing + (1 if axis < 2 else 2 * (side & 1))
                edge = FAR
                if axis != 0:
                    edge = min(edge, px - cells[thing, 0, 0], cells[thing, 1, 0] - px)
                if axis != 1:
                    edge = min(edge, py - cells[thing, 0, 1], cells[thing, 1, 1] - py)
                if axis != 2:
                    edge = min(edge, pz, cells[thing, 1, 2] - pz)
                light = 0.78 + 0.22 * min(1.0, max(edge, 0.0) / 0.35)
                if axis == 0:
                    light *= 0.86
                elif axis == 1:
                    light *= 0.94
            else:
                row = 3 * count + thing - count
                box = boxes[thing - count]
                light = 0.75 + 0.25 * min(1.0, pz / 0.3)
                wx, wy = px - box[0], py - box[1]
                px, py, pz = (
                    box[6] * wx + box[7] * wy + box[3],
                    box[6] * wy - box[7] * wx + box[4],
                    pz - box[2] + box[5],
                )
                if side == 0:
                    light *= 0.84
                elif side == 1:
                    light *= 0.72
                elif side == 2:
                    light *= 0.78
                elif side == 3:
                    light *= 0.90
                elif side == 4:
                    light *= 1.08
                else:
                    light *= 0.55
            a, b = (py, pz) if axis == 0 else ((px, pz) if axis == 1 else (px, py))
            second = _pattern(int(material[row, 6]), a / material[row, 7], b / material[row, 7], row)
            grain = (
                0.92
                + 0.08 * _hash(np.floor(a * 22), np.floor(b * 22), row)
                + 0.08 * _hash(np.floor(a * 5), np.floor(b * 5), row + 7)
            )
            light *= grain / (1 + 0.03 * t)
            for k in range(3):
                value = light * ((1 - second) * material[row, k] + second * material[row, 3 + k])
                rgb[v, u, k] = np.uint8(min(255.0, value + 0.5))


@compiled
def _pattern(pattern: int, a: float, b: float, row: int) -> float:
    """Share of the second colour at (a, b), in repeats of the pattern."""
    fa, fb = np.floor(a), np.floor(b)
    if pattern == STRIPES:
        return 1.0 if a - fa < 0.5 else 0.0
    if pattern == BANDS:
        return 1.0 if b - fb < 0.5 else 0.0
    if pattern == CHECKS:
        return 1.0 if (int(fa) + int(fb)) & 1 else 0.0
    if pattern == DOTS:
        return 1.0 if (a - fa - 0.5) ** 2 + (b - fb - 0.5) ** 2 < 0.09 else 0.0
    if pattern == PLANKS:
        return float(_hash(np.floor(a / 6 + 0.37 * fb), fb, row))
    if pattern == BRICKS:
        line = np.floor(2 * b)
        shifted = a + 0.5 * (int(line) & 1)
        return 1.0 if shifted - np.floor(shifted) < 0.08 or 2 * b - line < 0.16 else 0.0
    return 0.0


@compiled
def _hash(i: float, j: float, k: int) -> float:
    """A fixed random number in 0..1 for whole numbers i, j, k. Stays inside 63 bits."""
    h = (int(i) * 73856093) ^ (int(j) * 19349663) ^ (k * 83492791)
    h = ((h ^ (h >> 13)) & 0xFFFFFFFF) * 1274126177
    return float(((h >> 11) & 0xFFFF) / 65535)
