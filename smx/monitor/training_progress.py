"""How far a training has come, from its metrics.jsonl: the step, its loss, and how long it still takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from smx.atomic_io import read_json
from smx.runfolder import METRICS, RunFolder
from smx.spec import TrainSpec, planned_steps, recorded

_TAIL = 1 << 16  # bytes: some hundred steps
_PACE = 50  # steps whose median is the pace: one that saved or waited for data is not


@dataclass(frozen=True)
class TrainingProgress:
    """The newest step of a training."""

    step: int
    steps: int | None  # None: not planned yet
    loss: float | None  # of that step; None: no finite number
    left: float | None  # seconds, at the pace of the last steps; None where nothing tells

    def words(self) -> str:
        """`step 310/2,400 loss 1.92`."""
        of = "" if self.steps is None else f"/{self.steps:,}"
        return f"step {self.step:,}{of} loss " + ("not finite" if self.loss is None else f"{self.loss:.3g}")

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


def training_progress(folder: RunFolder) -> TrainingProgress | None:
    """Of the run in `folder`; None where it is no training, or has no step behind it."""
    steps = _last_steps(folder.path / METRICS)
    if not steps:
        return None
    spec = recorded(folder.spec)
    assert isinstance(spec, TrainSpec)
    total = spec.recipe.steps or _planned(folder, spec)
    last = steps[-1]
    pace = median(step["seconds"] for step in steps[-_PACE:])
    left = None if total is None else pace * max(0, total - last["step"])
    return TrainingProgress(last["step"], total, last.get("loss"), left)


def _planned(folder: RunFolder, spec: TrainSpec) -> int | None:
    data: Mapping[str, Any] | None = read_json(folder.path / "data.json")
    return planned_steps(spec.recipe, len(data["examples"])) if data else None


def _last_steps(path: Path) -> list[dict[str, Any]]:
    """The last lines, whole ones alone: the newest may be half written, and a kill may have torn another."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            begin = max(0, file.tell() - _TAIL)
            file.seek(begin)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines[1 if begin else 0 : -1]:
        try:
            step = json.loads(line)
        except ValueError:
            continue
        if isinstance(step, dict) and {"step", "seconds"} <= step.keys():
            found.append(step)
    return found
