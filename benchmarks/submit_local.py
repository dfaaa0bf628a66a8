"""Claim: 50 runs are submitted to the `local` executor in at most 1 s, registry and run folders included.

Paired against submitit's LocalExecutor, which submits 50 jobs that do nothing (`map_array`) in the same round.
Ours is everything between the decision and the prompt: reserving in the registry, writing specs and plans,
starting the driver, keeping its answers. What was started is cancelled after the clock has stopped.
The ratio is our median time over the budget of one second; submitit's is shown over ours.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import submitit
from _record import finish

from smx.control.plan import decide
from smx.control.submit import submit
from smx.executors.local import Executor
from smx.registry.store import Registry
from smx.resolve import Resolver
from smx.workspace import Workspace

RUNS = 50
REPEATS = 5
BUDGET_SECONDS = 1.0
SMALL = {"count": 1, "frames": 16, "width": 32, "height": 32}


def main() -> None:
    times: dict[str, list[float]] = {"smx": [], "submitit": []}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            times["smx"].append(ours(Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            times["submitit"].append(theirs(Path(folder)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{RUNS} runs submitted, median of {REPEATS} paired rounds")
    for name, seconds in medians.items():
        print(f"{name:<10} {seconds:7.3f} s")
    finish(
        {
            "benchmark": "submit_local",
            "ratio": round(medians["smx"] / BUDGET_SECONDS, 3),
            "budget": 1.0,
            "runs": RUNS,
            "seconds": {name: round(seconds, 4) for name, seconds in medians.items()},
            "submitit_over_smx": round(medians["submitit"] / medians["smx"], 1),
        }
    )


def ours(folder: Path) -> float:
    """Seconds to submit 50 gen runs in an empty workspace."""
    space = Workspace(folder, "--workspace")
    request = {"sampler": "random", "frames": 2, "dataset": "rooms", "dataset_options": SMALL}
    resolver = Resolver(space)
    cells = [cell for seed in range(RUNS) for cell in resolver.gen({**request, "seed": seed})]
    executor = Executor(slots=1)
    with Registry.open(space.registry) as registry:
        decisions = decide(cells, registry, asked={cell.fingerprint for cell in cells}, retry=False)
        start = time.perf_counter()
        started = submit(space, registry, decisions, executor=("local", executor))
        seconds = time.perf_counter() - start
    assert len(started.attempts) == RUNS
    executor.cancel([attempt.handle() or {} for _, attempt in started.attempts])
    while not all(attempt.shard(0).exit() or _over(executor, attempt.handle()) for _, attempt in started.attempts):
        time.sleep(0.05)
    return seconds


def theirs(folder: Path) -> float:
    """Seconds to submit 50 functions that do nothing."""
    executor = submitit.LocalExecutor(folder)
    start = time.perf_counter()
    jobs = executor.map_array(nothing, range(RUNS))
    seconds = time.perf_counter() - start
    for job in jobs:
        job.result()
    return seconds


def nothing(_: int) -> None:
    """A job that is done at once."""


def _over(executor: Executor, handle: object) -> bool:
    assert isinstance(handle, dict)
    return executor.poll([handle])[0][0].state not in ("waiting", "running")


if __name__ == "__main__":
    main()
