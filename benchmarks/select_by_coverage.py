"""Claim: space-aware selection on CPU is >= 50 x a Python-set greedy and >= 2 x plain vectorised torch.

128 frames of 518x392, the size the reference computes on: a hand-held walk through a furnished room, point maps
by ray casting, confidences like those of a point head (smooth, with noise). Both rivals are written here, choose
by the same rule and must choose the same frames. Ours and the torch rival alternate; the best time of each
counts. Also measured: peak memory over the point maps themselves.

    python benchmarks/select_by_coverage.py [--save]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from smx.geometry.voxels import select_by_coverage

FRAMES, HEIGHT, WIDTH, K = 128, 392, 518, 16
RESULTS = Path(__file__).parent / "results" / "select_by_coverage.json"


def main() -> None:
    """Measure, print a table, and the result as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help=f"add the result to {RESULTS.name}")
    parser.add_argument("--rounds", type=int, default=5, help="times each fast method is run")
    arguments = parser.parse_args()

    points, confidence = walk(FRAMES, HEIGHT, WIDTH)
    select_by_coverage(points[:2], confidence[:2], 2)  # compile, or load what was compiled
    memory = peak_memory(points, confidence)

    seconds: dict[str, list[float]] = {"smx": [], "torch": [], "sets": []}
    chosen: dict[str, list[int]] = {}
    methods = {"smx": ours, "torch": torch_greedy, "sets": set_greedy}
    for turn in range(arguments.rounds):
        for name, method in methods.items():
            if name == "sets" and 0 < turn < arguments.rounds - 1:  # a minute each: the first and the last turn
                continue
            start = time.perf_counter()
            chosen[name] = method(points, confidence, K)
            seconds[name].append(time.perf_counter() - start)
    best = {name: min(times) for name, times in seconds.items()}
    identical = chosen["smx"] == chosen["torch"] == chosen["sets"]

    print(f"{'method':<28}{'seconds':>10}{'ratio':>8}")
    for name, what in (("smx", "smx"), ("torch", "vectorised torch"), ("sets", "sets + torch.unique(dim=0)")):
        print(f"{what:<28}{best[name]:>10.3f}{best[name] / best['smx']:>8.1f}")
    print(f"frames identical: {identical}; peak memory {memory:.2f} x the point maps")

    result: dict[str, Any] = {
        "benchmark": "select_by_coverage",
        "ratio": round(best["sets"] / best["smx"], 1),
        "budget": ">= 50",
        "ratio_torch": round(best["torch"] / best["smx"], 2),
        "budget_torch": ">= 2",
        "memory": round(memory, 2),
        "budget_memory": "<= 1.5",
        "identical": identical,
        "seconds": {name: round(value, 4) for name, value in best.items()},
    }
    if arguments.save:
        save(result)
    print(json.dumps(result))
    met = result["ratio"] >= 50 and result["ratio_torch"] >= 2 and memory <= 1.5 and identical
    sys.exit(0 if met else 1)


def ours(points: np.ndarray, confidence: np.ndarray, k: int) -> list[int]:
    """The function under test."""
    return select_by_coverage(points, confidence, k).selected


def set_greedy(points: np.ndarray, confidence: np.ndarray, k: int) -> list[int]:
    """The usual way: `torch.unique(dim=0)` per frame, tuples in Python sets, every gain computed every round."""
    flat = torch.from_numpy(points).reshape(-1, 3)
    valid = torch.from_numpy((confidence >= np.percentile(confidence, 50)) & (confidence > 0.1))
    kept = flat[valid.reshape(-1)]
    low, high = kept.amin(dim=0), kept.amax(dim=0)
    edge = (high - low).min() / 20
    seen = []
    for frame in range(len(points)):
        mine = torch.from_numpy(points[frame])[valid[frame]]
        cells = torch.unique(torch.floor((mine - low) / edge).to(torch.int64), dim=0)
        seen.append({tuple(cell) for cell in cells.tolist()})
    chosen: list[int] = []
    covered: set[tuple[int, ...]] = set()
    while len(chosen) < k:
        gains = {f: len(seen[f] - covered) for f in range(len(seen)) if f not in chosen}
        best = max(gains, key=lambda f: (gains[f], -f))
        if gains[best] == 0:
            break
        chosen.append(best)
        covered |= seen[best]
    return sorted(chosen)


def torch_greedy(points: np.ndarray, confidence: np.ndarray, k: int) -> list[int]:
    """What one writes with tensors alone: linear cell numbers, a boolean frame x cell matrix, a matrix product."""
    cloud, sure = torch.from_numpy(points), torch.from_numpy(confidence)
    valid = (sure >= float(np.percentile(confidence, 50))) & (sure > 0.1)
    kept = cloud[valid]
    low, high = kept.amin(dim=0), kept.amax(dim=0)
    edge = (high - low).min() / 20
    cells = torch.floor((kept - low) / edge).to(torch.int64)
    shape = torch.floor((high - low) / edge).to(torch.int64) + 1
    number = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    frame = torch.repeat_interleave(torch.arange(len(cloud)), valid.flatten(1).sum(dim=1))
    seen = torch.zeros(len(cloud), int(shape.prod()), dtype=torch.bool)
    seen[frame, number] = True
    chosen: list[int] = []
    left = torch.ones(seen.shape[1], dtype=torch.bool)
    while len(chosen) < k:
        gain = (seen & left).sum(dim=1)
        best = int(gain.argmax())
        if gain[best] == 0:
            break
        chosen.append(best)
        left &= ~seen[best]
    return sorted(chosen)


def walk(frames: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Point maps [T, H, W, 3] and confidences [T, H, W], float32, of a walk through a room with twelve boxes."""
    rng = np.random.default_rng(0)
    room = np.array([6.2, 4.4, 2.7])
    corner = rng.uniform([0.2, 0.2, 0], [5.2, 3.4, 0], (12, 3))
    boxes = [(np.zeros(3), room)] + [(c, c + rng.uniform(0.3, 1.1, 3)) for c in corner]
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - width / 2) / 400, (v - height / 2) / 400, np.ones((height, width))], axis=-1)
    points = np.empty((frames, height, width, 3), dtype=np.float32)
    confidence = np.empty((frames, height, width), dtype=np.float32)
    for t in range(frames):
        turn = 4 * np.pi * t / frames
        centre = room / 2 + [1.5 * np.cos(turn / 2), 1.0 * np.sin(turn / 2), 0.2 * np.sin(turn)]
        sideways = np.array([-np.sin(turn), np.cos(turn), 0])
        ahead = np.array([np.cos(turn), np.sin(turn), 0.25 * np.sin(3 * turn)])
        directions = rays @ np.stack([sideways, [0, 0, -1.0], ahead])
        depth = nearest(centre, directions, boxes)
        depth = depth * (1 + rng.normal(scale=0.004, size=depth.shape))  # a network's depth is not exact
        points[t] = centre + directions * depth[..., None]
        shade = np.sin(u / 37 + t) * np.cos(v / 29) - depth / 3 + rng.normal(scale=0.1, size=depth.shape)
        confidence[t] = 1 + np.exp(shade)
    return points, confidence


def nearest(centre: np.ndarray, directions: np.ndarray, boxes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """[H, W] distance along each ray: the far wall of the first box (the room), or the near side of another."""
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.full(directions.shape[:2], np.inf)
        for which, (low, high) in enumerate(boxes):
            first, second = (low - centre) / directions, (high - centre) / directions
            enter, leave = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
            hit = leave if which == 0 else np.where((enter > 0.05) & (enter < leave), enter, np.inf)
            depth = np.minimum(depth, hit)
    return depth


def peak_memory(points: np.ndarray, confidence: np.ndarray) -> float:
    """Most memory held while selecting, input included, over the size of the point maps (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    before = status("VmRSS")
    ours(points, confidence, K)
    added = max(0, status("VmHWM") - before)
    return (points.nbytes + confidence.nbytes + added) / points.nbytes


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def save(result: dict[str, object]) -> None:
    """Append a dated entry to the results file."""
    entries = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    entries.append(
        {
            "date": datetime.now(UTC).date().isoformat(),
            "cpu": model.partition(":")[2].strip(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "versions": {"numpy": np.__version__, "numba": numba.__version__, "torch": torch.__version__},
            "command": "python benchmarks/select_by_coverage.py --save",
            **result,
        }
    )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
