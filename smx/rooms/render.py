"""Frames of a scene: colours, depth and which piece of furniture each pixel shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from smx.errors import SceneError
from smx.rooms import reference
from smx.rooms.scene import RoomScene


class Frame(NamedTuple):
    """One rendered frame."""

    rgb: np.ndarray  # [H, W, 3] uint8
    depth: np.ndarray  # [H, W] float32 metres along the optical axis; every pixel is valid
    pieces: np.ndarray  # [H, W] int16: number in `scene.pieces`, -1 for the building and pictures


def render(scene: RoomScene, frame_ids: Sequence[int], *, compiled: bool = True) -> Iterator[Frame]:
    """The frames of `frame_ids`, in the order asked. `compiled=False` takes the plain numpy renderer.

    Raises `SceneError` for an id the scene does not have.
    """
    for frame_id in frame_ids:
        depth, hit, face, centre, rotation = _cast(scene, frame_id, compiled)
        if compiled:
            from smx.rooms import _cast as fast

            t = scene.tables
            rgb = np.empty((scene.height, scene.width, 3), np.uint8)
            fast.shade(rotation, centre, scene.K, t.cells, t.boxes, t.material, depth, hit, face, rgb)
        else:
            _, direction = reference.rays(scene.w2c[frame_id], scene.K, scene.width, scene.height)
            rgb = reference.shade(scene.tables, centre, direction, depth, hit, face)
        yield Frame(rgb, depth.astype(np.float32), _pieces(scene, hit))


def visible(scene: RoomScene, frame_ids: Sequence[int]) -> Iterator[np.ndarray]:
    """[H, W] int16 number of the piece each pixel shows (-1: none), without computing colours."""
    for frame_id in frame_ids:
        yield _pieces(scene, _cast(scene, frame_id, True)[1])


def _cast(
    scene: RoomScene, frame_id: int, compiled: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if not 0 <= frame_id < len(scene.w2c):
        raise SceneError(f"{scene.name} has no frame {frame_id}, only 0 to {len(scene.w2c) - 1}")
    w2c = scene.w2c[frame_id]
    rotation = np.ascontiguousarray(w2c[:3, :3].T)
    centre = -rotation @ w2c[:3, 3]
    if not compiled:
        _, direction = reference.rays(w2c, scene.K, scene.width, scene.height)
        return *reference.cast(scene.tables, centre, direction), centre, rotation
    from smx.rooms import _cast as fast

    t = scene.tables
    shape = (scene.height, scene.width)
    depth, hit, face = np.empty(shape), np.empty(shape, np.int64), np.empty(shape, np.int64)
    start = reference.start_cell(t, centre)
    fast.cast(rotation, centre, scene.K, t.cells, t.portal_range, t.portals, t.boxes, t.home, start, depth, hit, face)
    return depth, hit, face, centre, rotation


def _pieces(scene: RoomScene, hit: np.ndarray) -> np.ndarray:
    count = len(scene.tables.cells)
    owner = np.concatenate([np.full(count, -1), scene.tables.owner])
    return np.asarray(owner[hit].astype(np.int16))
