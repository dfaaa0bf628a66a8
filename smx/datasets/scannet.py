"""ScanNet scans, as `.sens` files or exported to folders, with cameras and depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from smx.datasets import BaseDataset, Scene
from smx.datasets._scan_folders import digest_of, folder_of, inputs_of, need_root, need_scenes, the_one


class Dataset(BaseDataset):
    """Scenes `scene0000_00` … below the root, `scans/` or `scans_test/`. A lost frame (pose of −inf) has no camera."""

    version: ClassVar[int] = 2  # times count from the first frame; a few bad poses are lost
    always_timed: ClassVar[bool] = True
    has_cameras: ClassVar[bool] = True

    prefer: Literal["auto", "exported", "sens"] = Field(
        default="auto", description="what to read where a scan has both; auto: exported"
    )

    def scenes(self, root: Path | None) -> list[str]:
        """Ids of all scans, sorted. `UserError` when there is none."""
        return sorted(self._find(root))

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one scan. `SceneError` where it is empty or damaged."""
        from smx.datasets._scannet import LOOKED_FOR, open_scene

        return open_scene(scene_id, the_one(self._find(root), scene_id, LOOKED_FOR), self.prefer)

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """SHA-256 over `inputs` of these scenes."""
        return digest_of(self.inputs(root, self.scenes(root) if scenes is None else scenes))

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file -> digest."""
        from smx.datasets._scannet import files

        found = self._find(root)
        return {scene: inputs_of(files(found[scene]), folder_of(found[scene])) for scene in scenes if scene in found}

    def _find(self, root: Path | None) -> dict[str, Path]:
        from smx.datasets._scannet import LOOKED_FOR, find

        root = need_root(root, "scannet", LOOKED_FOR)
        return need_scenes(find(root), root, "scannet", LOOKED_FOR)
