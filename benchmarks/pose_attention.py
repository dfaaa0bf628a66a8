"""Claim: on a CPU camera poses cost at most 15 % of the attention they act on, at 3,187 tokens.

One attention layer of Qwen2.5-VL-3B's size (16 heads of 128, 2 of keys and values, float32, sdpa), forward, with
its projections: as it is and with poses, in turns, so that both see the same machine. What a model computes once
for its 36 layers is charged to this one. Times are CPU time of one thread. `ratio`: time with PRoPE over time
without, median of the rounds; the budget is every kind's.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from _pose import KINDS, layer
from _record import finish
from torch import Tensor

from smx.models._vlm.pose_attention import PoseHooks
from smx.tokens import Layout

ROUNDS = 5
CLIP = Layout(16, 644, 476)
BUDGET = 1.15


@torch.inference_mode()
def main() -> None:
    """Measure, print a table, finish with one line of JSON."""
    torch.set_num_threads(1)
    here = layer(CLIP, "cpu", torch.float32)
    hooks = {name: PoseHooks(here.model, pose, rope) for name, (pose, rope) in KINDS.items()}
    ratios: dict[str, list[float]] = {name: [] for name in KINDS}
    here.plain()
    print(f"{here.x.shape[1]} tokens, {CLIP.grid[0]} cameras")
    print(f"{'round':>5} {'plain s':>8} " + " ".join(f"{name:>10}" for name in KINDS))
    for number in range(ROUNDS):
        plain = clocked(here.plain)
        for name in KINDS:
            ratios[name].append(clocked(partial(here.posed, hooks[name])) / plain)
        print(f"{number:>5} {plain:>8.2f} " + " ".join(f"{ratios[name][-1]:>10.3f}" for name in KINDS))
    found = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    finish(
        {
            "benchmark": "pose_attention",
            "ratio": found["prope thw"],
            "budget": BUDGET,
            "tokens": here.x.shape[1],
            "rounds": ROUNDS,
            "by_kind": found,
            "met": max(found.values()) <= BUDGET,
        }
    )


def clocked(attend: Callable[[], Tensor]) -> float:
    """CPU seconds of one forward pass."""
    start = time.process_time()
    attend()
    return time.process_time() - start


if __name__ == "__main__":
    main()
