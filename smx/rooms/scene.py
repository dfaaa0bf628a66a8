"""A built-in scene: everything that follows from one seed, and the tables its renderers work on."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from smx.errors import UserError
from smx.rooms.camera_path import make_walk
from smx.rooms.entities import Doorway, Picture, Piece, Room
from smx.rooms.layout import make_layout
from smx.rooms.scene_arrays import Tables, make_tables

Split = Literal["test", "train"]

GENERATOR = 2  # raise it when the same seed would give other frames or questions
FPS = 4.0
MAX_FRAMES = 4096


@dataclass(frozen=True)
class RoomScene:
    """Geometry, cameras and appearance of one scene. World: z up, metres; cameras: OpenCV axes."""

    name: str
    seed: int
    width: int
    height: int
    ceiling: float
    rooms: tuple[Room, ...]
    doorways: tuple[Doorway, ...]
    pieces: tuple[Piece, ...]
    pictures: tuple[Picture, ...]
    w2c: np.ndarray  # [N, 4, 4] float64
    K: np.ndarray  # [3, 3] float64, pixels; pixel centres at whole numbers
    fps: float = FPS

    @property
    def frame_ids(self) -> np.ndarray:
        """[N] int64: 0 .. N-1."""
        return np.arange(len(self.w2c), dtype=np.int64)

    @cached_property
    def tables(self) -> Tables:
        """The scene as arrays, for the renderers."""
        return make_tables(self.rooms, self.doorways, self.pieces, self.pictures, ceiling=self.ceiling, seed=self.seed)

    def digest(self) -> str:
        """Identity of geometry, appearance and cameras, hex."""
        content = hashlib.sha256(repr((GENERATOR, self.width, self.height, self.fps)).encode())
        for array in (*self.tables, self.w2c, self.K):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    def resized(self, width: int, height: int) -> RoomScene:
        """The same scene and walk seen by a camera of another resolution (same field of view)."""
        return RoomScene(
            self.name, self.seed, width, height, self.ceiling, self.rooms, self.doorways, self.pieces,
            self.pictures, self.w2c, intrinsics(width, height), self.fps,
        )  # fmt: skip


def make_scene(seed: int, *, name: str = "", frames: int = 96, width: int = 320, height: int = 240) -> RoomScene:
    """The scene of `seed`, deterministic. The walk covers all rooms, whatever the number of frames."""
    if not 2 <= frames <= MAX_FRAMES:
        raise UserError(f"a scene of {frames} frames cannot be made", f"frames: 2 to {MAX_FRAMES}")
    if min(width, height) < 16:
        raise UserError(f"frames of {width}x{height} are too small", "at least 16x16 pixels")
    rng = np.random.default_rng([20_251, seed])
    layout = make_layout(rng)
    w2c = make_walk(rng, layout.plan, frames)
    return RoomScene(
        name or f"seed-{seed}", seed, width, height, layout.height, layout.rooms, layout.doorways,
        layout.pieces, layout.pictures, w2c, intrinsics(width, height),
    )  # fmt: skip


def scene_names(split: Split, count: int, first: int = 0) -> list[str]:
    """Names of `count` scenes of a split: `test-000`, `test-001` … from number `first` on."""
    return [f"{split}-{number:03d}" for number in range(first, first + count)]


@lru_cache(maxsize=64)  # bench and dataset ask for the same ones
def named_scene(name: str, *, frames: int = 96, width: int = 320, height: int = 240) -> RoomScene:
    """The scene called `name` ("test-003"). Train seeds are odd, test seeds even: no scene is in both splits.

    Raises `UserError` for a name that is not one.
    """
    match = re.fullmatch(r"(train|test)-(\d{3,6})", name)
    if not match:
        raise UserError(f"there is no built-in scene {name!r}", "names look like test-000 or train-012")
    seed = 2 * int(match[2]) + (match[1] == "train")
    return make_scene(seed, name=name, frames=frames, width=width, height=height)


def intrinsics(width: int, height: int) -> np.ndarray:
    """[3, 3] K with a field of view of 60 degrees from top to bottom and square pixels."""
    focal = height / 2 / np.tan(np.radians(30))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    K.setflags(write=False)
    return K
