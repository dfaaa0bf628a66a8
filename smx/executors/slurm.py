"""On a SLURM cluster: one array per group of equal resources; nothing of smx has to keep running."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from smx.atomic_io import read_json, write_json
from smx.errors import UserError
from smx.executors import BaseExecutor, Job, ShardOutcome, ShardStatus
from smx.executors._slurm.circuit_breaker import brake
from smx.executors._slurm.commands import Cluster, ask, cluster, listed
from smx.executors._slurm.diagnostics import examine, names_of_user
from smx.executors._slurm.job_arrays import CODE, Part, divide, one_task
from smx.executors._slurm.job_status import facts
from smx.executors._slurm.limits import check
from smx.executors._slurm.options import Resources
from smx.executors._slurm.preview import preview
from smx.executors._slurm.site_text import AUTO, pick, site_text
from smx.executors._slurm.submit import handles, launch_all
from smx.finding import Finding

if TYPE_CHECKING:
    from submitit import SlurmJob

_ASKED = ("partition", "nodes", "tasks", "gpus", "gpu_type", "cpus", "memory", "time")


class Executor(Resources, BaseExecutor):
    """submitit launches, one array at a time: it checks the parameters and writes the script (`_slurm.array_executor`).

    smx says what each task does (a map beside the script), which tasks wait for which, and keeps what submitit 1.5
    lacks: answers of sbatch that were lost are looked up by the job's name, squeue and sacct are asked for all jobs at
    once and believed only where they answer, canaries go first, arrays that keep failing are held, and a task that is
    stopped starts again at the item it was at.
    """

    canaries: ClassVar[bool] = True
    stand_ins: ClassVar[bool] = False

    kinds: dict[Literal["gen", "train", "eval"], dict[str, Any]] = Field(
        default_factory=dict, description="what differs per kind of run: {gen: {gpus: 0, partition: cpu}}"
    )
    lost_after: float = Field(120, ge=0, description="seconds for which nobody knows of a job until it is lost")
    _cluster: Cluster | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        for kind in self.kinds:
            self.resources(kind)

    def resources(self, kind: str, changes: Mapping[str, Any] | None = None) -> Resources:
        """What a run of this kind asks for. `UserError` names a misspelt key."""
        found = self.changed(dict(self.kinds.get(kind, {})), f"executor slurm, kinds.{kind}")  # type: ignore[call-overload]
        found = found.changed(changes, f"resources of {kind}") if changes else found
        if found.partition != AUTO or self._cluster is None:  # no cluster: the site file is only being read
            return found
        return found.changed({"partition": pick(self._cluster, found, kind)[0].name}, f"resources of {kind}")

    def check(self, kinds: Collection[str], changes: Mapping[str, Any] | None = None) -> None:
        if shutil.which("sbatch") is None:
            raise UserError(
                "there is no SLURM here: sbatch is not on PATH",
                "run it on the cluster's login node, or with --executor local",
            )
        self._cluster = cluster()
        from smx.executors._slurm.array_executor import ArrayExecutor

        for kind in sorted(kinds):
            asked = self.resources(kind, changes)
            check(self._cluster, asked, kind)
            ArrayExecutor(one_task(asked), "check")  # submitit's own look at the parameters

    def requested_resources(self, kind: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        asked = self.resources(kind, changes).model_dump(include=set(_ASKED))
        return {key: asked[key] for key in _ASKED if asked[key] is not None}

    def gives_gpu(self, kind: str) -> bool:
        """Where the site file asks for one."""
        return self.resources(kind).gpus > 0

    def scaled_resources(self, kind: str, before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
        site = self.resources(kind)
        base = {key: before[key] for key in wanted if key in before}
        more = {**wanted, "exclude": list(dict.fromkeys([*site.exclude, *wanted.get("exclude", ())]))}
        found = site.changed(base, f"the last attempt's {kind}").changed(more, f"resources of {kind}")
        return {key: getattr(found, key) for key in wanted}

    def site_file(self) -> str:
        here = cluster()
        return site_text(here, *names_of_user(here))

    def examine(self, asked: bool) -> list[Finding]:
        with contextlib.suppress(UserError):  # the look itself tells it
            self._cluster = cluster() if shutil.which("scontrol") else None
        return examine(self.resources, asked)

    def preview(self, jobs: Sequence[Job]) -> str:
        parts = self._parts(jobs)
        assert self._cluster is not None
        why = []
        for kind in sorted({job.kind for job in jobs}):
            asked = self.changed(dict(self.kinds.get(kind, {})), kind)  # type: ignore[call-overload]
            if asked.partition == AUTO:
                partition, reason = pick(self._cluster, asked, kind)
                why.append(f"# {kind}: partition {partition.name} of all that fit: {reason}\n")
        return "".join(why) + preview(parts)

    def submit(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        if (folder / "parts.json").exists():
            return self.recover(submission, folder, jobs)
        from smx.executors._slurm.array_executor import ArrayExecutor

        parts = self._parts(jobs)
        arrays = [ArrayExecutor(part, submission, folder) for part in parts]
        if code := jobs[0].code:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CODE).symlink_to(os.path.relpath(code, folder.resolve()))
        for array in arrays:
            array.prepare()
        # From here on any of these names may be a job: whoever comes later looks them up.
        write_json(folder / "parts.json", {"at": time.time(), "names": [array.job_name for array in arrays]})
        launch_all(arrays, parts)
        return handles(folder, jobs)

    def recover(self, submission: str, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        if read_json(folder / "parts.json") is None:
            return [None] * len(jobs)
        return handles(folder, jobs)

    def poll(self, handles: Sequence[Mapping[str, Any]]) -> list[list[ShardStatus]]:
        return facts(handles, self.lost_after)

    def brake(self, ends: Sequence[ShardOutcome]) -> None:
        brake(ends)

    def jobs(self, attempt: Path, handle: Mapping[str, Any]) -> list[SlurmJob[Any]]:
        """submitit's jobs of an attempt, one for each shard that SLURM took; `attempt`: its folder."""
        from smx.executors._slurm.array_job import array_jobs

        return array_jobs(attempt, handle)

    def withdraw(self, handles: Sequence[Mapping[str, Any]]) -> None:
        self._cancel(handles, "--state=PENDING")

    def cancel(self, handles: Sequence[Mapping[str, Any]]) -> None:
        """Tasks that wait for these are cancelled by SLURM itself, because what they wait for never comes."""
        self._cancel(handles)

    def _cancel(self, handles: Sequence[Mapping[str, Any]], *options: str) -> None:
        shards = [shard for handle in handles for shard in handle["shards"]]
        tasks = [f"{job}_{index}" for job, index, _ in shards if job]
        # Jobs whose id sbatch never told, or of which there are two.
        nameless = any(name and not job for job, _, name in shards)
        tasks += _appeared({(name, index) for _, index, name in shards if name}, tasks, needed=nameless)
        for first in range(0, len(tasks), 1000):
            answer = ask(["scancel", "--quiet", *options, *tasks[first : first + 1000]])
            # With --quiet it ends with 1 and says nothing where one of them was over before it came.
            if not answer.ok and (answer.words or answer.code != 1):
                raise UserError(f"scancel: {answer.words}", "what it did not reach goes on; try again")

    def _parts(self, jobs: Sequence[Job]) -> list[Part]:
        self._cluster = self._cluster or cluster()
        asked: dict[tuple[str, str], Resources] = {}  # those of a submission want the same, but for their kinds
        wanted = {}
        for job in jobs:
            key = job.kind, repr(job.resources)
            wanted[job.folder] = asked[key] = asked.get(key) or self.resources(job.kind, job.resources)
        # A kind's own throttle is its own; what the site file says of all kinds holds for all of them together.
        scopes = {job.folder: job.kind if "throttle" in self.kinds.get(job.kind, {}) else "" for job in jobs}  # type: ignore[call-overload]
        return divide(jobs, wanted, self._cluster.array_size, scopes)


def _appeared(wanted: Collection[tuple[str, int]], known: Collection[str], *, needed: bool) -> list[str]:
    """Further tasks that SLURM has of (name, index), besides `known`. `UserError` where it cannot say."""
    answer, records = listed({name for name, _ in wanted})
    if not answer.ok and needed:
        raise UserError(f"squeue: {answer.words}", "nothing was stopped; try again when squeue works")
    tasks = (f"{record.job}_{record.index}" for record in records if (record.name, record.index) in wanted)
    return [task for task in dict.fromkeys(tasks) if task not in known]
