"""Built-in procedural rooms: frames, depth and exact cameras made on the fly from a seed, nothing on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from smx.datasets import BaseDataset, Cameras, Scene
from smx.errors import SceneError, unknown

if TYPE_CHECKING:
    import numpy as np

    from smx.rooms import RoomScene


class Dataset(BaseDataset):
    """Scenes `test-000`, `test-001` … (or `train-…`); train and test never share a scene."""

    always_timed: ClassVar[bool] = True
    needs_root: ClassVar[bool] = False
    has_cameras: ClassVar[bool] = True
    selectors: ClassVar[frozenset[str]] = frozenset({"split", "count", "first"})

    split: Literal["test", "train"] = "test"
    count: int = Field(default=8, ge=1, le=100_000, description="number of scenes")
    first: int = Field(default=0, ge=0, le=100_000, description="number of the first scene")
    frames: int = Field(default=96, ge=2, le=4096, description="frames a scene")
    width: int = Field(default=320, ge=16, le=1920, description="pixels")
    height: int = Field(default=240, ge=16, le=1440, description="pixels")

    def scenes(self, root: Path | None) -> list[str]:
        """Names of the scenes, sorted."""
        from smx.rooms import scene_names

        return sorted(scene_names(self.split, self.count, self.first))

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Make one scene (about a tenth of a second); its frames are rendered when asked for."""
        if scene_id not in self.scenes(root):
            raise unknown("scene", scene_id, self.scenes(root), "the options split, count and first say which exist")
        return _Rooms(self, scene_id)

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """The options and the generator's version: they determine every pixel, of all scenes at once."""
        from smx.rooms import GENERATOR

        identity = json.dumps({"generator": GENERATOR, **self.model_dump()}, sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Nothing is read: the options and the generator's version, which a run and a sample name, say all."""
        return {}


class _Rooms(Scene):
    def __init__(self, options: Dataset, scene_id: str) -> None:
        import numpy as np

        from smx.rooms import FPS

        self.id = scene_id
        self.options = options
        self.frame_ids = np.arange(options.frames, dtype=np.int64)
        self.width, self.height = options.width, options.height
        self.fps = FPS

    @cached_property
    def made(self) -> RoomScene:
        from smx.rooms import named_scene

        options = self.options
        return named_scene(self.id, frames=options.frames, width=options.width, height=options.height)

    def timestamps(self) -> np.ndarray:
        import numpy as np

        assert self.fps is not None
        return np.asarray(self.frame_ids / self.fps, np.float64)

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        from smx.rooms import render

        wanted = sorted({int(i) for i in ids})
        for frame_id, frame in zip(wanted, render(self.made, wanted), strict=True):
            yield frame_id, frame.rgb

    def cameras(self, ids: Sequence[int]) -> Cameras:
        import numpy as np

        for frame_id in ids:
            if not 0 <= frame_id < len(self.frame_ids):
                raise SceneError(f"{self.id} has no frame {frame_id}, only 0 to {len(self.frame_ids) - 1}")
        w2c = self.made.w2c[np.asarray(ids, np.int64)]
        return Cameras(w2c, np.tile(self.made.K, (len(w2c), 1, 1)))

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray]:
        from smx.rooms import render

        return next(render(self.made, [frame_id])).depth, self.made.K.copy()

    def source(self) -> dict[str, Any]:
        """Kind, generator version and a digest of the scene's geometry, cameras and appearance."""
        from smx.rooms import GENERATOR

        return {
            "kind": "rooms",
            "file": self.id,
            "generator": GENERATOR,
            "sha256": self.made.digest(),
            "frames": len(self.frame_ids),
            "fps": self.fps,
            "width": self.width,
            "height": self.height,
        }
