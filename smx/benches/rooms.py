"""Questions of VSI-Bench's ten types about the built-in rooms, exact by construction, with a training split.

For the demo, tests and training checks. Scores are always labelled `rooms`: they say nothing about real rooms.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from smx.benches import Question
from smx.benches._vsi import VsiBench


class Bench(VsiBench):
    """Questions about scenes of the dataset `rooms`; train and test never share a scene."""

    needs_root: ClassVar[bool] = False
    dataset: ClassVar[str] = "rooms"

    scenes: int = Field(8, ge=1, le=100_000, description="number of test scenes")
    train_scenes: int = Field(24, ge=0, le=100_000, description="number of training scenes")
    frames: int = Field(96, ge=2, le=4096, description="frames a scene")
    width: int = Field(320, ge=16, le=1920, description="pixels")
    height: int = Field(240, ge=16, le=1440, description="pixels")

    def dataset_options(self) -> dict[str, Any]:
        """The test scenes."""
        return self._scenes_of("test", self.scenes)

    def training_dataset_options(self) -> dict[str, Any]:
        """The training scenes."""
        return self._scenes_of("train", max(self.train_scenes, 1))

    def questions(self, root: Path | None) -> list[Question]:
        """Questions about the test scenes that `where` keeps."""
        return self._keep(self._asked("test", self.scenes))

    def training(self, root: Path | None) -> list[Question]:
        """Questions about the training scenes, sorted by (scene, id). Of `where`, only the question types apply."""
        types = self.where.get("question_type")
        asked = self._asked("train", self.train_scenes)
        return sorted((q for q in asked if types is None or q.type in types), key=lambda q: (q.scene, q.id))

    def digest(self, root: Path | None) -> str:
        """The options and the generator's version: they determine every question."""
        from smx.rooms import GENERATOR

        identity = {"generator": GENERATOR, **self.model_dump(exclude={"prompt", "where", "width", "height"})}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def _scenes_of(self, split: Literal["test", "train"], count: int) -> dict[str, Any]:
        return {
            "split": split,
            "count": count,
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
        }

    def _asked(self, split: Literal["test", "train"], count: int) -> list[Question]:
        from smx.rooms import scene_names

        return [question for name in scene_names(split, count) for question in _about(name, self.frames)]


@lru_cache(maxsize=4096)
def _about(scene: str, frames: int) -> tuple[Question, ...]:
    """Questions about one scene. What is asked depends on what the walk shows, which takes a tenth of a second."""
    from smx.rooms import named_scene, questions

    return tuple(
        Question(
            id=row.id,
            dataset=row.dataset,
            scene=row.scene_name,
            type=row.question_type,
            text=row.question,
            options=None if row.options is None else tuple(row.options),
            truth=row.ground_truth,
        )
        for row in questions(named_scene(scene, frames=frames))
    )
