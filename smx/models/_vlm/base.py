"""Base models that are read from a checkpoint folder, and are nothing without one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from smx.errors import UserError
from smx.models import BaseVLM, Query, TrainableRunner


class OnDisk(BaseVLM):
    """Says so where no folder is named; a plugin looks at the folder and reads it."""

    needs_checkpoint: ClassVar[bool] = True
    base: ClassVar[str]  # the plugin's name, as variants and checkpoints say it

    @abstractmethod
    def look_at(self, folder: Path) -> None:
        """`UserError` for the first thing that does not fit, from config.json and the safetensors headers."""

    @abstractmethod
    def read(self, folder: Path, *, seed: int, device: str, dtype: str) -> TrainableRunner:
        """The model with the weights of `folder`, which `look_at` has passed."""

    @abstractmethod
    def sizes_of(self, folder: Path) -> Mapping[str, int]:
        """As `sizes`, of a checkpoint that is there."""

    def sizes(self, checkpoint: Path | None) -> Mapping[str, int]:
        """Empty for one that is still to be trained."""
        return self.sizes_of(checkpoint) if checkpoint is not None and checkpoint.is_dir() else {}

    def check(self, checkpoint: Path | None) -> None:
        """Architecture, files, sizes and shapes."""
        self._checked(checkpoint)

    def check_adapter(self, adapter: Path, checkpoint: Path) -> None:
        """Factors of the names and shapes that the weights have."""
        from smx.models._vlm.adapter import check

        check(adapter, checkpoint)

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> TrainableRunner:
        """Read `checkpoint`; the seed makes only weights that it lacks, where a base allows that."""
        folder = self._checked(checkpoint)
        return self.at(folder).read(folder, seed=seed, device=device, dtype=dtype)

    def _checked(self, checkpoint: Path | None) -> Path:
        if checkpoint is None:
            raise UserError(
                f"base {self.base} needs a checkpoint folder", "give --checkpoint PATH, or checkpoint: in the variant"
            )
        self.look_at(checkpoint)
        return checkpoint
