"""Claim: poses leave the prefill of a 3B model as fast as it is, to 5 %, and predicted memory is what it takes.

Qwen2.5-VL-3B's size with random weights, bfloat16: 16 frames of 644x476 and 59 tokens of text, vision encoder and
language model, then 32 decoded tokens; for every kind of pose, in turns. Tokens a second, peak memory as CUDA
reports it beside what `smx tokens` predicts. `ratio`: prefill time with PRoPE over without. Needs a GPU: exit
code 2 without one.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from _pose import KINDS, TEXT, cameras, need_a_gpu
from _record import finish
from transformers.cache_utils import DynamicCache
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from smx.models._vlm.decoding import Rule
from smx.models._vlm.model import PositionedVLM
from smx.models._vlm.pose_attention import PoseHooks
from smx.models._vlm.position_ids import text_positions, video_positions
from smx.tokens import Layout
from smx.tokens.costs import Architecture, cost
from smx.tokens.known import QWEN2_5_VL_3B

ROUNDS, DECODED = 10, 32
CLIP = Layout(16, 644, 476)
VIDEO = 7  # an id that stands for a video token; any will do
BUDGET = 1.05


def main() -> None:
    """Measure, print a table, finish with one line of JSON."""
    need_a_gpu()
    model = build("cuda", torch.bfloat16, QWEN2_5_VL_3B)
    ways: dict[str, PoseHooks | None] = {"none": None}
    for name, (pose, rope) in KINDS.items():
        ways[name] = PoseHooks(model.vlm.model.language_model, pose, rope)
    inputs = prompt("cuda", CLIP)
    rows: dict[str, dict[str, list[float]]] = {name: {"prefill": [], "decode": [], "peak": []} for name in ways}
    for number in range(ROUNDS + 1):
        for name, hooks in ways.items():
            found = measure(model, hooks, inputs)
            if number:
                for key, value in found.items():
                    rows[name][key].append(value)
    predicted = cost(Architecture.of_config("3B", QWEN2_5_VL_3B), CLIP, TEXT).peak
    length = CLIP.tokens + TEXT
    print(f"{length} tokens, peak memory predicted without poses: {predicted / 1e9:.2f} GB")
    print(f"{'pose':<10} {'prefill tokens/s':>16} {'decoded tokens/s':>16} {'peak GB':>8}")
    table = {name: {key: statistics.median(values) for key, values in row.items()} for name, row in rows.items()}
    for name, row in table.items():
        print(f"{name:<10} {length / row['prefill']:>16.0f} {DECODED / row['decode']:>16.1f} {row['peak'] / 1e9:>8.2f}")
    ratio = table["prope thw"]["prefill"] / table["none"]["prefill"]
    finish(
        {
            "benchmark": "gpu_prefill",
            "ratio": round(ratio, 3),
            "budget": BUDGET,
            "gpu": torch.cuda.get_device_name(),
            "rounds": ROUNDS,
            "by_kind": table,
            "predicted_peak": predicted,
            "met": ratio <= BUDGET,
        }
    )


def build(device: str, dtype: torch.dtype, config: dict[str, Any]) -> PositionedVLM:
    """A model of `config` with random weights."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    text = {key: value for key, value in config.items() if key != "vision_config"} | {"rope_parameters": rope}
    torch.manual_seed(0)
    built = Qwen2_5_VLConfig(text_config=text, vision_config=config["vision_config"], tie_word_embeddings=True)
    with torch.device(device):
        vlm = Qwen2_5_VLForConditionalGeneration._from_config(built, attn_implementation="sdpa", dtype=dtype)
    return PositionedVLM(vlm.eval(), VIDEO, None)


def prompt(device: str, clip: Layout) -> dict[str, torch.Tensor]:
    """Ids, positions, pixels and cameras of a clip and `TEXT` of text."""
    before = TEXT // 2
    parts = (text_positions(0, before), video_positions(before, clip.merged, 2.0), text_positions(600, TEXT - before))
    where = torch.cat([torch.from_numpy(part) for part in parts], dim=1)[:, None]
    ids = torch.full((1, clip.tokens + TEXT), 3)
    ids[:, before : before + clip.tokens] = VIDEO
    inputs = {
        "input_ids": ids,
        "position_ids": where,
        "pixel_values": torch.randn(clip.tubelets, clip.tubelet_width),
        "grid_thw": torch.tensor([clip.grid]),
        "cameras": cameras(clip.grid[0]),
    }
    return {key: value.to(device) for key, value in inputs.items()}


@torch.inference_mode()
def measure(model: PositionedVLM, hooks: PoseHooks | None, inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Seconds of a prefill and of the tokens after it, and the peak in bytes."""
    model.hooks = hooks
    given = {key: value for key, value in inputs.items() if hooks is not None or key != "cameras"}
    cuda = inputs["input_ids"].is_cuda
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for limit in (1, 1 + DECODED):
        cache = DynamicCache(config=model.vlm.config.text_config)
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        model.greedy(cache=cache, rule=Rule(limit, frozenset()), **given)
        times.append(time.perf_counter() - start)  # its answer is on the CPU: all work is done
    peak = float(torch.cuda.max_memory_allocated()) if cuda else 0.0
    return {"prefill": times[0], "decode": times[1] - times[0], "peak": peak}


if __name__ == "__main__":
    main()
