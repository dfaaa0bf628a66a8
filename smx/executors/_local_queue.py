"""The local executor's driver: works through a queue file, some tasks at a time, until nothing is left.

python -m smx.executors._local_queue FOLDER          the queue in FOLDER
python -m smx.executors._local_queue FOLDER TASK     one task of it (what the driver starts)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from smx.atomic_io import claim, load_json, write_json
from smx.executors import start
from smx.executors._shards import call, skip, standing
from smx.processes import is_alive, process, this_process
from smx.runfolder import AttemptFolder

_LOOK = 0.5  # seconds between looks at producers outside this queue; own children wake the driver at once


def main(folder: Path) -> None:
    """Drive the queue in `folder`."""
    for ignored in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # kept for sigtimedwait: none is missed between looks
    if not claim(folder / "driver.json", this_process()) and load_json(folder / "driver.json") != this_process():
        return  # its launcher died, and this submission was given up before we came up
    queue = load_json(folder / "queue.json")
    waiting: list[int] = list(range(len(queue["tasks"])))
    running: dict[int, subprocess.Popen[bytes]] = {}
    threads = max(1, (os.cpu_count() or 1) // min(queue["slots"], len(waiting)))
    while waiting or running:
        for task in [t for t, child in running.items() if child.poll() is not None]:
            del running[task]
        for task in list(waiting):
            busy = {queue["tasks"][t]["folder"] for t in (*waiting, *running)}
            verdict = _verdict(folder, task, queue["tasks"][task], busy)
            if verdict == "live":
                continue
            if verdict == "good" and len(running) >= queue["slots"]:
                break
            waiting.remove(task)
            if verdict == "good":
                running[task] = _start(folder, task, queue, threads)
            else:
                skip(Path(queue["tasks"][task]["folder"]), queue["tasks"][task]["shard"], verdict)
        if running or waiting:
            signal.sigtimedwait({signal.SIGCHLD}, _LOOK)


def _verdict(folder: Path, task: int, entry: dict[str, Any], busy: set[str]) -> str:
    """ "good" to start, "live" to wait, else the reason it never will. `busy`: attempts this queue is not done with."""
    if (folder / f"task-{task}.cancel.json").exists():
        return "cancelled before it began"
    for producer in map(Path, entry["after"]):
        state = "live" if str(producer) in busy else standing(producer)
        if state == "bad":
            return f"dependency {producer.parent.parent.name} did not succeed"
        if state == "live":
            return "live"
    return "good"


def _start(folder: Path, task: int, queue: dict[str, Any], threads: int) -> subprocess.Popen[bytes]:
    entry = queue["tasks"][task]
    shard = AttemptFolder(Path(entry["folder"])).shard(entry["shard"]).path
    shard.mkdir(parents=True, exist_ok=True)
    code = Path(queue["code"]) if queue.get("code") else None
    environment = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads), **os.environ}
    with (shard / "log.out").open("ab") as out, (shard / "log.err").open("ab") as err:
        child = subprocess.Popen(
            [sys.executable, *start(code, "smx.executors._local_queue"), str(folder), str(task)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,  # its own group: it can be cancelled whole, and outlives the driver
            env=environment,
        )
    write_json(folder / f"task-{task}.json", process(child.pid))
    return child


def _task(folder: Path, task: int) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    entry = load_json(folder / "queue.json")["tasks"][task]
    attempt = Path(entry["folder"])
    # Written here too: a driver killed between starting this process and noting it must not hide it. And a
    # task whose driver is already gone may have been given up and started elsewhere, so it does not begin.
    write_json(folder / f"task-{task}.json", this_process())
    if (folder / f"task-{task}.cancel.json").exists():
        skip(attempt, entry["shard"], "cancelled before it began")
        return 1
    if not is_alive(load_json(folder / "driver.json")):
        skip(attempt, entry["shard"], "its driver process was gone before it began")
        return 1
    if AttemptFolder(attempt).shard(entry["shard"]).exit() is not None:
        return 0
    return call(entry["entry"], attempt, entry["shard"])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(_task(Path(sys.argv[1]), int(sys.argv[2])))
    main(Path(sys.argv[1]))
