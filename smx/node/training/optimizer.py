"""AdamW over float32 weights, and the rate of each step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from smx.spec import Recipe

if TYPE_CHECKING:
    from torch import nn, optim

# Weights that do not decay, by name, beside those of LayerNorms: transformers' Trainer (5.23), which the published
# recipe was run with.
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def adamw(module: nn.Module, trained: Mapping[str, nn.Parameter], parts: Mapping[str, str], recipe: Recipe) -> Any:
    """torch's AdamW, two groups for each part: its weights that decay, and the others. `parts`: name -> part.

    A group holds `part`, `peak` (its highest rate) and `names`, those of its parameters in order.
    """
    import torch

    fixed = _layer_norms(module)
    groups: dict[tuple[str, bool], list[str]] = {}
    for name in trained:
        decays = name not in fixed and not _NO_DECAY.search(name.lower())
        groups.setdefault((parts[name], decays), []).append(name)
    content = [
        {
            "params": [trained[name] for name in names],
            "names": names,
            "part": part,
            "peak": recipe.train[part],
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (part, decays), names in groups.items()
    ]
    return torch.optim.AdamW(content, lr=recipe.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def set_rates(optimizer: optim.Optimizer, recipe: Recipe, step: int, steps: int) -> dict[str, float]:
    """The rate of each part in `step`, 1 to `steps`, which is also set."""
    factor = rate_factor(recipe, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return {group["part"]: group["lr"] for group in optimizer.param_groups}


def rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """What of the peak rate is used in `step`, 1 to `steps`.

    It rises from 0 over the first `warmup` of the steps (rounded up), then falls to 0 by `schedule`: transformers'
    `get_*_schedule_with_warmup`.
    """
    done, rising = step - 1, math.ceil(recipe.warmup * steps)
    if done < rising:
        return done / rising
    if recipe.schedule == "constant":
        return 1.0
    progress = (done - rising) / max(1, steps - rising)
    return 1 - progress if recipe.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))


def _layer_norms(module: nn.Module) -> set[str]:
    from torch import nn

    return {
        f"{prefix}.{name}"
        for prefix, layer in module.named_modules()
        if isinstance(layer, nn.LayerNorm)
        for name, _ in layer.named_parameters(recurse=False)
    }
