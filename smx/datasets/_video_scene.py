"""One video as a scene, nothing else known of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.datasets import Scene

if TYPE_CHECKING:
    import numpy as np


class VideoScene(Scene):
    """One video, nothing else known of it."""

    def __init__(self, scene_id: str, path: Path) -> None:
        from smx.datasets._frame_reader import VideoMedia

        self.id = scene_id
        self._media = VideoMedia(path)
        self.frame_ids = self._media.frame_ids
        self.width, self.height, self.fps = self._media.width, self._media.height, self._media.fps

    def timestamps(self) -> np.ndarray:
        """[N] presentation times in seconds."""
        return self._media.video.timestamps.copy()

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3] RGB), ascending."""
        return self._media.decode(ids)

    def source(self) -> dict[str, Any]:
        """Kind, file name, digest, size."""
        return self._media.source()
