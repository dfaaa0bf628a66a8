"""Commands as a person types them, in this process, and what they leave behind."""

from __future__ import annotations

import json
import stat
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


def closed(folder: Path, *, others: int = 0) -> list[str]:
    """What the group cannot go on with below `folder`, and what is open to more than it should be."""
    group = folder.stat().st_gid
    found = []
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        state = path.stat()
        wanted = 0o2070 if path.is_dir() else 0o060
        if state.st_mode & wanted != wanted or state.st_mode & 0o007 & ~others or state.st_gid != group:
            found.append(f"{stat.filemode(state.st_mode)} {path.relative_to(folder)}")
    return found
