"""The door for Python: what a notebook or a script asks of a workspace. `import smx; lab = smx.open("~/lab")`.

What is asked of the command line can be asked here, of the same functions: `smx.control` starts, follows and stops
runs, `smx.registry` remembers them, `smx.report` makes tables. Only where a DataFrame is asked for is pandas imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx import plugins
from smx.api.lab import Lab
from smx.api.runs import LabRun, Runs
from smx.api.show import SampleView, ScoreTable, Text
from smx.errors import UserError
from smx.runfolder import RunFolder
from smx.workspace import find, is_workspace

if TYPE_CHECKING:
    from submitit import SlurmJob

__all__ = ["Lab", "LabRun", "Runs", "SampleView", "ScoreTable", "Text", "job", "open"]


def open(workspace: str | Path | None = None) -> Lab:
    """A workspace; without a name the one that the command line would find from here.

    `UserError` where the named folder is no workspace.
    """
    if workspace is None:
        return Lab(find())
    folder = Path(workspace).expanduser()
    if not is_workspace(folder):
        lacks = "it has no registry.db and no experiments/" if folder.is_dir() else "there is no such folder"
        raise UserError(f"{folder} is no workspace: {lacks}", f"smx init {folder}")
    return Lab(find(folder))


def job(run: str, workspace: str | Path | None = None) -> list[SlurmJob[Any]]:
    """submitit's jobs of a run's newest attempt on SLURM, one for each shard that SLURM took.

    `run`: its name, fingerprint or job id; `workspace`: found as the command line finds it where none is given.
    `.stdout()`, `.stderr()`, `.state` and `.cancel()` work; what was computed is in the run folder, not in `.result()`.
    `UserError` where no such run is, or it never was on SLURM.
    """
    from smx.registry.store import Registry

    space = open(workspace).workspace
    with Registry.open(space.registry, create=False) as registry:
        row = registry.find(run)
    for attempt in reversed(RunFolder(space.runs / row.folder).attempts()):
        handle = attempt.handle()
        executor = plugins.load("executors", handle["executor"]) if handle else None
        if executor is not None and hasattr(executor, "jobs"):
            jobs: list[SlurmJob[Any]] = executor().jobs(attempt.path, handle)
            if jobs:
                return jobs
    raise UserError(f"{row.folder} never was on SLURM", "smx show says where it ran; --executor slurm runs it there")
