"""Qwen3-VL, unmodified, from any local checkpoint folder of that architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from smx.models import TrainableRunner
from smx.models._qwen3_vl.checkpoint import ARCHITECTURE, MODEL_TYPE, check, expected_shapes
from smx.models._qwen3_vl.options import Qwen3Options
from smx.models._vlm.base import OnDisk
from smx.models._vlm.checkpoint import read_config
from smx.models._vlm.config_checks import tied
from smx.models._vlm.parts import sizes


class Model(OnDisk, Qwen3Options):
    """transformers' own class, read from safetensors; no remote code runs. Its vision windows, positions and prompt."""

    base: ClassVar[str] = "qwen3_vl"

    def look_at(self, folder: Path) -> None:
        check(folder, self, self.base)

    def sizes_of(self, folder: Path) -> Mapping[str, int]:
        config = read_config(folder, MODEL_TYPE, ARCHITECTURE)
        return sizes(expected_shapes(config), tied=tied(config))

    def read(self, folder: Path, *, seed: int, device: str, dtype: str) -> TrainableRunner:
        from smx.models._qwen3_vl import model

        return model.from_folder(folder, self, base=self.base, device=device, dtype=dtype)
