"""ARKitScenes walks: `lowres_wide` or `vga_wide` pictures, turned upright, with cameras and LiDAR depth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from smx.datasets import BaseDataset, Scene
from smx.datasets._scan_folders import digest_of, need_root, need_scenes, the_one

logger = logging.getLogger(__name__)


class Dataset(BaseDataset):
    """Scenes are video ids (`41048190`), of `raw/` or `3dod/`. Poses come ten a second: each frame has the nearest."""

    version: ClassVar[int] = 2  # times count from the first frame; a few bad poses are lost
    always_timed: ClassVar[bool] = True
    has_cameras: ClassVar[bool] = True

    camera: Literal["lowres_wide", "vga_wide"] = Field(
        default="lowres_wide", description="256x192 at 60 a second, or 640x480 at 30"
    )
    upright: bool = Field(
        default=True, description="turn frames, cameras and depth by sky_direction of metadata.csv (else by the poses)"
    )

    def scenes(self, root: Path | None) -> list[str]:
        """Ids of all walks that have this camera, sorted; others are named. `UserError` when there is none."""
        from smx.datasets._arkit import only_videos

        found = self._find(root)
        assert root is not None
        for name, video in only_videos(root, found).items():
            logger.warning("%s is skipped: it has %s and no pictures of %s", name, video, self.camera)
        return sorted(found)

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one walk. `SceneError` where it is empty or damaged."""
        from smx.datasets._arkit import LOOKED_FOR, ArkitScene

        folder = the_one(self._find(root), scene_id, LOOKED_FOR)
        assert root is not None
        return ArkitScene(scene_id, folder, self.camera, self.upright, root)

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """SHA-256 over `inputs` of these scenes."""
        return digest_of(self.inputs(root, sorted(self._find(root)) if scenes is None else scenes))

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file -> digest."""
        from smx.datasets._arkit import inputs

        found = self._find(root)
        assert root is not None
        return {scene: inputs(scene, found[scene], root) for scene in scenes if scene in found}

    def _find(self, root: Path | None) -> dict[str, Path]:
        from smx.datasets._arkit import LOOKED_FOR, find, only_videos

        root = need_root(root, "arkitscenes", LOOKED_FOR)
        found = find(root, self.camera)
        videos = "" if found else next(iter(only_videos(root, found).values()), "")
        there = f"walks with a video alone ({videos}) are not read; " if videos else ""
        return need_scenes(found, root, "arkitscenes", there + LOOKED_FOR)
