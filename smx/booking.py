"""How runs and attempts are entered in the registry: what submit and sync both need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smx.cell import Cell
from smx.project import Workspace
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.runfolder import AttemptFolder, write_json
from smx.spec import AnySpec, EvalSpec, GenSpec, TrainSpec, canonical


def run_row(workspace: Workspace, cell: Cell, created: str) -> RunRow:
    """A run as the registry keeps it."""
    spec = cell.spec
    return RunRow(
        fingerprint=cell.fingerprint,
        kind=spec.kind,
        name=cell.name,
        folder=cell.folder.relative_to(workspace.runs).as_posix(),
        variant=None if isinstance(spec, GenSpec) else spec.model,
        sampler=spec.sampler,
        frames=spec.frames,
        bench=spec.bench if isinstance(spec, EvalSpec) else None,
        dataset=_data(spec),
        seed=spec.seed,
        spec=canonical(spec.model_dump(mode="json")),
        labels=cell.labels,
        items=len(cell.items),
        created=created,
        updated=created,
    )


def _data(spec: AnySpec) -> str | None:
    if isinstance(spec, GenSpec):
        return spec.dataset
    return "+".join(spec.data) if isinstance(spec, TrainSpec) else None


def record_handle(registry: Registry, fingerprint: str, attempt: AttemptFolder, handle: Mapping[str, Any]) -> None:
    """Keep what the executor answered, in the folder and in the registry."""
    write_json(attempt.path / "handle.json", handle)
    registry.update_attempt(fingerprint, attempt.number, handle=dict(handle))


def submission_folder(workspace: Workspace, submission: str) -> Path:
    """Where a submission keeps its queue or scripts."""
    return workspace.runs / ".submissions" / submission
