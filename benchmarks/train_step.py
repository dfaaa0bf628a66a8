"""Claim: a step of smx's training costs at most 1.05 of a bare loop's, and its metrics at most 1 % of a step.

The bare loop is what a competent user would write: forward, backward, clip, AdamW, the same batches, nothing written,
checked or counted. Both train the tiny model from the same weights on the same examples, a step of one after a step of
the other, so that whatever else the machine does falls on both alike. What counts is the median of the ratios of pairs,
in processor time: on a CPU that is what a step costs, and a machine that is shared does not change it. The metrics are
timed by themselves: lines as a training writes them, against the median step.

`--quick`: a quarter of the steps (no claim). `--save`: keep the result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _record import finish

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.training import task

from smx.node.training.loop import Training
from smx.node.training.metrics import Metrics, peak_memory

STEPS, BATCH, WARM = 160, 8, 10
MOST_STEP, MOST_METRICS = 1.05, 0.01


def main() -> None:
    """Time both, print the ratio, finish with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    steps = STEPS // 4 if asked.quick else STEPS
    with tempfile.TemporaryDirectory() as scratch:
        ours, bare = paired(Path(scratch), steps)
        ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
        line = metrics_cost(Path(scratch)) / statistics.median(ours)
    print(f"a step: {1000 * statistics.median(ours):.1f} ms, bare {1000 * statistics.median(bare):.1f} ms")
    print(f"median of {len(ours)} pairs: {ratio:.3f} of a bare loop's; metrics {100 * line:.2f} % of a step")
    figures = {"pairs": len(ours), "ratio": round(ratio, 4), "budget": MOST_STEP}
    finish({"benchmark": "train_step", **figures, "metrics_share": round(line, 5), "metrics_budget": MOST_METRICS})
    sys.exit(not asked.quick and (ratio > MOST_STEP or line > MOST_METRICS))


def paired(scratch: Path, steps: int) -> tuple[list[float], list[float]]:
    """Seconds of each step of ours and of the bare loop, begun alternately; the first few are left out."""
    recipe: dict[str, Any] = {"steps": steps, "batch": BATCH, "scenes": 8, "save_every": 10**9, "save_minutes": 1e9}
    training = Training(task(scratch / "ours", **recipe), metrics=Metrics(scratch / "metrics.jsonl"))
    bare = bare_loop(Training(task(scratch / "bare", **recipe)))
    clock: list[float] = []
    other: list[float] = []
    began = time.process_time()

    def after_each(line: dict[str, Any], add: Callable[[dict[str, Any]], None] = training.metrics.add) -> None:
        nonlocal began
        add(line)
        clock.append(time.process_time() - began)
        start = time.process_time()
        next(bare)
        other.append(time.process_time() - start)
        began = time.process_time()

    training.metrics.add = after_each  # type: ignore[method-assign]
    training.run()
    training.metrics.close()
    return clock[WARM:], other[WARM:]


def bare_loop(training: Training) -> Iterator[None]:
    """One step at each `next`, on the batches of `training`."""
    asked, module = training.task, training.module
    optimizer = torch.optim.AdamW(list(asked.trained.values()), lr=1e-3, weight_decay=0.1, fused=True)
    for step in range(1, asked.steps + 1):
        batch = asked.runner.collate(asked.read(training._numbers(step)))
        loss = module(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(asked.trained.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        yield


def metrics_cost(scratch: Path) -> float:
    """Seconds that a line of metrics takes, on average."""
    metrics = Metrics(scratch / "alone.jsonl")
    line = {"step": 1, "loss": 1.5, "lr": {"llm": 1e-3, "merger": 1e-3}, "grad_norm": 3.0, "examples": 8}
    began = time.process_time()
    for _ in range(1000):
        metrics.add({**line, "answer_tokens": 20, "tokens": 700, "seconds": 0.1, "memory": peak_memory("cpu")})
    metrics.close()
    return (time.process_time() - began) / 1000


if __name__ == "__main__":
    main()
