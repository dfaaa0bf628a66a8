"""A cell from its parts: its fingerprint, and the folder that its run has or will have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smx.atomic_io import read_json
from smx.run import Item, Run
from smx.spec import AnySpec, fingerprint, named_plugins


def make_cell(
    runs: Path,
    spec: AnySpec,
    name: str,
    items: tuple[Item, ...],
    inputs: dict[str, str],
    paths: Mapping[str, Path | str | None],
    labels: dict[str, Any] | None = None,
    needs: tuple[str, ...] = (),
) -> Run:
    """The cell of `spec`, whose run is kept under `runs`. What the others are: see `Run`."""
    mark = fingerprint(spec, inputs)
    folder = run_path(runs, spec.kind, name, mark)
    places = {role: None if path is None else str(path) for role, path in paths.items()}
    if spec.kind == "train":
        places["output"] = str(folder / "checkpoint")
    return Run(spec, mark, name, folder, items, named_plugins(spec), inputs, places, labels or {}, needs)


def run_path(runs: Path, kind: str, name: str, mark: str) -> Path:
    """The run's folder: eight digits of the fingerprint, more where another run has those already."""
    for digits in range(8, len(mark) + 1, 4):
        folder = runs / kind / f"{name}-{mark[:digits]}"
        existing = read_json(folder / "spec.json")
        if existing is None or existing["fingerprint"] == mark:
            return folder
    raise AssertionError(f"{runs / kind} holds another run with fingerprint {mark}")


def unique(cells: Sequence[Run]) -> list[Run]:
    """Each run once, producers before consumers, first mention first."""
    return list({cell.fingerprint: cell for cell in cells}.values())
