"""Spatial-MLLM: Qwen2.5-VL with VGGT's spatial tokens, from a checkpoint in the public v1.1 layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from smx.models import TrainableRunner
from smx.models._spatial_mllm.config import check, lacks_vggt, part_sizes, read_config
from smx.models._spatial_mllm.options import SpatialOptions
from smx.models._vlm.base import OnDisk


class Model(OnDisk, SpatialOptions):
    """On current transformers; names of 4.51 and later, one safetensors file or shards; no remote code runs."""

    base: ClassVar[str] = "spatial_mllm"

    def look_at(self, folder: Path) -> None:
        check(folder, self, self.base)

    def lacks(self, checkpoint: Path) -> tuple[str, ...]:
        """VGGT, where it is a plain Qwen2.5-VL. Its connector is fresh then."""
        return ("vggt",) if lacks_vggt(checkpoint) else ()

    def sizes_of(self, folder: Path) -> Mapping[str, int]:
        return part_sizes(read_config(folder, self.vggt_folder), self)

    def read(self, folder: Path, *, seed: int, device: str, dtype: str) -> TrainableRunner:
        """`seed` makes only what the folder lacks: the connector of features never published."""
        from smx.models._spatial_mllm import loading

        return loading.from_folder(folder, self, base=self.base, seed=seed, device=device, dtype=dtype)
