"""ScanNet++ scenes: the iPhone's video with LiDAR depth, or the undistorted photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from smx.datasets import BaseDataset, Scene
from smx.datasets._scan_folders import digest_of, folder_of, inputs_of, need_root, need_scenes, the_one


class Dataset(BaseDataset):
    """Scenes below the root or `data/`. `iphone` poses are there for every frame, COLMAP's for those it registered."""

    version: ClassVar[int] = 2  # times count from the first frame; a few bad poses are lost
    always_timed: ClassVar[bool] = True
    has_cameras: ClassVar[bool] = True

    camera: Literal["iphone", "dslr"] = Field(
        default="iphone", description="dslr: photographs, once undistorted; they have no depth"
    )
    poses: Literal["iphone", "colmap", "nerfstudio"] = Field(
        default="iphone", description="of the iphone: pose_intrinsic_imu.json, colmap/ or nerfstudio/"
    )

    def scenes(self, root: Path | None) -> list[str]:
        """Ids of all scenes that have this camera, sorted. `UserError` when there is none."""
        return sorted(self._find(root))

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one scene. `SceneError` where it is empty or damaged, or a fisheye's."""
        from smx.datasets._scannetpp import LOOKED_FOR, open_scene

        folder = the_one(self._find(root), scene_id, LOOKED_FOR)
        return open_scene(scene_id, folder, self.camera, self.poses)

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """SHA-256 over `inputs` of these scenes."""
        return digest_of(self.inputs(root, self.scenes(root) if scenes is None else scenes))

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file -> digest."""
        from smx.datasets._scannetpp import files

        found = self._find(root)
        return {scene: inputs_of(files(found[scene]), folder_of(found[scene])) for scene in scenes if scene in found}

    def _find(self, root: Path | None) -> dict[str, Path]:
        from smx.datasets._scannetpp import LOOKED_FOR, find

        root = need_root(root, "scannetpp", LOOKED_FOR)
        return need_scenes(find(root, self.camera), root, "scannetpp", LOOKED_FOR)
