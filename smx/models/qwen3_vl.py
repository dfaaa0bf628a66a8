"""Qwen3-VL, unmodified, from any local checkpoint folder of that architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from smx.errors import UserError
from smx.models import Query, Runner
from smx.models._qwen3_options import Qwen3Options


class Model(Qwen3Options):
    """transformers' own class, read from safetensors; no remote code runs. Its vision windows, positions and prompt."""

    needs_checkpoint: ClassVar[bool] = True

    def check(self, checkpoint: Path | None) -> None:
        """Architecture, files, sizes and shapes, from config.json and the safetensors headers."""
        from smx.models._qwen3_checkpoint import check

        if checkpoint is None:
            raise UserError(
                "base qwen3_vl needs a checkpoint folder", "give --checkpoint PATH, or checkpoint: in the variant"
            )
        check(checkpoint, self, "qwen3_vl")

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
        from smx.models import _qwen3

        self.check(checkpoint)
        assert checkpoint is not None
        return _qwen3.from_folder(checkpoint, self, base="qwen3_vl", device=device, dtype=dtype)
