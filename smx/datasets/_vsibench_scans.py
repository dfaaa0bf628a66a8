"""VSI-Bench's videos with the cameras and depth of the datasets they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smx.datasets import Cameras, Scene, _arkit, _scannet, _scannetpp
from smx.datasets._frame_reader import VideoMedia
from smx.datasets._posed_scan import resized_K
from smx.datasets._scan_folders import folder_of, inputs_of
from smx.errors import SceneError

_CAMERAS: tuple[_arkit.Camera, ...] = ("vga_wide", "lowres_wide")
LOOKED_FOR = "looked for originals/scannet, originals/scannetpp and originals/arkitscenes in the root (links will do)"


class JoinedScene(Scene):
    """A video whose k-th frame is the k-th frame of the original, at another size. Their counts must be the same.

    ARKitScenes' videos were turned upright, so its cameras are turned before they are joined.
    """

    def __init__(self, scene_id: str, video: Path, originals: Path) -> None:
        media = VideoMedia(video)
        self._video = video
        self._original = _original(scene_id, originals, len(media.frame_ids))
        there, here = len(self._original.frame_ids), len(media.frame_ids)
        if there != here:
            raise SceneError(f"{video}: {here} frames, the original has {there}: which frame is which is unknown")
        self.id = scene_id
        self._media = media
        self.frame_ids = media.frame_ids
        self.width, self.height, self.fps = media.width, media.height, media.fps

    def timestamps(self) -> np.ndarray:
        """[N] presentation times in seconds."""
        return self._media.video.timestamps.copy()

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3] RGB), ascending."""
        return self._media.decode(ids)

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        """The original's cameras, K in pixels of the video."""
        found = self._original.cameras(self._theirs(ids))
        if found is None:
            return None
        size = (self._original.width, self._original.height)
        return Cameras(found.w2c, resized_K(found.K, size, (self.width, self.height), self._video), found.metric)

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The original's depth, with its K."""
        return self._original.depth(self._theirs([frame_id])[0])

    def remarks(self) -> list[str]:
        """The original's."""
        return self._original.remarks()

    def source(self) -> dict[str, Any]:
        """The video's, and where the cameras are from."""
        original = self._original.source()
        return {**self._media.source(), "cameras": original.get("cameras"), "joined_with": original}

    def _theirs(self, ids: Sequence[int]) -> list[int]:
        absent = next((i for i in ids if not 0 <= i < len(self.frame_ids)), None)
        if absent is not None:
            raise SceneError(f"{self._video}: there is no frame {absent}, the video has {len(self.frame_ids)}")
        return [int(i) for i in self._original.frame_ids[list(ids)]]


def original_inputs(scene_id: str, originals: Path) -> dict[str, str]:
    """File -> digest of everything that a scene's original may be read from; nothing where it is not there."""
    kind, _, name = scene_id.partition("/")
    root = originals / kind
    if kind == "scannet" and name in (found := _scannet.find(root)):
        return inputs_of(_scannet.files(found[name]), folder_of(found[name]))
    if kind == "scannetpp" and name in (found := _scannetpp.find(root, "iphone")):
        return inputs_of(_scannetpp.files(found[name]), found[name])
    if kind == "arkitscenes":
        places = {found[name] for camera in _CAMERAS if name in (found := _arkit.find(root, camera))}
        return {
            f"{place.relative_to(root).as_posix()}/{file}": content
            for place in sorted(places)
            for file, content in _arkit.inputs(name, place, root).items()
        }
    return {}


def _original(scene_id: str, originals: Path, frames: int) -> Scene:
    kind, _, name = scene_id.partition("/")
    root = originals / kind
    if kind == "scannet" and name in (found := _scannet.find(root)):
        return _scannet.open_scene(name, found[name], "auto")
    if kind == "scannetpp" and name in (found := _scannetpp.find(root, "iphone")):
        return _scannetpp.open_scene(name, found[name], "iphone", "iphone")
    if kind == "arkitscenes":
        made: list[Scene] = []
        for camera in _CAMERAS:
            if name in (found := _arkit.find(root, camera)):
                made.append(_arkit.ArkitScene(name, found[name], camera, True, root))
                if len(made[-1].frame_ids) == frames:  # the video is of this camera
                    return made[-1]
        if made:
            return made[0]
    raise SceneError(f"{root}: no scene {name!r} to join the video with; {LOOKED_FOR}")
