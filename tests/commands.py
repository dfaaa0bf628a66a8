"""Commands as a person types them, in this process, and what they leave behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smx.cli import run

# Small built-in scenes: two of 24 frames for gen, and the same for the bench `rooms`.
SCENES = ("--set", "dataset_options.count=2", "--set", "dataset_options.frames=24")
QUESTIONS = (
    *("--set", "bench_options.scenes=2", "--set", "bench_options.train_scenes=2"),
    *("--set", "bench_options.frames=24"),
)


def smx(*arguments: object) -> int:
    """`smx …`; returns the exit code."""
    return run([str(argument) for argument in arguments])


def data(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What `smx … --json` prints, after a success."""
    capsys.readouterr()
    assert smx(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def left(place: Path) -> list[str]:
    """Every file and folder under `place`."""
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
