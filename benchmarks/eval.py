"""Claim: 18 questions about a scene are answered >= 8 x as fast as by a loop that has a KV cache, word for word.

The plain loop asks question by question: frames into pixels, vision encoder (and VGGT), prefill of the whole prompt,
then one token after the other with a cache. It is `--set loop=plain` of eval. smx computes the video once and packs
the questions behind its keys and values. Both start from the same 16 decoded frames of a built-in room, on one CPU
thread, in float32, in turns; the best time of each counts. Answers must be equal. The second model, with VGGT, is a
checkpoint folder of Spatial-MLLM's architecture, small enough for a CPU.

With `--memory` 5,130 questions about 310 rooms go through gen and eval; the peak of the process after the first
thirtieth of them is compared with its last.

    python benchmarks/eval.py [--spatial CHECKPOINT] [--memory] [--save] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import finish

from smx.benches.rooms import Bench
from smx.models import Query, Reply, SceneInput
from smx.models._vlm.runner import VideoRunner
from smx.models.spatial_mllm import Model as Spatial
from smx.models.tiny import Model as Tiny

QUESTIONS, FRAMES, NEW_TOKENS = 18, 16, 16
ROOM = "test-000"
BUDGET, GROWTH = 8.0, 1.05
PIXELS = (224 * 168, 224 * 168)  # 384 tokens of video; at 644x476 there are 3,128, and the loop has more to do again
SMALL = "tiny 112x84"  # as the demo has it: 96 tokens of video, fewer than the words around them; shown, not counted
SCENES, ITEMS = 310, 5130  # VSI-Bench's number of questions; a room has 17 or so


def main() -> None:
    """Measure, print a table, and the result as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spatial", type=Path, help="checkpoint folder of Spatial-MLLM's architecture to measure too")
    parser.add_argument("--memory", action="store_true", help="measure memory over many scenes instead")
    parser.add_argument("--save", action="store_true", help="add the result to benchmarks/results")
    parser.add_argument("--rounds", type=int, default=3, help="times each way is run")
    arguments = parser.parse_args()
    if arguments.memory:
        measure_memory()
        return
    torch.set_num_threads(1)
    variants: dict[str, tuple[Any, dict[str, Any], Path | None]] = {
        "tiny": (Tiny, {"pixels": PIXELS}, None),
        "tiny-prope": (Tiny, {"pixels": PIXELS, "pose": {"kind": "prope"}}, None),
        SMALL: (Tiny, {}, None),
    }
    if arguments.spatial:
        variants["spatial_mllm"] = (Spatial, {"pixels": PIXELS}, arguments.spatial)
    models = {
        name: base.parse(options, name).load(checkpoint, seed=0, device="cpu", dtype="float32")
        for name, (base, options, checkpoint) in variants.items()
    }
    view, queries = scene(), asked()
    rows = {}
    print(f"{QUESTIONS} questions, {FRAMES} frames, up to {NEW_TOKENS} new tokens, float32, one thread")
    print(f"{'model':<14} {'plain s':>8} {'smx s':>8} {'ratio':>6} {'prompt tokens':>14}")
    for name, runner in models.items():
        assert isinstance(runner, VideoRunner)
        rows[name] = row = measure(runner, view, queries, arguments.rounds)
        print(f"{name:<14} {row['plain']:>8.2f} {row['smx']:>8.2f} {row['ratio']:>6.1f} {row['prompt_tokens']:>14}")
    ratio = min(row["ratio"] for name, row in rows.items() if name != SMALL)
    finish(
        {
            "benchmark": "eval",
            "ratio": ratio,
            "budget": BUDGET,
            "questions": QUESTIONS,
            "frames": FRAMES,
            "models": rows,
            "met": ratio >= BUDGET,
        }
    )


def measure(runner: VideoRunner, view: SceneInput, queries: Sequence[Query], rounds: int) -> dict[str, Any]:
    """Seconds of each way at its best, and that both say the same."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    said: dict[bool, list[Reply | Exception]] = {}
    for turn in range(rounds + 1):
        for shared in (True, False):
            runner.share_prefix = shared
            runner._clip = runner._prefix = None
            start = time.perf_counter()
            said[shared] = list(runner.outcomes(view, queries, NEW_TOKENS))
            if turn:  # the first one warms up
                seconds[shared].append(time.perf_counter() - start)
        assert said[True] == said[False], "answers differ"
    plain, smx = min(seconds[False]), min(seconds[True])
    prompts = [reply.prompt_tokens for reply in said[True] if isinstance(reply, Reply)]
    assert len(prompts) == QUESTIONS, said[True]
    return {
        "plain": round(plain, 4),
        "smx": round(smx, 4),
        "ratio": round(plain / smx, 2),
        "prompt_tokens": round(sum(prompts) / len(prompts)),
    }


def scene() -> SceneInput:
    """Frames spread over the walk through a built-in room."""
    from smx import plugins

    made = plugins.load("datasets", "rooms")(count=1).open(None, ROOM)
    at = np.linspace(0, len(made.frame_ids) - 1, FRAMES).round().astype(int)
    ids = [int(number) for number in made.frame_ids[at]]
    frames = np.stack([frame for _, frame in made.decode(ids)])
    cameras = made.cameras(ids)
    assert cameras is not None
    return SceneInput(ROOM, frames, made.timestamps()[at], cameras.w2c, cameras.K)


def asked() -> list[Query]:
    """The room's questions; where it has fewer, some twice."""
    bench = Bench(scenes=1)
    found = [Query(q.id, bench.render(q), q.type, q.options) for q in bench.questions(None)]
    return list(islice(cycle(found), QUESTIONS))


def measure_memory() -> None:
    """One process evaluates every question; each record says the process's peak so far."""
    with tempfile.TemporaryDirectory() as place:
        options = {"scenes": SCENES, "train_scenes": 0, "frames": 16, "width": 80, "height": 60}
        words = ["eval", "--model", "tiny", "--frames", "8", "--set", "max_new_tokens=4", "--executor", "inline"]
        words += [word for key, value in options.items() for word in ("--set", f"bench_options.{key}={value}")]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "smx", "-w", place, *words], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - start
        [items] = Path(place).glob("runs/eval/*/attempts/1/shards/0/items.jsonl")
        records = [json.loads(line) for line in items.read_text(encoding="utf-8").splitlines()]
    peaks = [record["used"]["peak_memory"] for record in records]
    scenes = {record["data"]["scene"] for record in records}
    early, last = peaks[len(peaks) // 30], peaks[-1]
    print(
        f"{len(records)} items, {len(scenes)} scenes in {seconds:.0f} s; "
        f"peak {early / 1e6:.0f} MB, then {last / 1e6:.0f} MB"
    )
    finish(
        {
            "benchmark": "eval_memory",
            "ratio": round(last / early, 4),
            "budget": GROWTH,
            "items": len(records),
            "scenes": len(scenes),
            "peak_early": early,
            "peak_last": last,
            "met": last / early <= GROWTH and len(records) >= ITEMS,
        }
    )


if __name__ == "__main__":
    main()
