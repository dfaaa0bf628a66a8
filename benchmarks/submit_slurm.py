"""Claim: 1,000 runs are submitted to SLURM with one sbatch per array, in at most 2 s beside sbatch itself.

The commands are emulated: sbatch answers with a job id at once and counts its calls, scontrol describes a cluster
whose arrays hold 500 tasks. Ours is everything between the decision and the prompt: reserving in the registry, specs
and plans of 1,000 run folders on disk for good, scripts, maps and log folders, sbatch, and keeping its answers; and
what the import of submitit, which writes the scripts, takes in a process of its own.

The rivals in the same round, both with the same sbatch: submitit alone, SlurmExecutor.map_array over 1,000 calls of a
function that does nothing (it keeps a pickle per task, and no registry), and sbatch once per run, as scripts of a
lab do, of which 100 are timed. The ratio is our median over the budget of two seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import submitit
from _record import finish

from smx.control.plan import decide
from smx.control.submit import submit
from smx.executors.slurm import Executor
from smx.registry.store import Registry
from smx.resolve import Resolver
from smx.workspace import Workspace

RUNS, ARRAY, ALONE = 1_000, 500, 100
REPEATS = 3
BUDGET_SECONDS = 2.0
SMALL = {"count": 1, "frames": 16, "width": 32, "height": 32}
SBATCH = """#!/bin/sh
echo x >> "{calls}"
number=$(wc -l < "{calls}")
case "$*" in *--parsable*) echo "$number" ;; *) echo "Submitted batch job $number" ;; esac
"""
SCONTROL = """#!/bin/sh
case "$*" in
*config*) echo "MaxArraySize = {array}" ;;
*partition*) echo "PartitionName=gpu Default=YES MaxTime=2-00:00:00 Nodes=n[1-4] State=UP" ;;
*node*) for n in 1 2 3 4; do echo "NodeName=n$n CPUTot=64 RealMemory=512000 Gres=gpu:8 Partitions=gpu"; done ;;
esac
"""


def main() -> None:
    times: dict[str, list[float]] = {"smx": [], "map_array": [], "per_run": []}
    calls: dict[str, int] = {}
    path = os.environ["PATH"]
    # Nothing is deleted before the end: ext4 takes a file's place again only minutes later, and until then makes
    # every new file search among those.
    with tempfile.TemporaryDirectory() as folder:
        for k in range(REPEATS):
            for name, work in (("smx", ours), ("map_array", theirs), ("per_run", alone)):
                place = Path(folder) / f"{name}-{k}"
                place.mkdir()
                counted = emulate(place / "tools")
                os.environ["PATH"] = f"{place / 'tools'}:{path}"
                times[name].append(work(place))
                calls[name] = len(counted.read_text(encoding="utf-8").splitlines())
    assert calls == {"smx": RUNS // ARRAY, "map_array": 1, "per_run": ALONE}, calls
    median = {name: statistics.median(values) for name, values in times.items()}
    sbatch = median["per_run"] / ALONE
    loading = statistics.median(imported() for _ in range(REPEATS))
    beside = loading + median["smx"] - calls["smx"] * sbatch
    print(f"{RUNS} runs, medians of {REPEATS} rounds; calls of sbatch: {calls}")
    print(f"smx, beside its {calls['smx']} sbatch        {beside:7.3f} s, of which submitit's import {loading:.3f} s")
    print(f"submitit map_array             {median['map_array']:7.3f} s")
    print(f"sbatch per run, of {RUNS:,}       {sbatch * RUNS:7.3f} s and what each really takes")
    finish(
        {
            "benchmark": "submit_slurm",
            "ratio": round(beside / BUDGET_SECONDS, 3),
            "budget": 1.0,
            "runs": RUNS,
            "import_seconds": round(loading, 4),
            "calls": calls,
            "seconds": {name: round(seconds, 4) for name, seconds in median.items()},
            "map_array_over_smx": round(median["map_array"] / median["smx"], 2),
        }
    )


def imported() -> float:
    """Seconds that launching adds to what a command of smx has loaded anyway: submitit, above all."""
    load = "import time; import smx.executors.slurm, smx.control.submit; start = time.perf_counter()"
    done = f"{load}; import smx.executors._slurm.array_executor; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", done], check=True, capture_output=True, text=True).stdout)


def emulate(tools: Path) -> Path:
    """The commands; the file in which sbatch leaves a line per call."""
    tools.mkdir()
    calls = tools / "calls"
    calls.touch()
    for name, text in (("sbatch", SBATCH.format(calls=calls)), ("scontrol", SCONTROL.format(array=ARRAY))):
        (tools / name).write_text(text, encoding="utf-8")
        (tools / name).chmod(0o755)
    for name in ("squeue", "sacct", "srun", "scancel"):
        (tools / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    return calls


def ours(folder: Path) -> float:
    """Seconds to submit 1,000 gen runs in an empty workspace."""
    space = Workspace(folder, "--workspace")
    request = {"sampler": "random", "frames": 2, "dataset": "rooms", "dataset_options": SMALL}
    resolver = Resolver(space)
    cells = [cell for seed in range(RUNS) for cell in resolver.gen({**request, "seed": seed})]
    executor = Executor()
    with Registry.open(space.registry) as registry:
        decisions = decide(cells, registry, asked={cell.fingerprint for cell in cells}, retry=False)
        start = time.perf_counter()
        started = submit(space, registry, decisions, executor=("slurm", executor))
        seconds = time.perf_counter() - start
    assert len(started.attempts) == RUNS
    assert all(attempt.handle() for _, attempt in started.attempts)
    return seconds


def theirs(folder: Path) -> float:
    """Seconds in which submitit submits 1,000 calls as one array."""
    executor = submitit.SlurmExecutor(folder / "jobs")
    executor.update_parameters(array_parallelism=RUNS)
    start = time.perf_counter()
    jobs = executor.map_array(nothing, range(RUNS))
    assert len(jobs) == RUNS
    return time.perf_counter() - start


def alone(folder: Path) -> float:
    """Seconds of 100 calls of sbatch, a script each."""
    script = folder / "run.sh"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    start = time.perf_counter()
    for _ in range(ALONE):
        subprocess.run(["sbatch", "--parsable", str(script)], check=True, capture_output=True)
    return time.perf_counter() - start


def nothing(_: int) -> None:
    """A job that is done at once."""


if __name__ == "__main__":
    main()
