"""The bias of `geo_alibi`, brought to attention without a matrix over all pairs of tokens where that is possible.

A bias that depends on the tubelets of two tokens alone is a product of two narrow factors: for a query the slope and
its tubelet's row of angles, for a key its tubelet as one of T. Put behind the head's own dims they are part of the
product that attention computes anyway, so sdpa keeps its fused causal kernel and never sees a mask. The sum is the
same, term by term; nothing is approximated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

from smx.geometry import pose_attention as pa

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
    wide = torch.nn.functional.pad(value, (0, of_keys.shape[-1]))
    out, _ = sdpa_attention_forward(module, query, key, wide, attention_mask, **kwargs)
    return out[..., : value.shape[-1]], None


def factors(visual: Tensor, tubelet: Tensor, w2c: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """[B, heads, L, e] and [B, 1, L, e], float32, whose product is `bias`; e is T, rounded up with zeros.

    `visual` [B, L] marks video tokens, `tubelet` [B, L] says of which tubelet each is, `w2c` [B, T, 4, 4] are the
    tubelets' cameras.
    """
    rows = torch.arange(len(visual), device=visual.device)[:, None]
    seen = visual[..., None].to(w2c.dtype)
    angles = pa.rotation_angles(w2c)[rows, tubelet] * seen
    which = torch.nn.functional.one_hot(tubelet, w2c.shape[1]).to(w2c.dtype) * seen
    room = (0, -w2c.shape[1] % ALIGNED)
    angles, which = torch.nn.functional.pad(angles, room), torch.nn.functional.pad(which, room)
    return -_slopes(heads, angles) * angles[:, None], which[:, None]


def bias(visual: Tensor, tubelet: Tensor, w2c: Tensor, heads: int) -> Tensor:
    """[B, heads, L, L] float32: −slope · angle between the cameras of two video tokens, 0 elsewhere."""
    rows = torch.arange(len(visual), device=visual.device)[:, None, None]
    angle = pa.rotation_angles(w2c)[rows, tubelet[:, :, None], tubelet[:, None, :]]
    angle = angle * (visual[:, :, None] & visual[:, None, :])
    return -_slopes(heads, angle) * angle[:, None]


def _slopes(heads: int, like: Tensor) -> Tensor:
    return torch.tensor(pa.slopes(heads), device=like.device, dtype=like.dtype)[:, None, None]
