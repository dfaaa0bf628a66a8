"""The door for Python: what a notebook asks of a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx import plugins
from smx.errors import UserError
from smx.runfolder import RunFolder
from smx.workspace import find

if TYPE_CHECKING:
    from submitit import SlurmJob


def job(run: str, workspace: str | Path | None = None) -> list[SlurmJob[Any]]:
    """submitit's jobs of a run's newest attempt on SLURM, one for each shard that SLURM took.

    `run`: its name, fingerprint or job id; `workspace`: found as the command line finds it where none is given.
    `.stdout()`, `.stderr()`, `.state` and `.cancel()` work; what was computed is in the run folder, not in `.result()`.
    `UserError` where no such run is, or it never was on SLURM.
    """
    from smx.registry.store import Registry

    space = find(Path(workspace) if workspace is not None else None)
    with Registry.open(space.registry, create=False) as registry:
        row = registry.find(run)
    for attempt in reversed(RunFolder(space.runs / row.folder).attempts()):
        handle = attempt.handle()
        executor = plugins.load("executors", handle["executor"]) if handle else None
        if executor is not None and hasattr(executor, "jobs"):
            found: list[SlurmJob[Any]] = executor().jobs(attempt.path, handle)
            if found:
                return found
    raise UserError(f"{row.folder} never was on SLURM", "smx show says where it ran; --executor slurm runs it there")
