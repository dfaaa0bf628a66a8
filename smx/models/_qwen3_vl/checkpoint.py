"""Looks at a checkpoint folder of the Qwen3-VL architecture without torch. Names and shapes: transformers 5.23."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smx.geometry.pose_attention import blocks
from smx.models._qwen3_vl.options import LAYOUT, Qwen3Options
from smx.models._vlm import config_checks, tensor_shapes
from smx.models._vlm.checkpoint import (
    read_config,
    refuse_no_tokenizer,
    refuse_other_positions,
    refuse_other_shapes,
)

MODEL_TYPE = "qwen3_vl"
ARCHITECTURE = "Qwen3VLForConditionalGeneration"


def check(folder: Path, options: Qwen3Options, base: str) -> None:
    """`UserError` naming what was found and what was expected, for the first thing that does not fit."""
    config = read_config(folder, MODEL_TYPE, ARCHITECTURE)
    refuse_other_positions(folder, options, base)
    refuse_pose(config, options)
    refuse_no_tokenizer(folder)
    refuse_other_shapes(folder, config, dict(expected_shapes(config)), ARCHITECTURE)


def refuse_pose(config: dict[str, Any], options: Qwen3Options) -> None:
    """`UserError` where a section has no pairs to give to the pose."""
    if options.pose.encoding.acts:
        blocks(config_checks.sections(config), options.pose.dims, options.pose.fraction, LAYOUT.base, LAYOUT.layout)


def expected_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a Qwen3-VL with this config. Its attention has norms on query and key heads, and no biases."""
    text, vision = config["text_config"], config["vision_config"]
    yield from tensor_shapes.language(text, config_checks.head_size(config), biased=False)
    width, inner, out = vision["hidden_size"], vision["intermediate_size"], vision["out_hidden_size"]
    patch, pair = vision.get("patch_size", 16), vision.get("temporal_patch_size", 2)
    yield "model.visual.patch_embed.proj.weight", (width, vision.get("in_channels", 3), pair, patch, patch)
    yield "model.visual.patch_embed.proj.bias", (width,)
    yield "model.visual.pos_embed.weight", (vision.get("num_position_embeddings", 2304), width)
    mlp = {"linear_fc1": (inner, width), "linear_fc2": (width, inner)}
    yield from tensor_shapes.vision_blocks(vision, mlp, norm_biases=True)
    merged = width * vision.get("spatial_merge_size", 2) ** 2
    deep = len(vision.get("deepstack_visual_indexes", (8, 16, 24)))
    mergers = {"merger.": width} | {f"deepstack_merger_list.{i}.": merged for i in range(deep)}
    for name, normed in mergers.items():
        merger = f"model.visual.{name}"
        yield f"{merger}norm.weight", (normed,)
        yield f"{merger}norm.bias", (normed,)
        yield f"{merger}linear_fc1.weight", (merged, merged)
        yield f"{merger}linear_fc1.bias", (merged,)
        yield f"{merger}linear_fc2.weight", (out, merged)
        yield f"{merger}linear_fc2.bias", (out,)
