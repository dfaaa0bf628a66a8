"""Which part of a Qwen-like model a tensor belongs to, by its name alone. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

Anything = TypeVar("Anything")
MERGERS = {"merger", "deepstack_merger_list"}  # of the vision encoder; the second are Qwen3-VL's
# The rest is the language model: its embedding, layers, last norm and head, tied or not.
_OTHERS = (("vggt", {"vggt", "vggt_model"}), ("connector", {"connector"}), ("merger", MERGERS), ("vision", {"visual"}))


def part_of(name: str) -> str:
    """`llm`, `merger`, `vision`, `connector` or `vggt`, of a tensor named as in a checkpoint or in the module."""
    levels = set(name.split("."))
    return next((part for part, marks in _OTHERS if levels & marks), "llm")


def grouped(tensors: Iterable[tuple[str, Anything]]) -> dict[str, list[Anything]]:
    """Part -> what stands at its names."""
    parts: dict[str, list[Anything]] = {}
    for name, tensor in tensors:
        parts.setdefault(part_of(name), []).append(tensor)
    return parts


def module_parts(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Part -> parameters; a tied head is the embedding, once."""
    return grouped(module.named_parameters())


def sizes(shapes: Iterable[tuple[str, tuple[int, ...]]], *, tied: bool) -> dict[str, int]:
    """Part -> how many numbers tensors of these shapes hold; of a tied head those of the embedding count."""
    held: Iterator[tuple[str, tuple[int, ...]]] = (
        each for each in shapes if not (tied and each[0] == "lm_head.weight")
    )
    return {part: sum(map(math.prod, each)) for part, each in grouped(held).items()}
