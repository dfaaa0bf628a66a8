"""The bias of a pose encoding, brought to attention without a matrix over all pairs of tokens where that is possible.

A bias that depends on the tubelets of two tokens alone is a product of two narrow factors: for a query its tubelet's
row of numbers, for a key its tubelet as one of T. Put behind the head's own dims they are part of the
product that attention computes anyway, so sdpa keeps its fused causal kernel and never sees a mask. The sum is the
same, term by term; nothing is approximated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

NAME = "smx_biased_sdpa"
FACTORS = "smx_bias"  # the keyword that brings them to `attend`
ALIGNED = 8  # fused kernels take heads of a multiple of this


def register() -> None:
    """Make `NAME` known to transformers; doing it again changes nothing."""
    AttentionInterface.register(NAME, attend)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' sdpa with the factors of a bias behind the dims of every head. Shapes and result are sdpa's."""
    of_queries, of_keys = kwargs.pop(FACTORS)
    assert key.shape[2] == of_keys.shape[2], "a bias is for tokens that enter the cache together"
    query = torch.cat((query, of_queries), dim=-1)
    key = torch.cat((key, of_keys.expand(*key.shape[:3], -1)), dim=-1)
    wide = torch.nn.functional.pad(value, (0, of_keys.shape[-1]))  # fused kernels want heads of one width
    out, _ = sdpa_attention_forward(module, query, key, wide, attention_mask, **kwargs)
    return out[..., : value.shape[-1]], None


def factors(visual: Tensor, tubelet: Tensor, between: Tensor) -> tuple[Tensor, Tensor]:
    """[B, heads, L, e] and [B, 1, L, e], whose product is `bias`; e is T, rounded up with zeros.

    `visual` [B, L] marks video tokens, `tubelet` [B, L] says of which tubelet each is, `between` [B, heads, T, T] is
    what the logits of two tubelets' tokens get.
    """
    tubelets = between.shape[-1]
    rows = torch.arange(len(visual), device=visual.device)[:, None]
    of_video = visual[:, None, :, None].to(between.dtype)
    of_queries = between.transpose(1, 2)[rows, tubelet].transpose(1, 2) * of_video
    of_keys = torch.nn.functional.one_hot(tubelet, tubelets).to(between.dtype)[:, None] * of_video
    room = (0, -tubelets % ALIGNED)
    return torch.nn.functional.pad(of_queries, room), torch.nn.functional.pad(of_keys, room)


def bias(visual: Tensor, tubelet: Tensor, between: Tensor) -> Tensor:
    """[B, heads, L, L]: `between` the tubelets of two video tokens, 0 elsewhere."""
    rows = torch.arange(len(visual), device=visual.device)[:, None, None]
    biases = between.permute(0, 2, 3, 1)[rows, tubelet[:, :, None], tubelet[:, None, :]].permute(0, 3, 1, 2)
    return biases * (visual[:, None, :, None] & visual[:, None, None, :])
