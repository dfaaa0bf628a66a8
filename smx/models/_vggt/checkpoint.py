"""Looks at the weights of a VGGT without torch: `facebook/VGGT-1B`, or the one inside a Spatial-MLLM checkpoint."""

from __future__ import annotations

from pathlib import Path

from smx.errors import UserError
from smx.models._spatial_mllm import config as spatial_config
from smx.models._vggt.config import PARTS, VGGTConfig, shapes
from smx.models._vlm import checkpoint, checkpoint_json


def read_config(folder: Path) -> tuple[VGGTConfig, str]:
    """(sizes, what stands before the names of its tensors). `UserError` where there is no VGGT."""
    if not folder.is_dir():
        raise UserError(f"no VGGT at {folder}", "give a folder with config.json and model.safetensors of VGGT-1B")
    config = checkpoint_json.read_json(folder / "config.json", "it is not a checkpoint folder")
    if config.get("model_type") == spatial_config.MODEL_TYPE:
        return spatial_config.read_config(folder).vggt, spatial_config.ENCODER
    if "embed_dim" not in config:
        raise UserError(
            f"{folder} holds a {config.get('model_type')!r}, no VGGT",
            "expected config.json with img_size, patch_size and embed_dim, or a Spatial-MLLM checkpoint",
        )
    return VGGTConfig.read(config, f"{folder}/config.json"), ""


def check(folder: Path, parts: tuple[str, ...]) -> None:
    """`UserError` with what was found and expected, where one of `parts` is not there or has another shape."""
    assert set(parts) <= set(PARTS), parts
    config, prefix = read_config(folder)
    found = {spatial_config.spatial_name(name): shape for name, shape in checkpoint.tensors(folder).items()}
    expected = {prefix + name: shape for part in parts for name, shape in shapes(config, part)}
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of the {len(expected)} tensors that are read are missing, first {missing[0]}",
            f"needed of VGGT: {', '.join(parts)}",
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(
                f"{folder}: {name} is {list(found[name])}, its config.json expects {list(shape)}",
                "config.json and weights are of different models",
            )
