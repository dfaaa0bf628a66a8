"""Every video below a folder, named by its path; nothing else is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smx.datasets import BaseDataset, Scene
from smx.datasets._scan_folders import ReadFiles, children, digest_of, inputs_of, need_root, need_scenes, the_one

_ENDINGS = {".mp4", ".mkv", ".avi", ".mov", ".webm"}
LOOKED_FOR = f"looked for {', '.join(sorted(_ENDINGS))} in the root and all folders below it"


class Dataset(BaseDataset):
    """The scenes of benches whose questions name a video's path."""

    def scenes(self, root: Path | None) -> list[str]:
        """`folder/name` of all videos, sorted. `UserError` when there is none."""
        return sorted(self._videos(root))

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one video. `UserError` when there is none of that name, `SceneError` when it is broken."""
        from smx.datasets._video_scene import VideoScene

        return VideoScene(scene_id, the_one(self._videos(root), scene_id, LOOKED_FOR))

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """SHA-256 over `inputs` of these scenes."""
        return digest_of(self.inputs(root, self.scenes(root) if scenes is None else scenes))

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file -> digest."""
        videos = self._videos(root)
        return {scene: inputs_of(ReadFiles([path]), path.parent) for scene in scenes if (path := videos.get(scene))}

    def _videos(self, root: Path | None) -> dict[str, Path]:
        root = need_root(root, "videos", LOOKED_FOR)
        found: dict[str, Path] = {}
        folders = [root]
        while folders:
            for child in children([folders.pop()]):
                if child.is_dir():
                    folders.append(child)
                elif child.suffix.lower() in _ENDINGS:
                    found.setdefault(child.relative_to(root).with_suffix("").as_posix(), child)
        return need_scenes(found, root, "videos", LOOKED_FOR)
