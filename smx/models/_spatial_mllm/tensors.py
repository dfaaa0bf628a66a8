"""Reads the tensors of a Spatial-MLLM from disk, by the names that smx has for them. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from smx.models._spatial_mllm.config import SpatialConfig, spatial_name
from smx.models._vlm.checkpoint import weight_files


def read_all(config: SpatialConfig, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """As `read`, wherever the checkpoint's tensors are."""
    for folder, before in config.sources:
        yield from read(folder, wanted, before)


def read(folder: Path, wanted: Callable[[str], bool], before: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a checkpoint, by names as smx spells them; only what is `wanted` is read from disk.

    `before` stands before the names in the files.
    """
    for file in weight_files(folder):
        with safe_open(folder / file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a dict
                if wanted(spatial_name(before + name)):
                    yield spatial_name(before + name), weights.get_tensor(name)
