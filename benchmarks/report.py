"""Claim: `smx report` over 10,000 runs and 100,000 scores takes at most 1 s on 2 cores, start-up included.

Makes a registry of 50 models x 8 samplers x 5 frame counts x 5 seeds with ten scores each, then times the
whole command, interleaved with a bare two-command Typer app to show how much of it is start-up.
The ratio is the median time over the budget of one second; processor time is shown beside it, because a
busy machine stretches the one and not the other.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _record import finish
from startup import BARE, SMX, timed

from smx.registry.rows import RunRow, ScoreRow
from smx.registry.store import Registry

REPEATS = 9
BUDGET_SECONDS = 1.0
TYPES = ("object_counting", "object_abs_distance", "object_rel_distance", "room_size_estimation")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        runs, scores = fill(place / "registry.db")
        for name, text in (("bare.py", BARE), ("smx_.py", SMX)):
            (place / name).write_text(text, encoding="utf-8")
        ours = [sys.executable, str(place / "smx_.py"), "--workspace", folder, "report"]
        by_type = [*ours, "--metric", "type"]
        bare = [sys.executable, str(place / "bare.py"), "--help"]
        lines = len(subprocess.run(ours, capture_output=True, check=True, text=True).stdout.splitlines())
        commands = {"report": ours, "report --metric type": by_type, "bare app": bare}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(REPEATS):
            for name, command in commands.items():
                before = processor_time()
                seconds = timed(command)
                times[name].append((seconds, processor_time() - before))
    medians = {name: statistics.median(wall for wall, _ in values) for name, values in times.items()}
    processor = {name: statistics.median(busy for _, busy in values) for name, values in times.items()}
    print(f"{runs} runs, {scores} scores, {lines} lines of tables; median of {REPEATS}")
    for name, seconds in medians.items():
        print(f"{name:<22} {seconds:.3f} s   {processor[name]:.3f} s of one core")
    finish(
        {
            "benchmark": "report",
            "ratio": round(medians["report"] / BUDGET_SECONDS, 3),
            "budget": 1.0,
            "runs": runs,
            "scores": scores,
            "seconds": {name: round(seconds, 4) for name, seconds in medians.items()},
            "processor_seconds": {name: round(seconds, 4) for name, seconds in processor.items()},
        }
    )


def processor_time() -> float:
    """Seconds that child processes have kept a core busy so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fill(path: Path) -> tuple[int, int]:
    """A registry of the size a busy lab has after some years; returns its numbers of runs and scores."""
    dice = random.Random(0)
    metrics = [(f"{kind}.{mean}", "") for kind in ("all", "acc", "mra") for mean in ("micro", "macro")]
    slots = [*metrics, *(("type", name) for name in TYPES)]
    runs = 0
    with Registry.open(path) as registry, registry.transaction():
        for model in range(50):
            for sampler in range(8):
                for frames in (8, 16, 24, 32, 64):
                    for seed in range(5):
                        row = run_row(f"model{model}", f"sampler{sampler}", frames, seed)
                        registry.add_run(row)
                        values = [
                            ScoreRow(
                                *(row.fingerprint, "vsibench", "official@1", metric, dice.random(), 5130, task, 0),
                                *(0.2, 0.4, 0.3, dice.uniform(-0.1, 0.2), "2" if task else None),
                            )
                            for metric, task in slots
                        ]
                        registry.replace_scores(row.fingerprint, values)
                        runs += 1
    return runs, runs * len(slots)


def run_row(model: str, sampler: str, frames: int, seed: int) -> RunRow:
    """A finished eval with a spec as long as real ones."""
    spec = {
        **{"kind": "eval", "model": model, "sampler": sampler, "frames": frames, "seed": seed, "bench": "vsibench"},
        **{"sampler_options": {}, "geometry": {"candidates": 128, "source": "dataset", "voxel_size": None}},
        **{"variant": {"base": "qwen2_5_vl", "attention": "sdpa", "stride": 1.0, "options": list(range(40))}},
        **{"bench_options": {"prompt": "official", "where": {}}, "dtype": "bfloat16", "max_new_tokens": 16},
    }
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    name = f"{model}-vsibench-{sampler}-{frames}f"
    cell = (model, sampler, frames, "vsibench", None, seed)
    return RunRow(
        fingerprint, "eval", name, f"eval/{name}-{fingerprint[:8]}", text, *cell, state="done", items=5130, done=5130
    )


if __name__ == "__main__":
    main()
