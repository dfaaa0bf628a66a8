"""Claim: 50 runs are submitted to the `local` executor in at most 1 s, registry and run folders included.

Beside submitit's LocalExecutor, which submits as many jobs that do nothing (`map_array`), once: it takes ten seconds.
Ours is everything between the decision and the prompt: reserving in the registry, writing specs and plans,
starting the driver, keeping its answers. What was started is cancelled after the clock has stopped.
The ratio is our median time over the budget of one second, with this process's processor time beside it, because a
busy machine stretches the one and not the other; submitit's time is shown over ours.
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
    rounds = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(ours(Path(folder)))
    seconds, processor = (statistics.median(values) for values in zip(*rounds, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        rival = theirs(Path(folder))
    print(f"{RUNS} runs submitted, smx: median of {REPEATS} rounds")
    print(f"smx        {seconds:7.3f} s   {processor:.3f} s of one core")
    print(f"submitit   {rival:7.3f} s")
    finish(
        {
            "benchmark": "submit_local",
            "ratio": round(seconds / BUDGET_SECONDS, 3),
            "budget": 1.0,
            "runs": RUNS,
            "seconds": {"smx": round(seconds, 4), "submitit": round(rival, 4)},
            "processor_seconds": round(processor, 4),
            "submitit_over_smx": round(rival / seconds, 1),
        }
    )


def ours(folder: Path) -> tuple[float, float]:
    """Seconds to submit 50 gen runs in an empty workspace, and the processor's part of them."""
    space = Workspace(folder, "--workspace")
    request = {"sampler": "random", "frames": 2, "dataset": "rooms", "dataset_options": SMALL}
    resolver = Resolver(space)
    cells = [cell for seed in range(RUNS) for cell in resolver.gen({**request, "seed": seed})]
    executor = Executor(slots=1)
    with Registry.open(space.registry) as registry:
        decisions = decide(cells, registry, asked={cell.fingerprint for cell in cells}, retry=False)
        start, busy = time.perf_counter(), time.process_time()
        started = submit(space, registry, decisions, executor=("local", executor))
        seconds, processor = time.perf_counter() - start, time.process_time() - busy
    assert len(started.attempts) == RUNS
    executor.cancel([attempt.handle() or {} for _, attempt in started.attempts])
    while not all(attempt.shard(0).exit() or _over(executor, attempt.handle()) for _, attempt in started.attempts):
        time.sleep(0.05)
    return seconds, processor


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
