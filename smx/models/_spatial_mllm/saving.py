"""Writes a Spatial-MLLM as it is published: names of transformers 4.51, safetensors in shards, a flat config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from torch import Tensor

from smx.errors import UserError
from smx.models._spatial_mllm.config import ARCHITECTURE, CONNECTOR, ENCODER, LAST, MODEL_TYPE, public_name
from smx.models._spatial_mllm.tensors import read_all
from smx.models._vlm.checkpoint_json import read_json

if TYPE_CHECKING:
    from smx.models._spatial_mllm.model import SpatialFeatures

SHARD = 5_000_000_000  # bytes of weights in one file


def save_weights(vlm: Any, spatial: SpatialFeatures, folder: Path, shard: int = SHARD) -> None:
    """Weights and config.json into `folder`.

    What is never trained or was never loaded (VGGT, its heads and its tracker) is copied from the checkpoint this
    was loaded from, so that the reference finds every part. `UserError` where that one is gone.
    """
    source = spatial.config.folder
    for part, _ in spatial.config.sources:
        if not (part / "config.json").is_file():
            raise UserError(f"{part} is gone: weights are copied from it", "put the checkpoint back, then go on")
    _write_shards(_tensors(vlm, spatial), folder, shard)
    config = read_json(source / "config.json", "")
    if spatial.config.vggt_folder is not None:
        config |= {
            "model_type": MODEL_TYPE,
            "architectures": [ARCHITECTURE],
            "spatial_config": read_json(spatial.config.vggt_folder / "config.json", ""),
            "connector_config": {"spatial_embeds_layer_idx": LAST},
        }
    config["connector_config"]["connector_type"] = spatial.options.connector
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", folder / "generation_config.json")


def _tensors(vlm: Any, spatial: SpatialFeatures) -> Iterator[tuple[str, Tensor]]:
    """(public name, tensor), one at a time: a real checkpoint would not fit twice."""
    trained = {public_name(name): weight for name, weight in vlm.state_dict().items()}
    if spatial.config.tied:
        trained.pop("lm_head.weight", None)
    trained |= {CONNECTOR + name: weight for name, weight in spatial.connector.state_dict().items()}
    replaced = spatial.options.connector != spatial.config.connector  # then what is named alike is of the other one
    for name, weight in trained.items():
        yield name, weight.detach().cpu().contiguous()
    for name, weight in read_all(
        spatial.config,
        lambda ours: ours.startswith(ENCODER) or (ours.startswith(CONNECTOR) and not replaced and ours not in trained),
    ):
        yield name, weight


def _write_shards(tensors: Iterator[tuple[str, Tensor]], folder: Path, limit: int) -> None:
    """`model.safetensors`, or as many numbered files as it takes and the index that names them."""
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        if held:
            save_file(held, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
            shards.append(list(held))
            held.clear()

    for name, tensor in tensors:
        here = tensor.numel() * tensor.element_size()
        if size + here > limit:
            flush()
            size = 0
        held[name] = tensor
        size, total = size + here, total + here
    flush()
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / "model.safetensors")
        return
    placed: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"shard-{number}").rename(folder / file)
        placed |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
