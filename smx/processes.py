"""Processes as they are remembered in files: told apart from a later one of the same pid."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Host, pid and start time of this process: enough to tell later whether it still lives."""
    return process(os.getpid())


def process(pid: int) -> dict[str, Any]:
    """The same of another process on this host."""
    return {"host": socket.gethostname(), "pid": pid, "start": start_time(pid)}


def start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot (a reused pid has another one), or None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(process: dict[str, Any]) -> bool | None:
    """Whether the process of `this_process` still runs; None when it is on another host."""
    if process["host"] != socket.gethostname():
        return None
    return process["start"] is not None and start_time(process["pid"]) == process["start"]
