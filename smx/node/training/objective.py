"""The loss of a step: what each token counts, and how a step is cut into forward passes without changing that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # label of tokens that carry no loss

Example = dict[str, Any]


@dataclass(frozen=True)
class Tally:
    """What a step is about, over all ranks."""

    examples: int
    answer_tokens: int
    tokens: int


def answer_tokens(example: Example) -> int:
    """Tokens of an example that carry loss; the first of all is predicted from nothing."""
    return int((example["labels"][1:] != IGNORED).sum())


def weighted(example: Example, loss: Literal["example", "token"], step: Tally) -> Example:
    """`example` with `weights` [L] float32, with which the losses of a whole step's tokens add up to the step's loss.

    `example`: the mean over examples of each one's mean over its answer's tokens. `token`: the mean over all tokens.
    """
    import torch

    count = step.examples * answer_tokens(example) if loss == "example" else step.answer_tokens
    return example | {"weights": torch.full(example["labels"].shape, 1 / max(1, count), dtype=torch.float32)}


def share(numbers: Sequence[int], rank: int, ranks: int) -> Sequence[int]:
    """What of a step is the rank's."""
    each = len(numbers) // ranks
    return numbers[rank * each : (rank + 1) * each]


def cut(examples: Sequence[Example], micro: int, tokens: int) -> Iterator[list[Example]]:
    """`examples` in forward passes of `micro`, or with micro 0 of at most `tokens`; one at least.

    What examples of one video share is counted once, as they may be packed in one row.
    """
    part: list[Example] = []
    held = 0
    for example in examples:
        length = len(example["labels"])
        if part and _same_video(part[-1], example):
            length -= int(example["shared"])
        if part and (len(part) == micro if micro else held + length > tokens):
            yield part
            part, held, length = [], 0, len(example["labels"])
        part.append(example)
        held += length
    if part:
        yield part


def _same_video(a: Example, b: Example) -> bool:
    return "shared" in b and a.get("pixel_values") is b.get("pixel_values")


def on(device: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A collated batch on the model's device."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
