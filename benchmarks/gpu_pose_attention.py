"""Claim: on a GPU camera poses cost at most 5 % of the attention they act on, at 3,187 tokens.

One attention layer of Qwen2.5-VL-3B's size (16 heads of 128, 2 of keys and values, bfloat16), forward, and forward
with backward, at 3,187 and 12,059 tokens: as it is (sdpa; flash-attention 2 where it is installed), with poses
through hooks, and in the straightforward formulation (`prope_attention` on whole heads between the same
projections). In turns, medians of CUDA event times. `ratio`: forward with PRoPE over forward without, sdpa, 3,187
tokens. Needs a GPU: exit code 2 without one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from _pose import KINDS, Layer, cameras, flash, layer, need_a_gpu
from _record import finish
from torch import Tensor

from smx.geometry.pose_attention import prope_attention
from smx.models._vlm.pose_attention import PoseHooks
from smx.tokens import Layout

ROUNDS = 30
CLIPS = {"16 frames": Layout(16, 644, 476), "60 frames": Layout(60, 700, 448)}
BUDGET = 1.05


def main() -> None:
    """Measure, print a table, finish with one line of JSON."""
    need_a_gpu()
    found: dict[str, dict[str, float]] = {}
    for attention in ("sdpa", *(("flash_attention_2",) if flash() else ())):
        for clip in CLIPS.values():
            here = layer(clip, "cuda", torch.bfloat16, attention)
            for backward in (False, True):
                title = f"{attention}, {here.x.shape[1]} tokens, forward{' and backward' if backward else ''}"
                found[title] = compare(here, clip, attention, backward)
                print(title + "".join(f"\n  {name:<22} {value:>8.3f}" for name, value in found[title].items()))
    first = found[next(iter(found))]
    finish(
        {
            "benchmark": "gpu_pose_attention",
            "ratio": first["prope thw"],
            "budget": BUDGET,
            "gpu": torch.cuda.get_device_name(),
            "rounds": ROUNDS,
            "relative_to_plain": found,
            "met": first["prope thw"] <= BUDGET,
        }
    )


def compare(here: Layer, clip: Layout, attention: str, backward: bool) -> dict[str, float]:
    """Median time of each formulation over the plain one's, and the plain one's in milliseconds."""
    ways: dict[str, Callable[[], Tensor]] = {"plain": here.plain}
    for name, (pose, rope) in KINDS.items():
        if name == "geo_alibi" and attention != "sdpa":
            continue  # refused by a variant as well
        ways[name] = partial(here.posed, PoseHooks(here.model, pose, rope))
    ways["straightforward"] = partial(straightforward, here, clip)
    times: dict[str, list[float]] = {name: [] for name in ways}
    here.x.requires_grad_(backward)
    for number in range(ROUNDS + 3):
        for name, way in ways.items():
            took = clocked(way, backward)
            if number >= 3:
                times[name].append(took)
    plain = statistics.median(times.pop("plain"))
    ratios = {name: round(statistics.median(each) / plain, 3) for name, each in times.items()}
    return {"plain, ms": round(plain, 3), **ratios}


def straightforward(here: Layer, clip: Layout) -> Tensor:
    """Every visual token through `prope_attention` on whole heads, between the layer's own projections."""
    attention = here.model.layers[0].self_attn
    x = here.x[:, here.visual[0]]
    heads = {"q": 16, "k": 2, "v": 2}
    q, k, v = (
        getattr(attention, f"{name}_proj")(x).unflatten(-1, (heads[name], 128)).transpose(1, 2) for name in heads
    )
    k, v = (each.repeat_interleave(8, dim=1) for each in (k, v))
    w2c = cameras(clip.grid[0])[:, :, 0, 0].to(x.device)
    patches = (clip.merged[2], clip.merged[1])
    out = prope_attention(q, k, v, w2c=w2c, K=None, patches=patches, image_size=(clip.width, clip.height))
    projected: Tensor = attention.o_proj(out.transpose(1, 2).flatten(2))
    return projected


def clocked(attend: Callable[[], Tensor], backward: bool) -> float:
    """Milliseconds of one pass on the GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    with torch.set_grad_enabled(backward):
        out = attend()
        if backward:
            out.float().sum().backward()  # type: ignore[no-untyped-call]
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


if __name__ == "__main__":
    main()
