"""In separate processes on this machine, several at once; goes on when the terminal closes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from smx.executors import BaseExecutor, Fact, Job, Word
from smx.runfolder import is_alive, load_json, read_json, write_json


class Executor(BaseExecutor):
    """One detached driver process per submission works through a queue file, `slots` tasks at a time.

    (submitit's local executor sleeps 0.2 s per job, starts all of them at once, hides GPUs and stops after
    120 s unless told otherwise; a queue of plain processes is both simpler and quicker.)
    """

    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="tasks running at once")

    def submit(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        tasks = [
            {"entry": job.entry, "folder": str(job.folder), "shard": shard, "after": [str(a) for a in job.after]}
            for job in jobs
            for shard in range(job.shards)
        ]
        if not (folder / "queue.json").exists():
            write_json(folder / "queue.json", {"submission": submission, "slots": self.slots, "tasks": tasks})
            with (folder / "driver.log").open("ab") as log:
                subprocess.Popen(
                    [sys.executable, "-m", "smx.executors._driver", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # closing the terminal or Ctrl-C in it does not reach the driver
                )
        return _handles(folder, jobs)

    def recover(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        # Whichever of the two marks is written second sees the other: a driver that finds itself given up
        # leaves before its first task, so what is started again is never done twice.
        write_json(folder / "abandoned.json", {})
        return _handles(folder, jobs) if (folder / "driver.json").exists() else [None] * len(jobs)

    def poll(self, handles: Sequence[Mapping[str, Any]]) -> list[list[Fact]]:
        return [[_fact(Path(h["queue"]), task) for task in range(*h["tasks"])] for h in handles]

    def cancel(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """Waiting tasks are struck from the queue, running ones get SIGTERM and end after the item in hand."""
        for handle in handles:
            queue = Path(handle["queue"])
            for task in range(*handle["tasks"]):
                write_json(queue / f"task-{task}.cancel.json", {})
                started = read_json(queue / f"task-{task}.json")
                if started and is_alive(started):
                    os.killpg(started["pid"], signal.SIGTERM)


def _handles(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
    places = {(t["folder"], t["shard"]): i for i, t in enumerate(load_json(folder / "queue.json")["tasks"])}
    first = [places[str(job.folder), 0] for job in jobs]
    return [
        {"executor": "local", "queue": str(folder), "tasks": [a, a + job.shards]}
        for a, job in zip(first, jobs, strict=True)
    ]


def _fact(queue: Path, task: int) -> Fact:
    process = read_json(queue / f"task-{task}.json")
    driver = read_json(queue / "driver.json")
    if process is None:
        if driver is None:
            return Fact(Word.waiting, reason="its driver process is starting")
        alive = is_alive(driver)
        if alive is None:
            return Fact(Word.unknown, driver["host"], f"it runs on {driver['host']}; ask there")
        return Fact(Word.waiting, driver["host"], "behind other tasks") if alive else Fact(Word.absent, driver["host"])
    where = f"{process['host']} pid {process['pid']}"
    alive = is_alive(process)
    if alive is None:
        return Fact(Word.unknown, where, f"it runs on {process['host']}; ask there")
    return Fact(Word.running if alive else Word.ended, where)
