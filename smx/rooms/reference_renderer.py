"""The slow renderer: the same rays and colours as `_cast.py`, in plain numpy, a test's and a reader's guide.

Every ray is tested against every box; there is no culling and no order to get wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smx.rooms.catalogue import BANDS, BRICKS, CHECKS, DOTS, PLANKS, STRIPES
from smx.rooms.scene_arrays import Tables

Array = np.ndarray


def rays(w2c: Array, K: Array, width: int, height: int) -> tuple[Array, Array]:
    """Camera centre [3] and world directions [H, W, 3] of length one along the optical axis: centre + z * d."""
    rotation = w2c[:3, :3].T
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixel = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    return -rotation @ w2c[:3, 3], pixel @ rotation.T


def cast(tables: Tables, centre: Array, direction: Array) -> tuple[Array, Array, Array]:
    """(depth, hit, face) [H, W] as `_cast.building` and `_cast.furniture` leave them."""
    with np.errstate(divide="ignore"):
        inverse = 1 / direction
    depth, hit, face = _cast_building(tables, centre, direction, inverse)
    for number, box in enumerate(tables.boxes):
        c, s = box[6], box[7]
        to_local = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        origin, ray = to_local @ (centre - box[:3]), direction @ to_local.T
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = (-box[3:6] - origin) / ray, (box[3:6] - origin) / ray
        enter, leave = np.minimum(low, high), np.maximum(low, high)
        near = enter.max(axis=-1)
        closer = (near >= 0.02) & (near <= leave.min(axis=-1)) & (near < depth)
        axis = enter.argmax(axis=-1)
        side = 2 * axis + (np.take_along_axis(ray, axis[..., None], axis=-1)[..., 0] > 0)
        depth[closer], hit[closer], face[closer] = near[closer], len(tables.cells) + number, side[closer]
    return depth, hit, face


def _cast_building(tables: Tables, centre: Array, direction: Array, inverse: Array) -> tuple[Array, Array, Array]:
    shape = direction.shape[:2]
    depth, face = np.zeros(shape), np.zeros(shape, np.int64)
    cell = np.full(shape, start_cell(tables, centre))
    active = np.ones(shape, bool)
    while active.any():
        forward = direction > 0
        bound = np.where(forward, tables.cells[cell, 1], tables.cells[cell, 0])
        leave = (bound - centre) * inverse
        axis = leave.argmin(axis=-1)
        t = leave.min(axis=-1)
        side = 2 * axis + np.take_along_axis(forward, axis[..., None], axis=-1)[..., 0]
        point = centre + t[..., None] * direction
        depth[active], face[active] = t[active], side[active]
        going = np.zeros(shape, bool)
        following = cell.copy()
        for owner, (first, last) in enumerate(tables.portal_range):
            for side_of, low, high, top, target, _ in tables.portals[first:last]:
                along = point[..., 1] if side_of < 2 else point[..., 0]
                through = active & (cell == owner) & (side == side_of)
                through &= (along >= low) & (along <= high) & (point[..., 2] <= top)
                following[through] = int(target)
                going |= through
        cell, active = following, going
    return depth, cell, face


def start_cell(tables: Tables, centre: Array) -> int:
    """The cell a camera is in; rooms before doorways."""
    inside = np.all((centre >= tables.cells[:, 0]) & (centre <= tables.cells[:, 1]), axis=1)
    assert inside.any(), "the camera has left the building"
    return int(inside.argmax())


def shade(tables: Tables, centre: Array, direction: Array, depth: Array, hit: Array, face: Array) -> Array:
    """[H, W, 3] uint8 colours of what `cast` found."""
    count = len(tables.cells)
    point = centre + depth[..., None] * direction
    axis = face >> 1
    in_building = hit < count
    cell = np.where(in_building, hit, 0)
    box = tables.boxes[np.where(in_building, 0, hit - count)] if len(tables.boxes) else np.zeros((*hit.shape, 8))

    gap = np.minimum(point - tables.cells[cell, 0], tables.cells[cell, 1] - point)
    gap[np.arange(3) == axis[..., None]] = np.inf
    corner = 0.78 + 0.22 * np.clip(gap.min(axis=-1) / 0.35, 0, 1)
    wall_light = corner * np.array([0.86, 0.94, 1.0])[axis]
    box_light = (0.75 + 0.25 * np.minimum(1, point[..., 2] / 0.3)) * np.array([0.84, 0.72, 0.78, 0.9, 1.08, 0.55])[face]

    w = point - box[..., :3]
    c, s = box[..., 6], box[..., 7]
    local = np.stack([c * w[..., 0] + s * w[..., 1], c * w[..., 1] - s * w[..., 0], w[..., 2]], axis=-1) + box[..., 3:6]
    where = np.where(in_building[..., None], point, local)
    a = np.where(axis == 0, where[..., 1], where[..., 0])
    b = np.where(axis == 2, where[..., 1], where[..., 2])

    row = np.where(in_building, 3 * cell + np.where(axis < 2, 1, 2 * (face & 1)), 3 * count + hit - count)
    material = tables.material[row]
    second = _pattern(material[..., 6].astype(int), a / material[..., 7], b / material[..., 7], row)[..., None]
    grain = 0.92 + 0.08 * _hash(np.floor(a * 22), np.floor(b * 22), row)
    grain += 0.08 * _hash(np.floor(a * 5), np.floor(b * 5), row + 7)
    light = np.where(in_building, wall_light, box_light) * grain / (1 + 0.03 * depth)
    colour = (1 - second) * material[..., :3] + second * material[..., 3:6]
    return np.asarray(np.minimum(255, light[..., None] * colour + 0.5).astype(np.uint8))


def _pattern(pattern: Array, a: Array, b: Array, row: Array) -> Array:
    fa, fb, line = np.floor(a), np.floor(b), np.floor(2 * b)
    shifted = a + 0.5 * (line.astype(np.int64) & 1)
    rules: dict[int, Callable[[], Array]] = {
        STRIPES: lambda: a - fa < 0.5,
        BANDS: lambda: b - fb < 0.5,
        CHECKS: lambda: (fa + fb).astype(np.int64) & 1,
        DOTS: lambda: (a - fa - 0.5) ** 2 + (b - fb - 0.5) ** 2 < 0.09,
        PLANKS: lambda: _hash(np.floor(a / 6 + 0.37 * fb), fb, row),
        BRICKS: lambda: (shifted - np.floor(shifted) < 0.08) | (2 * b - line < 0.16),
    }
    share = np.zeros(a.shape)
    for number, rule in rules.items():
        share = np.where(pattern == number, rule(), share)
    return share


def _hash(i: Array, j: Array, k: Array) -> Array:
    h = (i.astype(np.int64) * 73856093) ^ (j.astype(np.int64) * 19349663) ^ (k * 83492791)
    h = ((h ^ (h >> 13)) & 0xFFFFFFFF) * 1274126177
    return np.asarray(((h >> 11) & 0xFFFF) / 65535)
