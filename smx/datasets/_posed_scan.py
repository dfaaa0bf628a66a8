"""A scene whose layout has cameras: what scannet, scannetpp and arkitscenes share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from smx.datasets import Cameras, Scene
from smx.datasets._frame_reader import Media
from smx.errors import SceneError
from smx.geometry.cameras import resize_intrinsics, turned_camera, turned_image

# A crop is no resize: what is left after rounding sizes to whole pixels stays below this. ScanNet's 1296x968
# and 640x480 differ by 0.4 % in shape.
_SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Rig:
    """A camera for every frame, and what `sample.json` says of where they came from."""

    w2c: np.ndarray  # [N, 4, 4] float64, all NaN where lost
    K: np.ndarray  # [N, 3, 3] float64, pixels of the frame as stored (before `RigScene` turns it)
    metric: bool = True
    note: dict[str, Any] = field(default_factory=dict)  # format, file, matched_by
    remarks: Sequence[str] = ()  # poses that were not taken


class RigScene(Scene):
    """Frames of a `Media`, with the cameras and depth that a subclass reads.

    `quarters`: clockwise quarter turns that make the stored frames upright; frames, cameras and depth all follow.
    """

    def __init__(self, scene_id: str, media: Media, quarters: int = 0) -> None:
        self.id = scene_id
        self.quarters = quarters % 4
        self._media = media
        self.frame_ids = media.frame_ids
        self.stored_size = (media.width, media.height)
        self.width, self.height = self.stored_size if self.quarters % 2 == 0 else self.stored_size[::-1]
        self.fps = media.fps

    @abstractmethod
    def _read_rig(self) -> Rig | None:
        """The cameras, or None where the layout has them and this scene does not."""

    @abstractmethod
    def _read_depth(self, position: int) -> tuple[np.ndarray, np.ndarray | None, Path] | None:
        """(depth of the frame at `position` as stored, its own K or None, the file it is from), or None."""

    def timestamps(self) -> np.ndarray:
        """[N] seconds since the first frame, NaN where nobody knows."""
        clock = self.clock()
        return np.full(len(self.frame_ids), np.nan) if clock is None else clock - clock[0]

    def clock(self) -> np.ndarray | None:
        """[N] seconds as the files have them, else by the usual rate."""
        if self._media.times is not None:
            return self._media.times.copy()
        return None if self.fps is None else self.frame_ids / self.fps

    def remarks(self) -> list[str]:
        """Poses that were not taken."""
        try:
            rig = self.rig
        except SceneError:
            return []  # said by whoever asks for cameras
        return [] if rig is None else list(rig.remarks)

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3] RGB), ascending, upright."""
        for frame_id, pixels in self._media.decode(ids):
            yield frame_id, turned_image(pixels, self.quarters) if self.quarters else pixels

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        """Cameras of `ids`. `SceneError` where the files are damaged or have no pose at all."""
        if self.rig is None:
            return None
        at = self.positions(ids)
        w2c, K = turned_camera(self.rig.w2c[at], self.rig.K[at], self.stored_size, self.quarters)
        return Cameras(w2c, K, self.rig.metric)

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Depth of a frame with its K, upright. None where the frame has none, or no intrinsics are known."""
        position = int(self.positions([frame_id])[0])
        found = self._read_depth(position)
        if found is None or self.rig is None:
            return None
        metres, K, file = found
        size = (metres.shape[1], metres.shape[0])
        if K is None:
            K = resized_K(self.rig.K[position], self.stored_size, size, file)
        _, K = turned_camera(self.rig.w2c[position], K, size, self.quarters)
        return turned_image(metres, self.quarters), K

    def source(self) -> dict[str, Any]:
        """Origin of the frames and of the cameras, how many poses are lost, and the turn that was made."""
        try:
            rig = self.rig
        except SceneError as error:
            cameras: dict[str, Any] | None = {"unread": str(error).rpartition("/")[2]}
            return {**self._media.source(), "cameras": cameras, "turned": 90 * self.quarters}
        cameras = None
        if rig is not None:
            cameras = {**rig.note, "lost": int((~np.isfinite(rig.w2c).all(axis=(1, 2))).sum())}
        return {**self._media.source(), "cameras": cameras, "turned": 90 * self.quarters}

    @cached_property
    def rig(self) -> Rig | None:
        """Cameras of the stored frames. `SceneError` where no frame has any."""
        rig = self._read_rig()
        if rig is not None and not np.isfinite(rig.w2c).all(axis=(1, 2)).any():
            raise SceneError(
                f"scene {self.id!r}: every pose in {rig.note['file']} is lost (inf, NaN or of other frames)"
            )
        return rig

    def positions(self, ids: Sequence[int]) -> np.ndarray:
        """[n] places of frame ids in `frame_ids`. `SceneError` for one the scene does not have."""
        wanted = np.asarray(ids, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.frame_ids, wanted), len(self.frame_ids) - 1)
        absent = wanted[self.frame_ids[at] != wanted]
        if len(absent):
            raise SceneError(f"scene {self.id!r}: there is no frame {absent[0]}")
        return at


def resized_K(K: np.ndarray, size: tuple[int, int], to: tuple[int, int], file: Path) -> np.ndarray:
    """K [..., 3, 3] of an image of `size` (width, height) for the same image at `to`, each axis by its own factor.

    Raises `SceneError` naming `file` where the shapes differ by more than rounding: turned or cropped, not resized.
    """
    if size == to:
        return K
    if abs(size[0] / size[1] / (to[0] / to[1]) - 1) > _SHAPE_TOLERANCE:
        raise SceneError(f"{file}: {to[0]}x{to[1]}, the camera is {size[0]}x{size[1]}: turned or cropped, not resized")
    return resize_intrinsics(K, size, to)
