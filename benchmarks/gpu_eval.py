"""Claim: 18 questions about a scene are answered >= 10 x as fast as by a loop that has a KV cache, on a GPU.

Qwen2.5-VL-3B's size with random weights, float32 so that answers can be compared (`--dtype bfloat16`: those that differ
are counted), 16 frames of 644x476 (3,128 video tokens), 18 questions of 60 tokens, 16 new tokens each. Several scenes
in a row: the next one's pixels are made meanwhile. `busy`: percent of the time that nvidia-smi sees the GPU at work,
from the second scene on. Needs a GPU: exit code 2 without one.

    python benchmarks/gpu_eval.py [--dtype float32|bfloat16] [--save]
"""

from __future__ import annotations

import argparse
import subprocess
import threading
import time
from typing import Any

import numpy as np
import torch
from _pose import need_a_gpu
from _record import finish
from gpu_prefill import build

from smx.models import Query, Reply, SceneInput
from smx.models._vlm.prompt import Prompts
from smx.models._vlm.runner import QwenRunner
from smx.models.qwen2_5_vl import Model
from smx.models.tiny import TOKENIZER
from smx.node.parallel import ahead
from smx.tokens.known import QWEN2_5_VL_3B

SCENES, QUESTIONS, WORDS, NEW_TOKENS = 6, 18, 40, 16
BUDGET, BUSY = 10.0, 90.0
EVERY = 0.1  # seconds between looks at the GPU


def main() -> None:
    """Measure, print, finish with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--save", action="store_true", help="add the result to benchmarks/results/gpu_eval.json")
    arguments = parser.parse_args()
    need_a_gpu()
    prompts = Numbers.read(TOKENIZER)
    model = build("cuda", getattr(torch, arguments.dtype), QWEN2_5_VL_3B)
    options = Model(pixels=(644 * 476, 644 * 476), attention="sdpa")
    runner = QwenRunner(model.vlm, prompts, options, base="qwen2_5_vl", untrained=True, info={})
    queries = [Query(str(k), f"Question {k}: " + "how many chairs " * (WORDS // 3), "n") for k in range(QUESTIONS)]
    views = [scene(seed) for seed in range(SCENES)]
    list(runner.outcomes(views[0], queries, 1))  # warm
    busy = Busy()
    seconds, said = [], []
    last = time.perf_counter()
    for number, (view, prepared) in enumerate(ahead(views, runner.prepare)):
        assert prepared is None, prepared
        said.append(list(runner.outcomes(view, queries, NEW_TOKENS)))
        seconds.append(time.perf_counter() - last)
        last = time.perf_counter()
        if number == 0:
            busy.start()
    share = busy.stop()
    runner.share_prefix = False
    start = time.perf_counter()
    plain = list(runner.outcomes(views[-1], queries, NEW_TOKENS))
    slow, fast = time.perf_counter() - start, float(np.median(seconds[1:]))
    differ = sum(ours != theirs for ours, theirs in zip(said[-1], plain, strict=True))
    assert all(isinstance(reply, Reply) for reply in plain), plain
    assert arguments.dtype != "float32" or not differ, f"{differ} answers differ"
    ratio = slow / fast
    print(
        f"plain {slow:.2f} s, smx {fast:.2f} s a scene: {ratio:.1f} x; GPU busy {share:.0f} %; {differ} answers differ"
    )
    finish(
        {
            "benchmark": "gpu_eval",
            "ratio": round(ratio, 2),
            "budget": BUDGET,
            "gpu": torch.cuda.get_device_name(),
            "dtype": arguments.dtype,
            "plain": slow,
            "smx": fast,
            "busy": share,
            "differ": differ,
            "met": ratio >= BUDGET and share >= BUSY,
        }
    )


class Numbers(Prompts):
    """Answers as ids: random weights say ids that the small tokenizer has no words for, and all are compared."""

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


class Busy:
    """Samples nvidia-smi's utilisation in a thread."""

    def __init__(self) -> None:
        self._seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> float:
        """The mean in percent since `start`."""
        self._over.set()
        self._thread.join()
        return float(np.mean(self._seen)) if self._seen else 0.0

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._over.wait(EVERY):
            said: Any = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            word = said.splitlines()[0].strip() if said else ""
            if word.isdigit():
                self._seen.append(float(word))


def scene(seed: int) -> SceneInput:
    """Noise of the size of VSI-Bench's videos."""
    frames = np.random.default_rng(seed).integers(0, 256, (16, 480, 640, 3), dtype=np.uint8)
    return SceneInput(f"noise{seed}", frames, np.arange(16) * 2.0)


if __name__ == "__main__":
    main()
