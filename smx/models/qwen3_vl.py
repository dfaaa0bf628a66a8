"""Qwen3-VL, unmodified, from any local checkpoint folder of that architecture."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from smx.models import TrainableRunner
from smx.models._qwen3_vl.checkpoint import check
from smx.models._qwen3_vl.options import Qwen3Options
from smx.models._vlm.base import OnDisk


class Model(OnDisk, Qwen3Options):
    """transformers' own class, read from safetensors; no remote code runs. Its vision windows, positions and prompt."""

    base: ClassVar[str] = "qwen3_vl"

    def look_at(self, folder: Path) -> None:
        check(folder, self, self.base)

    def read(self, folder: Path, *, seed: int, device: str, dtype: str) -> TrainableRunner:
        from smx.models._qwen3_vl import model

        return model.from_folder(folder, self, base=self.base, device=device, dtype=dtype)
