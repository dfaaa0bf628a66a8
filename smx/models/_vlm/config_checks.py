"""Whether a model of a Qwen-VL's config.json can be built at all: its sizes, heads and rotary sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smx.errors import UserError

LANGUAGE = (
    *("hidden_size", "num_attention_heads", "num_key_value_heads"),
    *("num_hidden_layers", "intermediate_size", "vocab_size"),
)
VISION = ("hidden_size", "num_heads", "depth", "intermediate_size", "out_hidden_size")
OPTIONAL = ("head_dim", "patch_size", "temporal_patch_size", "spatial_merge_size", "in_channels", "in_chans")
SECTIONS = {"qwen3_vl": [24, 20, 20]}  # where a config names none; Qwen2.5-VL's are below


def language(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part: nested since transformers 4.52, flat before."""
    nested: dict[str, Any] = config.get("text_config") or config
    return nested


def tied(config: dict[str, Any]) -> bool:
    """Whether the head is the embedding."""
    return bool(config.get("tie_word_embeddings") or language(config).get("tie_word_embeddings"))


def head_size(config: dict[str, Any]) -> int:
    """Numbers in a head of the language model."""
    text = language(config)
    size: int = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    return size


def sections(config: dict[str, Any]) -> list[int]:
    """Rotary pairs of time, row and column."""
    text = language(config)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    found: list[int] = rope.get("mrope_section", SECTIONS.get(config.get("model_type", ""), [16, 24, 24]))
    return found


def refuse_odd_sizes(folder: Path, config: dict[str, Any]) -> None:
    """`UserError` naming the first size that is missing or no size, and heads and sections that do not divide."""
    where, text, vision = f"{folder}/config.json", language(config), config.get("vision_config")
    for name, part in (("text_config", text), ("vision_config", vision)):
        if not isinstance(part, dict):
            raise UserError(f"{where}: {name} is {_shown(part)}", "expected an object of sizes; is the file complete?")
    assert isinstance(vision, dict)
    for title, part, needed in (("text", text, LANGUAGE), ("vision", vision, VISION)):
        for name in (*needed, *(name for name in OPTIONAL if part.get(name) is not None)):
            size = part.get(name)
            if type(size) is not int or size < 1:
                raise UserError(
                    f"{where}: {title} {name} is {_shown(size)}",
                    "expected a whole number above 0; is the file the checkpoint's own?",
                )
    _refuse_odd_heads(where, text, vision)
    _refuse_odd_sections(where, config)


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)


def _refuse_odd_heads(where: str, text: dict[str, Any], vision: dict[str, Any]) -> None:
    for part, width, heads, given in (
        ("text", text["hidden_size"], text["num_attention_heads"], text.get("head_dim")),
        ("vision", vision["hidden_size"], vision["num_heads"], None),
    ):
        each = given or width / heads
        if each % 4:
            raise UserError(
                f"{where}: {part} width {width} over {heads} heads is {each:g} per head",
                "rotary positions need a whole head size that is a multiple of 4",
            )
    if text["num_attention_heads"] % text["num_key_value_heads"]:
        raise UserError(
            f"{where}: {text['num_attention_heads']} heads of queries share {text['num_key_value_heads']} of keys",
            "expected a number of heads that num_key_value_heads divides",
        )


def _refuse_odd_sections(where: str, config: dict[str, Any]) -> None:
    text = language(config)
    for name in ("rope_parameters", "rope_scaling"):
        if not isinstance(text.get(name) or {}, dict):
            raise UserError(f"{where}: {name} is {text[name]!r}", "expected an object with mrope_section")
    found, head = sections(config), head_size(config)
    whole = isinstance(found, list) and len(found) == 3 and all(type(size) is int and size > 0 for size in found)
    if not whole:
        raise UserError(
            f"{where}: mrope_section is {found!r}", "expected three whole numbers: pairs of time, row and column"
        )
    if 2 * sum(found) != head:
        raise UserError(
            f"{where}: mrope_section {found} is {sum(found)} rotary pairs, a head of {head} has {head / 2:g}",
            "positions and poses need to know which pairs are whose: is config.json the checkpoint's own?",
        )
