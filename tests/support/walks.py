"""A scene made in the test itself: a box seen by a camera that walks and turns, with exact depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from smx.datasets import Cameras, Scene

WIDTH, HEIGHT = 24, 18
INTRINSICS = np.array([[16.0, 0, 11.5], [0, 16.0, 8.5], [0, 0, 1]])
ROOM = np.array([6.0, 2.6, 4.0])  # x, y (down), z


class Walk(Scene):
    """`N` frames numbered 0, step, 2·step …; `without` leaves out "cameras" or "depth"; `lost` have no pose."""

    metric = True

    def __init__(
        self, frames: int = 120, *, step: int = 1, without: str = "", lost: Sequence[int] = (), still: bool = False
    ) -> None:
        self.id = f"walk/{frames}x{step}"
        self.frame_ids = np.arange(frames, dtype=np.int64) * step
        self.width, self.height, self.fps = WIDTH, HEIGHT, 30.0
        self.without, self.lost, self.still = without, set(lost), still

    def timestamps(self) -> np.ndarray:
        return self.frame_ids / 30.0

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for frame_id in ids:
            yield frame_id, np.full((HEIGHT, WIDTH, 3), frame_id % 251, dtype=np.uint8)

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        if self.without == "cameras":
            return None
        w2c = np.stack([np.full((4, 4), np.nan) if i in self.lost else np.linalg.inv(self.c2w(i)) for i in ids])
        return Cameras(w2c, np.stack([INTRINSICS] * len(ids)), self.metric)

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        if self.without == "depth":
            return None
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        rays = np.stack([(u - 11.5) / 16, (v - 8.5) / 16, np.ones((HEIGHT, WIDTH))], axis=-1)
        c2w = self.c2w(frame_id)
        directions = rays @ c2w[:3, :3].T
        with np.errstate(divide="ignore"):
            leave = np.where(directions > 0, (ROOM - c2w[:3, 3]) / directions, -c2w[:3, 3] / directions)
        return leave.min(axis=-1).astype(np.float32), INTRINSICS

    def source(self) -> dict[str, Any]:
        return {"kind": "walk"}

    def c2w(self, frame_id: int) -> np.ndarray:
        """Walks along x and turns about the vertical."""
        at = 0.0 if self.still else frame_id / max(1, int(self.frame_ids[-1]))
        turn = 5 * at
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        pose[:3, 3] = [1 + 4 * at, 1.4, 2]
        return pose


class Wander(Walk):
    """A scene of random rests, jumps and turns inside the box, another for every `seed`."""

    def __init__(self, frames: int, seed: int, **given: Any) -> None:
        super().__init__(frames, **given)
        self.id = f"wander/{frames}-{seed}"
        rng = np.random.default_rng(seed)
        moves = rng.random((frames, 1)) < 0.7  # else it stands still
        self._at = ROOM / 2 + 0.3 * np.sin(np.cumsum(moves * rng.normal(scale=0.6, size=(frames, 3)), axis=0)) * ROOM
        self._turns = np.cumsum(moves * rng.normal(scale=0.4, size=(frames, 1)), axis=0)[:, 0]
        self._tilts = 0.5 * np.sin(self._turns * 1.7)

    def c2w(self, frame_id: int) -> np.ndarray:
        """Where the walk happened to be."""
        at = int(np.searchsorted(self.frame_ids, frame_id))
        turn, tilt = self._turns[at], self._tilts[at]
        pose = np.eye(4)
        around = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        upward = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
        pose[:3, :3] = around @ upward
        pose[:3, 3] = self._at[at]
        return pose
