"""VSI-Bench's own videos, `<dataset>/<scene_name>.mp4`, without cameras."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from smx import zipped
from smx.datasets import BaseDataset, Scene
from smx.datasets._files import VIDEOS
from smx.datasets._scan_folders import digest_of
from smx.digests import file_digest
from smx.errors import UserError, unknown

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

_BELOW = ("", "videos", "video")  # the latter is EASI's
_LOOKED_FOR = "looked for <dataset>/<scene_name>.mp4 in it, in videos/ and video/ below, and in its zip files"


class Dataset(BaseDataset):
    """Scenes "<dataset>/<scene_name>", of all datasets that are there (arkitscenes, scannet, scannetpp)."""

    version: ClassVar[int] = 2  # times count from the first frame
    hub: ClassVar[str] = "nyu-visionx/VSI-Bench"
    below_hf_home: ClassVar[str] = "vsibench"  # where lmms-eval unpacks it
    always_timed: ClassVar[bool] = True

    joined: bool = Field(
        default=False, description="cameras and depth from ROOT/originals/{scannet,scannetpp,arkitscenes}"
    )

    def scenes(self, root: Path | None) -> list[str]:
        """Ids of all videos, sorted; those with other endings are named. `UserError` when there is none."""
        found = _videos(root)
        assert root is not None
        for place in (root / part for part in _BELOW):
            for path in sorted(place.glob("*/*")):
                if path.suffix.lower() in VIDEOS - {".mp4"} and f"{path.parent.name}/{path.stem}" not in found:
                    logger.warning("%s/%s is skipped: only .mp4 is read here", path.parent.name, path.name)
        return sorted(found)

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one video. `UserError` when there is none of that name, `SceneError` when it is broken."""
        videos = _videos(root)
        if scene_id not in videos:
            raise unknown("scene", scene_id, videos, _LOOKED_FOR)
        if self.joined:
            from smx.datasets._vsibench_scans import JoinedScene

            assert root is not None
            return JoinedScene(scene_id, videos[scene_id], root / "originals")
        from smx.datasets._video_scene import VideoScene

        return VideoScene(scene_id, videos[scene_id])

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """SHA-256 over `inputs` of these scenes."""
        return digest_of(self.inputs(root, sorted(_videos(root)) if scenes is None else scenes))

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file -> digest: the video, and what cameras and depth of a joined scene come from."""
        videos = _videos(root)
        return {scene: self._inputs(root, scene, videos[scene]) for scene in scenes if scene in videos}

    def _inputs(self, root: Path | None, scene: str, video: Path) -> dict[str, str]:
        inputs = {video.name: file_digest(video)}
        if not self.joined or root is None:
            return inputs
        from smx.datasets._vsibench_scans import original_inputs

        original = original_inputs(scene, root / "originals")
        return inputs | {f"originals/{name}": content for name, content in original.items()}


def _videos(root: Path | None) -> dict[str, Path]:
    """Scene id -> video, from both places a download may have put them."""
    if root is None or not root.is_dir():
        where = "no root is given" if root is None else f"{root} is not a folder"
        raise UserError(f"dataset vsibench: {where}", f"--root FOLDER; {_LOOKED_FOR}")
    found: dict[str, Path] = {}
    for path in _files(root):
        dataset, name = path.parent.name, path.name
        if not (name.startswith(".") or dataset.startswith((".", "__")) or path.parent.parent.name.startswith("__")):
            found.setdefault(f"{dataset}/{path.stem}", path)
    if not found:
        raise UserError(f"dataset vsibench: no video under {root}", _LOOKED_FOR)
    return found


def _files(root: Path) -> Iterator[Path]:
    """Every `<dataset>/<scene_name>.mp4`: those that are unpacked first, then those in the zips of a release."""
    for base in (root / part for part in _BELOW):
        for path in sorted(base.glob("*/*.mp4")):
            if path.parent not in [root / part for part in _BELOW[1:]]:
                yield path
    for archive in sorted(root.glob("*.zip")):
        if archive.is_file():  # a download that was cut off leaves a link to nothing
            for member in sorted(zipped.members(archive)):
                if member.endswith(".mp4") and "/" in member:
                    yield archive / member
