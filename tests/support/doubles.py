"""Stand-ins for parts that are too large for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smx.datasets import Cameras, Scene
from smx.geometry.cameras import inverse
from smx.geometry.source import DepthSource, PointMap

SCALE = 0.37  # a network's unit of length is its own


class NetworkGeometry:
    """What VGGT promises, made from the dataset's geometry: it looks at all candidates together, and answers in the
    frame of the first one's camera, in a unit of its own, with a confidence for every point."""

    def __init__(self, scene: Scene, candidates: np.ndarray, unsure: float = 0.0) -> None:
        self._scene, self._candidates, self._unsure = scene, candidates.tolist(), unsure
        self._lifted = DepthSource(scene)
        self.decoded: list[int] = []  # frames it has looked at
        self.forgotten: list[int] = []

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        """In the frame of the first candidate, with a pose encoding."""
        found = self._scene.cameras(ids)
        assert found is not None
        w2c = found.w2c @ self._world
        w2c[:, :3, 3] *= SCALE
        return Cameras(w2c, found.K, False, w2c[:, :3].reshape(len(w2c), 12)[:, :9])

    def point_map(self, frame_id: int) -> PointMap | None:
        """Points of the dataset's depth, moved; the confidence falls from row to row."""
        self._look()
        found = self._lifted.point_map(frame_id)
        assert found is not None
        world = inverse(self._world)
        points = (found.points @ world[:3, :3].T + world[:3, 3]) * SCALE
        rows = np.linspace(2, 2 - self._unsure, len(points), dtype=np.float32)
        return PointMap(points.astype(np.float32), np.repeat(rows[:, None], points.shape[1], axis=1))

    def forget(self, frame_id: int) -> None:
        """Noted."""
        self.forgotten.append(frame_id)

    def record(self) -> dict[str, Any]:
        """As VGGT's will be."""
        return {"reference_frame": "camera of the first candidate", "checkpoint": "0" * 64}

    @property
    def _world(self) -> np.ndarray:
        """[4, 4] from the first candidate's camera to the dataset's world."""
        found = self._scene.cameras([self._candidates[0]])
        assert found is not None
        return inverse(found.w2c[0])

    def _look(self) -> None:
        if not self.decoded:
            self.decoded = [frame_id for frame_id, _ in self._scene.decode(self._candidates)]
