"""Looks at a checkpoint folder of the Qwen3-VL architecture without torch. Names and shapes: transformers 5.23."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smx.models._checkpoint import (
    read_config,
    refuse_no_tokenizer,
    refuse_other_positions,
    refuse_other_shapes,
)
from smx.models._qwen3_options import Qwen3Options

MODEL_TYPE = "qwen3_vl"
ARCHITECTURE = "Qwen3VLForConditionalGeneration"


def check(folder: Path, options: Qwen3Options, base: str) -> None:
    """`UserError` naming what was found and what was expected, for the first thing that does not fit."""
    config = read_config(folder, MODEL_TYPE, ARCHITECTURE)
    refuse_other_positions(folder, options, base)
    refuse_no_tokenizer(folder)
    refuse_other_shapes(folder, config, dict(expected_shapes(config)), ARCHITECTURE)


def expected_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a Qwen3-VL with this config. Its attention has norms on query and key heads, and no biases."""
    text = config["text_config"]
    hidden, vocabulary = text["hidden_size"], text["vocab_size"]
    head = text.get("head_dim", hidden // text["num_attention_heads"])
    queries, keys = head * text["num_attention_heads"], head * text["num_key_value_heads"]
    yield "lm_head.weight", (vocabulary, hidden)
    yield "model.language_model.embed_tokens.weight", (vocabulary, hidden)
    yield "model.language_model.norm.weight", (hidden,)
    for i in range(text["num_hidden_layers"]):
        layer = f"model.language_model.layers.{i}."
        for name, width in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{layer}self_attn.{name}_proj.weight", (width, hidden)
        yield f"{layer}self_attn.o_proj.weight", (hidden, queries)
        yield f"{layer}self_attn.q_norm.weight", (head,)
        yield f"{layer}self_attn.k_norm.weight", (head,)
        yield f"{layer}mlp.gate_proj.weight", (text["intermediate_size"], hidden)
        yield f"{layer}mlp.up_proj.weight", (text["intermediate_size"], hidden)
        yield f"{layer}mlp.down_proj.weight", (hidden, text["intermediate_size"])
        yield f"{layer}input_layernorm.weight", (hidden,)
        yield f"{layer}post_attention_layernorm.weight", (hidden,)
    yield from _vision_shapes(config["vision_config"])


def _vision_shapes(vision: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner, out = vision["hidden_size"], vision["intermediate_size"], vision["out_hidden_size"]
    patch, pair = vision.get("patch_size", 16), vision.get("temporal_patch_size", 2)
    yield "model.visual.patch_embed.proj.weight", (width, vision.get("in_channels", 3), pair, patch, patch)
    yield "model.visual.patch_embed.proj.bias", (width,)
    yield "model.visual.pos_embed.weight", (vision.get("num_position_embeddings", 2304), width)
    for i in range(vision["depth"]):
        block = f"model.visual.blocks.{i}."
        for name, (rows, columns) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.linear_fc1": (inner, width),
            "mlp.linear_fc2": (width, inner),
        }.items():
            yield f"{block}{name}.weight", (rows, columns)
            yield f"{block}{name}.bias", (rows,)
        for name in ("norm1", "norm2"):
            yield f"{block}{name}.weight", (width,)
            yield f"{block}{name}.bias", (width,)
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
