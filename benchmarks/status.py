"""Claim: `smx status --no-sync` over 10,000 attempts takes at most 2 x a bare two-command Typer app.

Both are started as their console scripts would be, one after the other in every round, so that a busy machine
slows both. The ratio is that of the medians. The registry is made up: 8,000 runs in every state, 2,000 of them
tried twice, a third failed in 40 ways, 60 live with 8 shards each.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import finish
from startup import BARE, SMX

from smx.failures import Failure
from smx.registry.rows import AttemptRow, RunRow, ShardRow
from smx.registry.store import Registry
from smx.runfolder import now

RUNS, TWICE, LIVE = 8_000, 2_000, 60
REPEATS = 15
BUDGET = 2.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        made = fill(place / "registry.db")
        ours, bare = place / "smx_.py", place / "bare.py"
        ours.write_text(SMX, encoding="utf-8")
        bare.write_text(BARE, encoding="utf-8")
        # Compiled once, as what pip installs is; in the scratch folder, so that nothing is left behind.
        environment = {**os.environ, "SMX_WORKSPACE": folder, "PYTHONPYCACHEPREFIX": str(place / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {"status": [], "json": [], "bare": []}
        commands = {
            "status": [str(ours), "status", "--no-sync"],
            "json": [str(ours), "status", "--no-sync", "--json"],
            "bare": [str(bare), "hello"],
        }
        for number in range(REPEATS + 1):
            for name, words in commands.items():
                start = time.perf_counter()
                done = subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
                seconds = time.perf_counter() - start
                assert name == "bare" or b"failed" in done.stdout
                if number:  # the first round fills caches
                    times[name].append(seconds)
    median = {name: statistics.median(found) for name, found in times.items()}
    print(f"{made} attempts, medians of {REPEATS} paired runs")
    for name, seconds in median.items():
        print(f"{name:<8} {seconds:7.3f}s  {seconds / median['bare']:5.2f} x")
    ratios = {name: round(median[name] / median["bare"], 3) for name in ("status", "json")}
    finish({"benchmark": "status", "ratio": max(ratios.values()), "budget": BUDGET, "ratios": ratios, "attempts": made})


def fill(path: Path) -> int:
    """A registry with 10,000 attempts; returns how many there are."""
    chance = random.Random(0)
    kinds = ["oom-gpu", "timeout", "node-fail", "python", "missing-input"]
    attempts = 0
    with Registry.open(path) as registry, registry.transaction():
        for number in range(RUNS):
            mark = f"{number:08x}" + f"{chance.getrandbits(224):056x}"
            state = "running" if number < LIVE else chance.choice(["done", "done", "failed"])
            name = f"prope-vsibench-sa-{chance.choice([8, 16, 32])}f"
            spec = json.dumps({"kind": "eval", "model": "prope"})
            cell: tuple[Any, ...] = ("prope", "sa", 16, "vsibench", None, 0, {}, state, 288, 100, 0)
            registry.add_run(RunRow(mark, "eval", name, f"eval/{name}-{mark[:8]}", spec, *cell))
            for attempt in range(1, 3 if number < TWICE else 2):
                failed = state == "failed" or (attempt == 1 and number < TWICE)
                kind = chance.choice(kinds)
                where = f"vit.forward_{chance.randrange(8)}"
                evidence = tuple(f"line {n} of the evidence, as long as such lines are" for n in range(5))
                failure = Failure(kind, "CUDA out of memory. Tried to allocate 2.00 GiB", where, "Error", "", evidence)
                word = "failed" if failed else state
                told = failure.as_json() if failed else None
                row = AttemptRow(mark, attempt, "slurm", word, 288, done=100, started=now(), failure=told)
                registry.put_attempt(row)
                attempts += 1
            if state == "running":
                for shard in range(8):
                    beat = ShardRow(mark, attempt, shard, "running", f"n{shard:03d}", 12, 0, now())
                    registry.put_shard(beat)
    return attempts


if __name__ == "__main__":
    main()
