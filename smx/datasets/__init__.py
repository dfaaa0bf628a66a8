"""Datasets: scenes on disk (or made on the fly) with frames and, where known, cameras and depth.

One file per dataset, holding `class Dataset(BaseDataset)`. Everything a scene hands out is in smx's one
convention: w2c 4x4 float64, OpenCV axes (x right, y down, z forward), metres where metric; K in pixels of
the frame as decoded; depth float32 metres, NaN where invalid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smx.options import Options

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Cameras:
    """Cameras of n frames. A lost pose is all-NaN in `w2c`, never an inverse of infinity."""

    w2c: np.ndarray  # [n, 4, 4] float64, world to camera, OpenCV axes
    K: np.ndarray  # [n, 3, 3] float64, pixels of the decoded frame
    metric: bool = True  # translations are metres
    pose_enc: np.ndarray | None = None  # [n, 9] as a network said it, where one made these cameras


class Scene(ABC):
    """One scene, opened. Frames are named by raw frame id (a video's index, an image's number)."""

    id: str  # "scene0000_00", or "scannet/scene0000_00": a relative path without "..", safe as a folder
    frame_ids: np.ndarray  # [N] int64, ascending
    width: int  # of the decoded frames, pixels
    height: int
    fps: float | None  # None where frames carry no time

    @abstractmethod
    def timestamps(self) -> np.ndarray:
        """[N] float64 seconds since the first frame, aligned with `frame_ids`; NaN where they are unknown."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3] RGB) for each id in ascending order, in one forward pass.

        Raises `smx.errors.SceneError` naming scene and file when a frame cannot be had.
        """

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        """Cameras of `ids`, or None where the scene has none."""
        return None

    def intrinsics(self, ids: Sequence[int]) -> np.ndarray | None:
        """[n, 3, 3] K of `ids`, also where their poses are unknown; None where nobody knows."""
        cameras = self.cameras(ids)
        return None if cameras is None else cameras.K

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(depth [h, w] float32 metres NaN where invalid, K [3, 3] in pixels of that depth map), or None."""
        return None

    def depth_map(self, frame_id: int) -> np.ndarray | None:
        """[h, w] as `depth` has it, also where nobody knows the K of it."""
        found = self.depth(frame_id)
        return None if found is None else found[0]

    def clock(self) -> np.ndarray | None:
        """[N] seconds on the clock that files beside the frames use (camera files); None where there is none."""
        return None if self.fps is None else self.timestamps()

    def turns(self) -> np.ndarray:
        """[N] clockwise quarter turns by which a tag turned the stored frames upright; -1 where one is mirrored."""
        import numpy as np

        return np.zeros(len(self.frame_ids), dtype=np.int64)

    def remarks(self) -> list[str]:
        """What of its files is not used, and why, a line each; no absolute path."""
        return []

    @abstractmethod
    def source(self) -> dict[str, Any]:
        """What `sample.json` records of the origin: kind, file name, sha256 digest, size. No absolute path."""


class BaseDataset(Options):
    """Contract of a dataset plugin. Fields are its options; they are hashed into fingerprints."""

    needs_root: ClassVar[bool] = True  # False where scenes are made on the fly
    selectors: ClassVar[frozenset[str]] = frozenset()  # options that only choose scenes; their ids tell them apart
    hub: ClassVar[str] = ""  # repository of Hugging Face that publishes it
    below_hf_home: ClassVar[str] = ""  # folder of $HF_HOME that another tool unpacks it into
    always_timed: ClassVar[bool] = False  # every scene has times, so none is looked at for them
    has_cameras: ClassVar[bool] = False  # cameras are part of the layout (else: detected per scene)

    @abstractmethod
    def scenes(self, root: Path | None) -> list[str]:
        """Ids of all scenes, sorted. `UserError` when `root` is missing or not of this layout."""

    @abstractmethod
    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one scene. `SceneError` when it is broken, `UserError` when there is none of that name."""

    @abstractmethod
    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """Identity of these scenes' data under `root` (None: of all), hex; cheap (names, sizes, heads and tails).

        No path in it. Contents go through `smx.digests`, which remembers them: `whole_digest` for camera files,
        `pictures_digest` for folders of pictures, `file_digest` for videos.
        """

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file or folder below it -> digest, of everything that opening the scene may read.

        It is recorded with each sample and compared before a sample is used again. Here: one digest for all of it.
        A scene of which nothing depends on files is left out, or has nothing.
        """
        return {scene: {"data": self.digest(root, [scene])} for scene in scenes}
