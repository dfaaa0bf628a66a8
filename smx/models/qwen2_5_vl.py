"""Qwen2.5-VL, unmodified, from any local checkpoint folder of that architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from smx.models import TrainableRunner
from smx.models._vlm.base import OnDisk
from smx.models._vlm.checkpoint import check, expected_shapes, read_config
from smx.models._vlm.config_checks import tied
from smx.models._vlm.options import QwenOptions
from smx.models._vlm.parts import sizes


class Model(OnDisk, QwenOptions):
    """transformers' own class, read from safetensors (current and pre-4.52 key layout); no remote code runs."""

    base: ClassVar[str] = "qwen2_5_vl"

    def look_at(self, folder: Path) -> None:
        check(folder, self, self.base)

    def sizes_of(self, folder: Path) -> Mapping[str, int]:
        config = read_config(folder)
        return sizes(expected_shapes(config), tied=tied(config))

    def read(self, folder: Path, *, seed: int, device: str, dtype: str) -> TrainableRunner:
        from smx.models._vlm import loading

        return loading.from_folder(folder, self, base=self.base, device=device, dtype=dtype)
