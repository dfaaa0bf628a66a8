"""Executors: where a run's shards are computed. One file each, `class Executor(BaseExecutor)`.

An executor knows nothing of what a job does: it is handed an entry point ("smx.node:main") and attempt folders.
It must submit, recover, poll and cancel; all else has a default. What it returns from `submit` is plain JSON and is all
it gets back later, by another process on another day.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from smx.errors import UserError
from smx.finding import Finding
from smx.options import Options
from smx.states import SchedulerState


@dataclass(frozen=True)
class Job:
    """One attempt of one run: `shards` tasks that each call `entry(attempt folder, shard index)`."""

    entry: str  # "package.module:function", called with (Path, int), returns an exit code
    folder: Path  # the attempt's folder; its absolute path is the job's identity
    shards: int = 1
    after: tuple[Path, ...] = ()  # attempt folders, of this or an earlier submission, that must end well first
    resources: Mapping[str, Any] = field(default_factory=dict)  # what differs from the site file's, this once
    kind: str = ""  # a label the site file may give resources of its own: gen, train, eval
    canary: Path | None = None  # attempt folder (its own, too) whose first shard must end well before the rest begins
    code: Path | None = None  # copy of the code to run (smx.control.code_snapshot); None: the one that is running now


@dataclass(frozen=True)
class ShardStatus:
    """One shard, as the executor sees it now."""

    state: SchedulerState
    where: str = ""  # host, pid, node
    reason: str = ""  # in words: why it waits, who cancelled it
    record: Mapping[str, Any] = field(default_factory=dict)  # of an ended job, as smx.failures.classify reads it


@dataclass(frozen=True)
class ShardOutcome:
    """One shard of an attempt that has ended."""

    handle: Mapping[str, Any]  # the attempt's
    shard: int
    at: str  # ISO time
    failure: Mapping[str, Any] | None  # as JSON; None where it ended well


class BaseExecutor(Options):
    """Contract of an executor plugin. Fields are its options (from the site file)."""

    poll_interval: ClassVar[float] = 15.0  # seconds to leave between two polls while someone waits
    canaries: ClassVar[bool] = False  # whether it heeds `Job.canary`
    stand_ins: ClassVar[bool] = True  # whether rooms and a tiny model may serve where no data or weights are configured
    # Whether the work is done by `drive`, in the process that submits: only there it can be stopped, and there it
    # prints. Jobs of all others may begin later, so they run a copy of the code as it is now.
    in_process: ClassVar[bool] = False

    def check(self, kinds: Collection[str], changes: Mapping[str, Any] | None = None) -> None:
        """`UserError` for what jobs of these kinds would be refused for, before anything is written.

        `changes`: what differs from the site file's resources, this once.
        """

    def requested_resources(self, kind: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What each shard of a run of this kind asks of a scheduler, plain JSON; empty where there is none.

        Keys: `partition`, `nodes`, `tasks` (per node), `gpus` (per node), `gpu_type`, `cpus` (per task), `memory`
        (per node, "64G"), `time` ("1-12:00:00"); one that is not asked for is left out.
        """
        return {}

    def gives_gpu(self, kind: str) -> bool:
        """Whether a run of this kind will find a GPU, known without asking it: for executors of this machine, its own.

        Without torch, which the login node does not import: a driver's device file, no empty CUDA_VISIBLE_DEVICES, and
        a torch that is not built for CPUs alone.
        """
        return gpu_here()

    def scaled_resources(self, kind: str, before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
        """`wanted` (memory, time, nodes to exclude) as changes for another attempt at a run of this kind.

        `before`: what the last attempt asked for; `x2` means twice that. `UserError` where it cannot be.
        """
        raise UserError(f"this executor asks for no {' or '.join(wanted)}", "it is for runs on SLURM")

    def examine(self, asked: bool) -> list[Finding]:
        """What work would meet here, for `smx doctor`; `asked`: the site file names this executor. Starts nothing."""
        return []

    def site_file(self) -> str:
        """Text of a site file for this place, from what can be found out. `UserError` where there is no such place."""
        raise UserError("this executor needs no site file", "smx init --slurm is for a cluster")

    def preview(self, jobs: Sequence[Job]) -> str:
        """What `submit` would hand over, for people to read. Writes nothing."""
        return ""

    @abstractmethod
    def submit(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        """Hand over `jobs`; one handle (plain JSON) per job, None for one that was refused.

        `submission` is an id that was written down before this call; `folder` is the submission's own, for
        scripts and queues. A refused job's shards say why in their exit.json. A second call with the same id must
        find the first one's jobs, not start them again.
        """

    @abstractmethod
    def recover(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        """Handles of what a `submit` whose answer was lost did start; None where it started nothing."""

    def drive(self) -> None:
        """Do the work, for an executor that works in the calling process. Others have nothing to do here."""

    @abstractmethod
    def poll(self, handles: Sequence[Mapping[str, Any]]) -> list[list[ShardStatus]]:
        """One status per shard for each handle, in order. Never raises because a source is down.

        A handle may say besides since when nothing could be said of it: `doubted`, an ISO time, or None.
        """

    def brake(self, ends: Sequence[ShardOutcome]) -> None:
        """Hold what has not begun beside these, where they keep failing the same way. Never raises."""

    def withdraw(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """Take back what was held by `brake`; what runs goes on."""

    @abstractmethod
    def cancel(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """Ask these to stop, dependants too. Already ended ones are left alone."""


def gpu_here() -> bool:
    """Whether torch would find a GPU on this machine, by its driver's device files."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    devices = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()
    return devices and not hidden and "+cpu" not in _version_of("torch")


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def start(code: Path | None, module: str) -> list[str]:
    """Arguments of Python that run `module` of smx: from a copy of the code, or as it is installed here."""
    return ["-m", module] if code is None else [str(code), module]
