"""Names and shapes of the tensors that Qwen2.5-VL and Qwen3-VL have in common. Names: transformers 5.23."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def language(text: Mapping[str, Any], head: int, *, biased: bool) -> Shapes:
    """The language model and its head. Query, key and value are `biased`, or else have norms on query and key heads."""
    hidden, vocabulary, inner = text["hidden_size"], text["vocab_size"], text["intermediate_size"]
    queries, keys = head * text["num_attention_heads"], head * text["num_key_value_heads"]
    yield "lm_head.weight", (vocabulary, hidden)
    yield "model.language_model.embed_tokens.weight", (vocabulary, hidden)
    yield "model.language_model.norm.weight", (hidden,)
    for i in range(text["num_hidden_layers"]):
        layer = f"model.language_model.layers.{i}."
        for name, width in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{layer}self_attn.{name}_proj.weight", (width, hidden)
            if biased:
                yield f"{layer}self_attn.{name}_proj.bias", (width,)
        yield f"{layer}self_attn.o_proj.weight", (hidden, queries)
        if not biased:
            yield f"{layer}self_attn.q_norm.weight", (head,)
            yield f"{layer}self_attn.k_norm.weight", (head,)
        yield f"{layer}mlp.gate_proj.weight", (inner, hidden)
        yield f"{layer}mlp.up_proj.weight", (inner, hidden)
        yield f"{layer}mlp.down_proj.weight", (hidden, inner)
        yield f"{layer}input_layernorm.weight", (hidden,)
        yield f"{layer}post_attention_layernorm.weight", (hidden,)


def vision_blocks(vision: Mapping[str, Any], mlp: Mapping[str, tuple[int, int]], *, norm_biases: bool) -> Shapes:
    """The vision encoder's blocks: attention, the matrices [rows, columns] of its `mlp` by name, and two norms."""
    width = vision["hidden_size"]
    matrices = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    matrices |= {f"mlp.{name}": shape for name, shape in mlp.items()}
    for i in range(vision["depth"]):
        block = f"model.visual.blocks.{i}."
        for name, (rows, columns) in matrices.items():
            yield f"{block}{name}.weight", (rows, columns)
            yield f"{block}{name}.bias", (rows,)
        for name in ("norm1", "norm2"):
            yield f"{block}{name}.weight", (width,)
            if norm_biases:
                yield f"{block}{name}.bias", (width,)
