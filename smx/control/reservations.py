"""How runs and attempts are entered in the registry: what submit and sync both need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from smx import plugins
from smx.atomic_io import write_json
from smx.errors import unknown
from smx.executors import BaseExecutor
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.run import Run
from smx.runfolder import AttemptFolder
from smx.spec import AnySpec, EvalSpec, GenSpec, TrainSpec, canonical, kept
from smx.workspace import Workspace

Task = TypeVar("Task")
Result = TypeVar("Result")
_WRITERS = 8  # files written at once: each waits for the disk, and the disk takes many together


def on_disk_together(work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    """What `work` makes of each task, in their order; where it waits for the disk, several wait together."""
    size = -(-len(tasks) // _WRITERS) or 1  # a share for each thread: handing over tasks one by one takes longer
    shares = [tasks[first : first + size] for first in range(0, len(tasks), size)]
    with ThreadPoolExecutor(_WRITERS) as pool:
        return [result for share in pool.map(lambda share: list(map(work, share)), shares) for result in share]


def run_row(workspace: Workspace, run: Run, created: str) -> RunRow:
    """A run as the registry keeps it."""
    spec = run.spec
    return RunRow(
        fingerprint=run.fingerprint,
        kind=spec.kind,
        name=run.name,
        folder=run.folder.relative_to(workspace.runs).as_posix(),
        variant=None if isinstance(spec, GenSpec) else spec.model,
        sampler=spec.sampler,
        frames=spec.frames,
        bench=spec.bench_name if isinstance(spec, EvalSpec) else None,
        dataset=_data(spec),
        seed=spec.seed,
        spec=canonical(kept(spec)),
        labels=run.labels,
        items=len(run.items),
        created=created,
        updated=created,
    )


def _data(spec: AnySpec) -> str | None:
    if isinstance(spec, GenSpec):
        return spec.dataset
    return "+".join(spec.data) if isinstance(spec, TrainSpec) else None


def record_handles(
    registry: Registry, executor: str, answers: Sequence[tuple[str, AttemptFolder, Mapping[str, Any]]]
) -> None:
    """Keep what the executor of that name answered of (fingerprint, attempt): in the folders, then in the registry."""
    # Under the name it has here: one that another inherits from knows only its own.
    answers = [(fingerprint, attempt, {**handle, "executor": executor}) for fingerprint, attempt, handle in answers]
    on_disk_together(lambda answer: write_json(answer[1].path / "handle.json", answer[2]), answers)
    with registry.transaction():
        for fingerprint, attempt, handle in answers:
            registry.update_attempt(fingerprint, attempt.number, handle=dict(handle), job=handle.get("job"))


def submission_folder(workspace: Workspace, submission: str) -> Path:
    """Where a submission keeps its queue or scripts."""
    return workspace.runs / ".submissions" / submission


def executor_for(workspace: Workspace, name: str | None) -> tuple[str, BaseExecutor]:
    """The executor by name, with its options from the site file; without a name the site's default, else inline."""
    if name is None:
        name = workspace.site.executor if workspace.site else "inline"
    if name == "":  # from an unset variable in a script: not on this machine by mistake
        raise unknown("executor", "", plugins.names("executors"), "smx list executors")
    options = workspace.site.executors.get(name, {}) if workspace.site else {}
    executor: BaseExecutor = plugins.load("executors", name).parse(options, f"executor {name}")
    return name, executor
