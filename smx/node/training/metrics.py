"""metrics.jsonl in a run's training folder: a line for each step, written at once, never rewritten.

A step that is done again after a stop has another line: the last one of a step counts.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from smx.atomic_io import json_text


class Metrics:
    """Appends lines; `None` as path writes nothing (ranks that do not lead)."""

    def __init__(self, path: Path | None) -> None:
        self._file = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
            if self._file.tell() and os.pread(self._file.fileno(), 1, self._file.tell() - 1) != b"\n":
                self._file.write(b"\n")  # behind a line that a kill tore

    def add(self, line: dict[str, Any]) -> None:
        """One step."""
        if self._file is not None:
            self._file.write(f"{json_text(line)}\n".encode())

    def close(self) -> None:
        """No more steps come."""
        if self._file is not None:
            self._file.close()


def peak_memory(device: str) -> int:
    """Bytes: of the GPU, or of the process, at most so far."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
