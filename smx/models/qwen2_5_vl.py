"""Qwen2.5-VL, unmodified, from any local checkpoint folder of that architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from smx.errors import UserError
from smx.models import Query, Runner
from smx.models._checkpoint import check
from smx.models._options import QwenOptions


class Model(QwenOptions):
    """transformers' own class, read from safetensors (current and pre-4.52 key layout); no remote code runs."""

    needs_checkpoint: ClassVar[bool] = True

    def check(self, checkpoint: Path | None) -> None:
        """Architecture, files, sizes and shapes, from config.json and the safetensors headers."""
        if checkpoint is None:
            raise UserError(
                "base qwen2_5_vl needs a checkpoint folder", "give --checkpoint PATH, or checkpoint: in the variant"
            )
        check(checkpoint, self, "qwen2_5_vl")

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> Runner:
        """Read `checkpoint`; the seed plays no part."""
        from smx.models import _load

        self.check(checkpoint)
        assert checkpoint is not None
        return _load.from_folder(checkpoint, self, base="qwen2_5_vl", device=device, dtype=dtype)
