"""Looks at a checkpoint folder of the Qwen2.5-VL architecture without torch: config, files, shapes in headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.errors import UserError, closest
from smx.geometry.pose_attention import blocks
from smx.models._vlm import config_checks, tensor_shapes
from smx.models._vlm.checkpoint_json import memory, read_json

if TYPE_CHECKING:
    from smx.models._vlm.options import QwenOptions, VisionOptions

MODEL_TYPE = "qwen2_5_vl"
ARCHITECTURE = "Qwen2_5_VLForConditionalGeneration"
# prefixes of transformers up to 4.51 -> since
OLDER = (
    ("visual.", "model.visual."),
    ("model.layers.", "model.language_model.layers."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.norm.", "model.language_model.norm."),
)
LONGEST_HEADER = 100_000_000


def check(folder: Path, options: QwenOptions, base: str) -> None:
    """`UserError` naming what was found and what was expected, for the first thing that does not fit."""
    config = read_config(folder)
    refuse_other_positions(folder, options, base)
    refuse_pose(config, options)
    refuse_no_tokenizer(folder)
    refuse_other_shapes(folder, config, dict(expected_shapes(config)), ARCHITECTURE)


def refuse_other_shapes(
    folder: Path, config: dict[str, Any], expected: dict[str, tuple[int, ...]], architecture: str
) -> None:
    """`UserError` for the first tensor that is missing, left over, or of another shape than `expected`."""
    renamed = {current_name(name): shape for name, shape in tensors(folder).items()}
    if config_checks.tied(config):
        renamed.setdefault("lm_head.weight", expected["lm_head.weight"])
    missing = sorted(expected.keys() - renamed.keys())
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(expected)} tensors are missing, first {missing[0]}",
            "the weights belong to another config, or a shard was left out",
        )
    surplus = sorted(renamed.keys() - expected.keys())
    if surplus:
        near = closest(surplus[0], expected)[0]
        raise UserError(
            f"{folder}: {len(surplus)} tensors do not belong to {architecture}, first {surplus[0]}",
            f"the nearest it has is {near}",
        )
    for name, shape in expected.items():
        if renamed[name] != shape:
            raise UserError(
                f"{folder}: {name} is {list(renamed[name])}, its config.json expects {list(shape)}",
                "config.json and weights are of different models",
            )


def read_config(folder: Path, kind: str = MODEL_TYPE, architecture: str = ARCHITECTURE) -> dict[str, Any]:
    """config.json of a checkpoint of `architecture`. `UserError` where there is none or it is of another."""
    config = content_of_config(folder)
    found = config.get("architectures") or []
    if config.get("model_type") != kind or (found and architecture not in found):
        raise UserError(
            f"{folder} holds a {config.get('model_type')!r} ({', '.join(map(str, found)) or 'no architecture named'})",
            f"expected model_type {kind!r} ({architecture})",
        )
    config_checks.refuse_odd_sizes(folder, config)
    return config


def content_of_config(folder: Path) -> dict[str, Any]:
    """config.json of any checkpoint folder. `UserError` where there is none."""
    if not folder.is_dir():
        raise UserError(f"no checkpoint folder at {folder}", "give a folder with config.json and *.safetensors")
    return read_json(folder / "config.json", "it is not a checkpoint folder")


def refuse_other_positions(folder: Path, options: VisionOptions, base: str) -> None:
    """`UserError` where positions are not those the checkpoint was trained with, unless the variant allows it."""
    known = memory(folder)
    if known and known.get("base") != base:
        raise UserError(
            f"{folder} was made from base {known.get('base')!r}, this variant's base is {base!r}",
            "use a variant of the same base model",
        )
    mismatch = options.position_mismatch(folder)
    if mismatch and not options.allow_position_mismatch:
        raise UserError(
            f"{folder} {mismatch}",
            "give the variant the training's positions, or --allow-position-mismatch where that is the experiment",
        )


def tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, from the safetensors headers. Each file must be there and complete."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in weight_files(folder):
        shapes |= header(folder / name)
    placed = _placed(folder)
    gone = sorted(placed.keys() - shapes.keys())
    if gone:
        raise UserError(f"{folder}: {placed[gone[0]]} lacks {gone[0]}, which the index lists in it")
    return shapes


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files that hold the weights. `UserError` where one is not there."""
    files = sorted(set(_placed(folder).values())) or ["model.safetensors"]
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        hint = f"{', '.join(pickled)} is a pickle, which smx does not load: convert it" if pickled else "fetch it again"
        raise UserError(f"{folder}: {', '.join(absent)} is missing ({len(files)} weight files expected)", hint)
    return files


def _placed(folder: Path) -> dict[str, str]:
    """Tensor -> file, where the weights are in several."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return {}
    found = read_json(index, "").get("weight_map")
    files = list(found.values()) if isinstance(found, dict) else [None]
    if not all(isinstance(name, str) and name == Path(name).name for name in files):
        raise UserError(f"{index}: weight_map names no file of this folder for each tensor", "fetch it again")
    assert isinstance(found, dict)
    return found


def current_name(name: str) -> str:
    """A tensor's name as transformers 5 spells it."""
    for old, new in OLDER:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def expected_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a Qwen2.5-VL with this config, by its current name."""
    text, vision = config_checks.language(config), config["vision_config"]
    yield from tensor_shapes.language(text, config_checks.head_size(config), biased=True)
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    patch, pair = vision.get("patch_size", 14), vision.get("temporal_patch_size", 2)
    channels = vision.get("in_channels", vision.get("in_chans", 3))
    yield "model.visual.patch_embed.proj.weight", (width, channels, pair, patch, patch)
    mlp = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
    yield from tensor_shapes.vision_blocks(vision, mlp, norm_biases=False)
    merged = width * vision.get("spatial_merge_size", 2) ** 2
    yield "model.visual.merger.ln_q.weight", (width,)
    yield "model.visual.merger.mlp.0.weight", (merged, merged)
    yield "model.visual.merger.mlp.0.bias", (merged,)
    yield "model.visual.merger.mlp.2.weight", (vision["out_hidden_size"], merged)
    yield "model.visual.merger.mlp.2.bias", (vision["out_hidden_size"],)


def refuse_no_tokenizer(folder: Path) -> None:
    """`UserError` where a checkpoint cannot turn text into ids."""
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder} has no tokenizer.json", "copy the tokenizer's files beside the weights")


def refuse_pose(config: dict[str, Any], options: QwenOptions) -> None:
    """`UserError` where a section has no pairs to give to the pose."""
    pose = options.pose
    if pose.encoding.acts:
        blocks(config_checks.sections(config), pose.dims, pose.fraction, options.rope.base, options.rope.layout)


def special_token(folder: Path, config: dict[str, Any], name: str) -> int:
    """The id of `vision_start`, `video` or another token that config.json names. `UserError` where it does not."""
    found = config.get(f"{name}_token_id")
    if type(found) is not int:
        said = "is missing" if found is None else f"is {found!r}"
        raise UserError(f"{folder}/config.json: {name}_token_id {said}", "expected the number of a token")
    return found


def header(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes in one safetensors file, whose length must be what its header says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(length, LONGEST_HEADER))
    try:
        content = json.loads(text)
        entries = {name: entry for name, entry in content.items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, AttributeError, KeyError, TypeError):
        raise UserError(f"{file} is no safetensors file, or is cut off", "fetch it again") from None
    if size != end:
        raise UserError(
            f"{file} is {size:,} bytes, its header says {end:,}", "it is cut off or damaged; fetch it again"
        )
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}
