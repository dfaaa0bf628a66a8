"""What a shard runs on and what it uses of it, measured from inside: software, memory, and GPUs where there are any.

    shards/<k>/machine.json   host, CPUs, Python, package versions, GPUs with their driver; written when it starts
    shards/<k>/usage.json     peak memory, and how busy and full its GPUs were; written now and then, and last

nvidia-smi is asked, not the framework: it sees a device as the cluster's administrators do. What cannot be measured
is left out; nothing is written as 0 that was not seen to be 0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from smx.atomic_io import read_json, write_json
from smx.processes import this_process
from smx.runfolder import ShardFolder, now
from smx.workspace.provenance import software

_EVERY = 15.0  # seconds between looks at the GPUs
_PATIENCE = 10  # seconds nvidia-smi is given; on a node with a broken GPU it may hang
_MIB = 1 << 20
_QUERY = ("index", "uuid", "name", "driver_version", "memory.total", "memory.used", "utilization.gpu")


class Meter:
    """Measures while a shard works (`with Meter(...)`). A requeued shard goes on from what was measured before.

    `asked`: whether its job was given GPUs; else only those count that its own process holds memory on.
    """

    def __init__(self, shard: ShardFolder, *, asked: bool) -> None:
        self._shard, self._asked = shard, asked
        self._first = os.environ.get("RANK", "0") == "0"  # of the ranks of one shard, one writes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        if not self._first:
            return self
        self._before = read_json(self._shard.path / "usage.json") or {}
        self._floor = _reset_peak()
        found = _gpus()
        self._gpus = _visible(found or [], os.environ.get("CUDA_VISIBLE_DEVICES"))
        self._seen: dict[str, dict[str, Any]] = {g["uuid"]: g for g in self._before.get("gpus", ())}
        about = {"at": now(), "host": this_process()["host"], "cpus": len(os.sched_getaffinity(0)), **software()}
        if found is not None:
            kept = ("name", "driver", "total")
            about["gpus"] = [{key: gpu[key] for key in kept if gpu[key] is not None} for gpu in self._gpus]
        write_json(self._shard.path / "machine.json", about)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not self._first:
            return
        self._over.set()
        self._thread.join()
        with suppress(OSError):  # where the disk is full, that is what ended the shard, and it says so itself
            self._write()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._look()
            with suppress(OSError):
                self._write()

    def _look(self) -> None:
        found = _gpus() if self._gpus else None
        if found is None:
            self._gpus = []  # it failed once and may hang the next time
            return
        ours = {gpu["uuid"] for gpu in self._gpus}
        if not self._asked:
            ours &= {self._gpus[k]["uuid"] for k in _held() if k < len(self._gpus)}
        for gpu in found:
            if gpu["uuid"] in ours:
                self._seen[gpu["uuid"]] = _added(self._seen.get(gpu["uuid"]), gpu)

    def _write(self) -> None:
        peak = _peak()
        known = [p for p in (self._before.get("memory"), peak if peak > self._floor else None) if p]
        memory = {"memory": max(known)} if known else {}
        gpus = {"gpus": list(self._seen.values())} if self._seen else {}
        write_json(self._shard.path / "usage.json", {"at": now(), **memory, **gpus})


def _added(known: dict[str, Any] | None, look: dict[str, Any]) -> dict[str, Any]:
    """What is known of a GPU, and one more look at it: `memory` its peak in bytes, `use` the mean in percent."""
    known = known or {"uuid": look["uuid"], "name": look["name"], "samples": 0}
    found = {**known, "total": look["total"], "samples": known["samples"] + 1}
    if look["used"] is not None:
        found["memory"] = max(known.get("memory", 0), look["used"])
    if look["use"] is not None:  # a slice of a GPU (MIG) does not say
        found["use"] = round((known.get("use", 0.0) * known["samples"] + look["use"]) / found["samples"], 2)
    return {key: value for key, value in found.items() if value is not None}


def _gpus() -> list[dict[str, Any]] | None:
    """Every GPU nvidia-smi shows, bytes and percent, None for what it does not say; None where it fails."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    if done.returncode != 0 or not all(len(row) == len(_QUERY) for row in rows):
        return None
    return [
        {
            "uuid": uuid,
            "name": name,
            "driver": driver,
            "total": _number(total, _MIB),
            "used": _number(used, _MIB),
            "use": _number(use, 1),
        }
        for _, uuid, name, driver, total, used, use in rows
    ]


def _number(text: str, unit: int) -> int | None:
    return int(text) * unit if text.isdigit() else None  # "[N/A]", "[Not Supported]"


def _visible(gpus: list[dict[str, Any]], listed: str | None) -> list[dict[str, Any]]:
    """Those of `gpus` that CUDA_VISIBLE_DEVICES leaves, in its order: numbers, or the starts of UUIDs."""
    if listed is None:
        return gpus
    found = []
    for word in (part.strip() for part in listed.split(",")):
        if word.isdigit():
            found += gpus[int(word) : int(word) + 1]
        elif word.startswith("GPU-"):
            found += [gpu for gpu in gpus if gpu["uuid"].startswith(word)]
        else:  # CUDA stops at the first one it does not know
            break
    return found


def _held() -> list[int]:
    """Numbers of the devices this very process holds memory on."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [k for k in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(k)]


def _reset_peak() -> int:
    """Begin a new peak; the bytes above which a peak is this shard's own (the process may have done others)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not allowed in every container
        return _peak()
    return 0


def _peak() -> int:
    """The process's largest resident memory so far, bytes; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
