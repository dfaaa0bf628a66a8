"""Claim: a sync of 10,000 attempts in flight asks squeue once and sacct once, and takes at most 2 s beside them.

The commands are emulated: they print at once what SLURM would say of 10,000 array tasks, and count their calls. The
registry and the run folders are made up: 8,000 tasks wait, 1,700 run and have moved on since the last look, 250 have
ended well and 50 were stopped at their time limit. Measured: `sync` from its first query to its commit, less what the
two commands take alone in the same round. A second look follows, at which nothing has changed.

The rival in the same round is submitit's watcher of job states, over the same output of sacct: it keeps nothing, reads
no run folder, and knows neither squeue nor how far a job is. It is shown beside; the ratio is to the budget.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _record import finish
from submitit.slurm.slurm import SlurmInfoWatcher

from smx.control.sync import sync
from smx.registry.rows import AttemptRow, RunRow, ShardRow, SubmissionRow
from smx.registry.store import Registry
from smx.runfolder import now
from smx.workspace import Workspace

WAITING, RUNNING, DONE, STOPPED = 8_000, 1_700, 250, 50
ARRAY = 1_000
REPEATS = 3
BUDGET_SECONDS = 2.0
ITEMS = 12  # of each run
STATES = ["PENDING"] * WAITING + ["RUNNING"] * RUNNING + ["COMPLETED"] * DONE + ["TIMEOUT"] * STOPPED
COMMAND = '#!/bin/sh\necho "$@" >> "{calls}"\ncat "{answer}"\n'


def main() -> None:
    times: dict[str, list[float]] = {"first": [], "again": [], "commands": [], "submitit": []}
    calls: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:  # deleted at the end: ext4 is slow to make files after it
        for k in range(REPEATS):
            place = Path(folder) / str(k)
            place.mkdir()
            for name, value in measured(place, calls).items():
                times[name].append(value)
    median = {name: statistics.median(found) for name, found in times.items()}
    beside = {name: median[name] - median["commands"] for name in ("first", "again")}
    print(f"{len(STATES)} attempts in flight, medians of {REPEATS} rounds; calls in one sync: {calls}")
    print(f"squeue and sacct alone           {median['commands']:7.3f} s")
    print(f"sync, {RUNNING + DONE + STOPPED:,} changed, beside them  {beside['first']:7.3f} s")
    print(f"sync, none changed, beside them  {beside['again']:7.3f} s")
    print(f"submitit's watcher, beside sacct {median['submitit']:7.3f} s")
    finish(
        {
            "benchmark": "sync",
            "ratio": round(max(beside.values()) / BUDGET_SECONDS, 3),
            "budget": 1.0,
            "attempts": len(STATES),
            "calls": calls,
            "seconds": {name: round(value, 4) for name, value in {**median, **beside}.items()},
        }
    )


def measured(folder: Path, calls: dict[str, int]) -> dict[str, float]:
    """Seconds of everything, once, in a fresh workspace."""
    space = Workspace(folder, "--workspace")
    tools = folder / "tools"
    emulate(tools)
    os.environ["PATH"] = f"{tools}:{PATH}"
    with Registry.open(space.registry) as registry:
        fill(space, registry)
        alone, text = commands()
        found = {"commands": alone, "submitit": theirs(text)}
        for look in ("first", "again"):
            for name in ("squeue", "sacct"):
                (tools / f"{name}.calls").unlink(missing_ok=True)
            start = time.perf_counter()
            doubts = sync(space, registry)
            found[look] = time.perf_counter() - start
            assert not doubts, doubts[:3]
            counted = {n: len((tools / f"{n}.calls").read_text().splitlines()) for n in ("squeue", "sacct")}
            assert counted == {"squeue": 1, "sacct": 1}, counted
            calls.update(counted)
        check(registry)
    return found


def check(registry: Registry) -> None:
    """What was timed is right: states, items, and why the stopped ones ended."""
    states = dict(registry.query("select state, count(*) from attempts group by state"))
    assert states == {"pending": WAITING, "running": RUNNING, "done": DONE, "failed": STOPPED}, states
    ((done,),) = registry.query("select sum(done) from runs")
    assert done == (RUNNING + STOPPED) * (ITEMS // 2) + DONE * ITEMS, done
    kinds = registry.query("select distinct json_extract(failure, '$.kind') from attempts where state = 'failed'")
    assert kinds == [("timeout",)], kinds


def emulate(tools: Path) -> None:
    """squeue and sacct as they would answer now."""
    tools.mkdir()
    for name, lines in (("squeue", squeue()), ("sacct", sacct())):
        answer, calls = tools / f"{name}.txt", tools / f"{name}.calls"
        answer.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (tools / name).write_text(COMMAND.format(calls=calls, answer=answer), encoding="utf-8")
        (tools / name).chmod(0o755)


def squeue() -> Iterator[str]:
    """Tasks that are not over, in smx's format."""
    for task, state in enumerate(STATES):
        job, index, name = place(task)
        if state == "PENDING":
            yield f"{job}|{index}|PENDING|{T0}|N/A||{name}|Resources"
        elif state == "RUNNING":
            yield f"{job}|{index}|RUNNING|{T0}|{T0 + 60}|n{task % 50:03d}|{name}|None"


def sacct() -> Iterator[str]:
    """Every task, those that have begun with their steps."""
    for task, state in enumerate(STATES):
        job, index, name = place(task)
        if state == "PENDING":
            yield f"{job}_{index}|PENDING|0:0|{T0}|Unknown|Unknown|None assigned||{name}"
            continue
        end = "Unknown" if state == "RUNNING" else str(T0 + 3600)
        code, step = ("0:0", "CANCELLED") if state == "TIMEOUT" else ("0:0", state)
        node = f"n{task % 50:03d}"
        yield f"{job}_{index}|{state}|{code}|{T0}|{T0 + 60}|{end}|{node}||{name}"
        for part, rss in (("batch", "5120K"), ("extern", "0"), ("0", "41943040K")):
            yield f"{job}_{index}.{part}|{step}|{code}|{T0 + 60}|{T0 + 60}|{end}|{node}|{rss}|{part}"


def place(task: int) -> tuple[int, int, str]:
    """Job id, array index and job name of a task."""
    return 71000 + task // ARRAY, task % ARRAY, f"smx-{task // ARRAY:012x}-0"


def commands() -> tuple[float, str]:
    """Seconds that both commands take alone; what sacct says."""
    start = time.perf_counter()
    subprocess.run(["squeue"], check=True, capture_output=True, text=True)
    text = subprocess.run(["sacct"], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - start, text


def theirs(text: str) -> float:
    """Seconds in which submitit's watcher has read the states of all tasks."""
    rows = (line.split("|") for line in text.splitlines())
    listing = "\n".join(["JobID|State|NodeList", *(f"{row[0]}|{row[1]}|{row[6]}" for row in rows)])
    watcher = SlurmInfoWatcher()
    start = time.perf_counter()
    states = watcher.read_info(listing)
    assert all("{}_{}".format(*place(task)[:2]) in states for task in range(len(STATES)))
    return time.perf_counter() - start


def fill(space: Workspace, registry: Registry) -> None:
    """Registry and run folders as they are some time after a submission of ten arrays."""
    provenance = {"smx": "0.1.0", "user": "ada", "host": "login", "command": "smx run all.yaml", "git": None}
    submitter = {"host": "elsewhere", "pid": 1, "start": 1}
    with registry.transaction():
        for job in range(len(STATES) // ARRAY):
            registry.put_submission(SubmissionRow(f"{job:012x}", "slurm", f"smx-{job:012x}", job=str(71000 + job)))
        for task, state in enumerate(STATES):
            job, index, name = place(task)
            mark, title = f"{task:08x}" + "0" * 56, f"prope-vsibench-sa-16f-{task:08x}"
            spec = json.dumps({"kind": "eval", "model": "prope"})
            cell: tuple[Any, ...] = ("prope", "sa", 16, "vsibench", None, 0, {}, "pending", ITEMS)
            registry.add_run(RunRow(mark, "eval", title.rsplit("-", 1)[0], f"eval/{title}", spec, *cell))
            handle = {"executor": "slurm", "requeues": True, "at": T0, "shards": [[str(job), index, name]]}
            handle["job"] = f"{job}_{index}"
            known = AttemptRow(
                *(mark, 1, "slurm", "pending", ITEMS, name.split("-")[1], handle, f"{job}_{index}"),
                reason="waits for nodes to become free (Resources)",
                provenance={**provenance, "submitter": submitter},
            )
            registry.put_attempt(known)
            registry.put_shard(ShardRow(mark, 1, 0, "pending"))
            folder = space.runs / "eval" / title
            write(folder, task, state, handle, {**provenance, "submitter": submitter})


def write(folder: Path, task: int, state: str, handle: dict[str, Any], provenance: dict[str, Any]) -> None:
    """One run folder."""
    attempt = folder / "attempts" / "1"
    shard = attempt / "shards" / "0"
    shard.mkdir(parents=True)
    items = [{"id": f"scene{k:04d}_00", "group": f"scene{k:04d}_00"} for k in range(ITEMS)]
    plan = {
        "attempt": 1, "created": now(), "submitted": now(), "labels": {}, "executor": "slurm",
        "resources": {"nodes": 1, "gpus": 1, "memory": "64G", "time": "12:00:00"}, "of": ITEMS, "needs": [],
        "max_failed": 1, "paths": {}, "submitter": provenance["submitter"], "provenance": provenance, "shards": [items],
    }  # fmt: skip
    spec = {"kind": "gen", "fingerprint": f"{task:08x}" + "0" * 56, "name": "x", "created": now(), "plugins": {}}
    spec |= {"inputs": {}, "spec": {"kind": "gen", "sampler": "uniform", "frames": 16, "dataset": "rooms"}}
    files: dict[Path, Any] = {folder / "spec.json": spec, attempt / "plan.json": plan, attempt / "handle.json": handle}
    done = {"PENDING": 0, "COMPLETED": ITEMS}.get(state, ITEMS // 2)
    if done:
        rows = [{"item": i["id"], "ok": True, "at": now(), "seconds": 60.0, "data": {"text": "4"}} for i in items]
        (shard / "items.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows[:done]), encoding="utf-8")
        beat = {"host": f"n{task % 50:03d}", "pid": 7, "start": 7, "done": done, "failed": 0, "last": "x", "at": now()}
        files[shard / "heartbeat.json"] = beat
    if state == "COMPLETED":
        files[shard / "exit.json"] = {"how": "done", "at": now(), "done": done, "failed": 0}
        files[folder / "result.json"] = {"done": done, "failed": 0, "samples": {}}
    for path, data in files.items():
        path.write_text(json.dumps(data, indent=1), encoding="utf-8")


PATH = os.environ["PATH"]
T0 = int(time.time()) - 7200

if __name__ == "__main__":
    main()
