"""Frames of a scene: colours, depth and which piece of furniture each pixel shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from smx.errors import SceneError
from smx.rooms import reference_renderer
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
    cast = _fast(scene) if compiled else _slow(scene)
    for frame_id in frame_ids:
        hits = cast(_checked(scene, frame_id))
        yield Frame(hits.colours(), hits.depth.astype(np.float32), scene.tables.owner[hits.hit])


def visible(scene: RoomScene, frame_ids: Sequence[int]) -> Iterator[np.ndarray]:
    """[H, W] int16 number of the piece each pixel shows (-1: none), without computing colours."""
    cast = _fast(scene)
    for frame_id in frame_ids:
        yield scene.tables.owner[cast(_checked(scene, frame_id)).hit]


class _Hits(NamedTuple):
    """What the rays of one frame met. `colours` computes the picture."""

    depth: np.ndarray
    hit: np.ndarray
    colours: Callable[[], np.ndarray]


def _fast(scene: RoomScene) -> Callable[[np.ndarray], _Hits]:
    from smx.rooms import _raycaster

    t, shape = scene.tables, (scene.height, scene.width)
    # Scratch of one clip: fresh memory for every frame costs more than casting its rays.
    depth, hit, face = np.empty(shape), np.empty(shape, np.int16), np.empty(shape, np.int8)
    seen = np.empty(len(t.cells), np.bool_)

    def cast(w2c: np.ndarray) -> _Hits:
        rotation = np.ascontiguousarray(w2c[:3, :3].T)
        centre = -rotation @ w2c[:3, 3]
        start = reference_renderer.start_cell(t, centre)
        seen[:] = False
        _raycaster.building(
            rotation, centre, scene.K, t.cells, t.portal_range, t.portals, start, depth, hit, face, seen
        )
        _raycaster.furniture(rotation, centre, scene.K, t.boxes, t.home, seen, depth, hit, face)

        def colours() -> np.ndarray:
            rgb = np.empty((*shape, 3), np.uint8)
            _raycaster.shade(rotation, centre, scene.K, t.cells, t.boxes, t.material, depth, hit, face, rgb)
            return rgb

        return _Hits(depth, hit, colours)

    return cast


def _slow(scene: RoomScene) -> Callable[[np.ndarray], _Hits]:
    def cast(w2c: np.ndarray) -> _Hits:
        centre, direction = reference_renderer.rays(w2c, scene.K, scene.width, scene.height)
        depth, hit, face = reference_renderer.cast(scene.tables, centre, direction)
        return _Hits(depth, hit, lambda: reference_renderer.shade(scene.tables, centre, direction, depth, hit, face))

    return cast


def _checked(scene: RoomScene, frame_id: int) -> np.ndarray:
    if not 0 <= frame_id < len(scene.w2c):
        raise SceneError(f"{scene.name} has no frame {frame_id}, only 0 to {len(scene.w2c) - 1}")
    return np.asarray(scene.w2c[frame_id])
