"""Spatial-MLLM: Qwen2.5-VL with VGGT's spatial tokens, from a checkpoint in the public v1.1 layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smx.errors import UserError
from smx.models import Query, Runner
from smx.models._spatial_config import check
from smx.models._spatial_options import SpatialOptions


class Model(SpatialOptions):
    """On current transformers; names of 4.51 and later, one safetensors file or shards; no remote code runs."""

    def check(self, checkpoint: Path | None) -> None:
        """Architecture, sizes, files and shapes, from config.json and the safetensors headers."""
        if checkpoint is None:
            raise UserError(
                "base spatial_mllm needs a checkpoint folder", "give --checkpoint PATH, or checkpoint: in the variant"
            )
        check(checkpoint, self, "spatial_mllm")

    def load(
        self,
        checkpoint: Path | None,
        *,
        seed: int,
        device: str,
        dtype: str,
        training: Sequence[tuple[Query, str]] = (),
    ) -> Runner:
        """Read `checkpoint`; `seed` makes only what it lacks: the connector of features never published."""
        from smx.models import _spatial_load

        self.check(checkpoint)
        assert checkpoint is not None
        return _spatial_load.from_folder(checkpoint, self, base="spatial_mllm", seed=seed, device=device, dtype=dtype)
