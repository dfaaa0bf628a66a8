"""A run from its parts: its fingerprint, and the folder it has or will have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smx.atomic_io import read_json
from smx.run import Item, Run
from smx.spec import AnySpec, fingerprint, named_plugins


def make_run(
    runs: Path,
    spec: AnySpec,
    name: str,
    items: tuple[Item, ...],
    inputs: dict[str, str],
    paths: Mapping[str, Path | str | None],
    labels: dict[str, Any] | None = None,
    needs: tuple[str, ...] = (),
) -> Run:
    """The run of `spec`, kept under `runs`. What the others are: see `Run`."""
    digest = fingerprint(spec, inputs)
    folder = run_path(runs, spec.kind, name, digest)
    places = {role: None if path is None else str(path) for role, path in paths.items()}
    if spec.kind == "train":
        places["output"] = str(folder / "checkpoint")
    return Run(spec, digest, name, folder, items, named_plugins(spec), inputs, places, labels or {}, needs)


def run_path(runs: Path, kind: str, name: str, fingerprint: str) -> Path:
    """The run's folder: eight digits of the fingerprint, more where another run has those already."""
    for digits in range(8, len(fingerprint) + 1, 4):
        folder = runs / kind / f"{name}-{fingerprint[:digits]}"
        existing = read_json(folder / "spec.json")
        if existing is None or existing["fingerprint"] == fingerprint:
            return folder
    raise AssertionError(f"{runs / kind} holds another run with fingerprint {fingerprint}")


def unique(runs: Sequence[Run]) -> list[Run]:
    """Each run once, producers before consumers, first mention first."""
    return list({run.fingerprint: run for run in runs}.values())
