"""Reserve attempts, write their folders, hand them to an executor. Nothing is started twice.

Order of writes: registry row (reserved, so that nobody else starts the run) -> run folder -> submission
folder -> executor -> handle. A crash between any two leaves a state that the next sync understands.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smx import plugins
from smx.atomic_io import write_json
from smx.control import hooks
from smx.control.code_snapshot import snapshot
from smx.control.plan import Decision
from smx.control.reservations import on_disk_together, record_handles, run_row, submission_folder
from smx.errors import UserError
from smx.executors import BaseExecutor, Job
from smx.processes import is_alive, this_process
from smx.registry.rows import Stamps
from smx.registry.store import Registry
from smx.run import Item, Run
from smx.runfolder import AttemptFolder, RunFolder, now
from smx.spec import SCHEMA, EvalSpec, TrainSpec, kept
from smx.workspace import Workspace
from smx.workspace.provenance import provenance

ENTRY = "smx.node:main"
CANARY = 2  # items that run first, where they are asked to
_QUIET = 1.0  # seconds of waiting for another command that need no word
_ELSEWHERE = 300.0  # seconds for which a launcher on another host is taken to live: its process cannot be looked at
# A scene's frames cost about as much as so many of its questions: 18 questions together took a tenth of the time of
# asking them one by one with its frames each (benchmarks/eval.py), and 18 (s + 1) = 10 (s + 18) makes s = 20.
_SCENE = 20


@dataclass(frozen=True)
class Started:
    """What a submission started. `executor.drive()` is still to be called."""

    executor: BaseExecutor
    attempts: list[tuple[Run, AttemptFolder]]
    taken: list[Run]  # reserved by another command in the meantime


def submit(
    workspace: Workspace,
    registry: Registry,
    decisions: Sequence[Decision],
    *,
    executor: tuple[str, BaseExecutor],
    shards: int = 1,
    max_failed: int | None = None,
    resources: Mapping[str, Any] | None = None,
    canary: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Started:
    """Start every decision whose action is "run". The caller has shown them to the user.

    `resources`: what differs from the site file's, this once. `canary`: of each kind of run the first two items go
    first, and the others wait until both are done. `tell` is given a line where another command is waited for.
    """
    name, driver = executor
    starting = [d for d in decisions if d.action == "run"]
    workspace.require_writable(*(d.run.folder / "attempts" for d in starting))
    asked = {kind: driver.requested_resources(kind, resources) for kind in {d.run.kind for d in starting}}
    for decision in starting:
        _require_shares(decision.run, asked[decision.run.kind])
    submission = uuid.uuid4().hex[:12]
    code = snapshot(workspace) if starting and not driver.in_process else None
    origin = {**provenance(), "snapshot": code.digest if code else None, "submitter": this_process()}
    with registry.transaction():
        for decision in starting:
            registry.add_run(run_row(workspace, decision.run, now()))
            for role, digest in decision.run.inputs.items():
                registry.add_input(decision.run.fingerprint, role, digest)
        # What another command has tried since we decided (and may have ended by now) is not tried again.
        newest = registry.newest_attempts()
        current = [d for d in starting if newest[d.run.fingerprint] == d.tried]
        free = [(d.run.fingerprint, len(d.items)) for d in current]
        reserved = registry.reserve(free, submission=submission, executor=name, provenance=origin)
    mine = [d for d in starting if d.run.fingerprint in reserved]
    try:
        _await_producers(mine, registry, driver, tell)
    except BaseException:  # nothing of ours has begun, and nothing stays claimed
        with registry.transaction():
            for fingerprint, number in reserved.items():
                registry.release(fingerprint, number)
        raise
    stamps = registry.stamps(submission)
    first = _canaries(mine, registry) if canary else {}
    parts = {d.run.fingerprint: _parts(d, shards, first) for d in mine}
    shared = {"executor": name, "submission": submission, "entry": ENTRY, "given": dict(resources or {})}
    shared["plugin_folders"] = [str(folder) for folder in (code.plugin_folders if code else plugins.folders())]
    shared["submitter"] = origin.pop("submitter")
    shared["provenance"] = origin

    def written(decision: Decision) -> AttemptFolder:
        run, number = decision.run, reserved[decision.run.fingerprint]
        plan = {**shared, "attempt": number, "resources": asked[run.kind]}
        plan["canary"] = _named(first.get(run.kind), reserved)
        return _write(run, plan, parts[run.fingerprint], stamps[run.fingerprint], max_failed)

    attempts = {d.run.fingerprint: folder for d, folder in zip(mine, on_disk_together(written, mine), strict=True)}
    jobs = _jobs(mine, attempts, registry, parts, first, resources, code.path if code else None)
    if jobs:
        folder = submission_folder(workspace, submission)
        write_json(folder / "jobs.json", {"folders": [os.path.relpath(job.folder, folder.resolve()) for job in jobs]})
        hooks.expect(workspace, submission)
        handles = driver.submit(submission, folder, jobs)
        record_handles(
            registry,
            name,
            [
                (d.run.fingerprint, attempts[d.run.fingerprint], handle)
                for d, handle in zip(mine, handles, strict=True)
                if handle is not None
            ],
        )
        if refused := _refused(mine, jobs, handles):
            words = sorted({words for _, words in refused})
            raise UserError(f"executor {name} refused {', '.join(what for what, _ in refused)}", "\n".join(words))
    taken = [d.run for d in starting if d.run.fingerprint not in reserved]
    return Started(driver, [(d.run, attempts[d.run.fingerprint]) for d in mine], taken)


def planned(
    workspace: Workspace,
    registry: Registry,
    decisions: Sequence[Decision],
    *,
    shards: int,
    resources: Mapping[str, Any] | None = None,
    canary: bool = False,
) -> list[Job]:
    """The jobs `submit` would make of these decisions as things stand now. Writes nothing."""
    starting = [d for d in decisions if d.action == "run"]
    newest = registry.newest_attempts()
    attempts = {d.run.fingerprint: RunFolder(d.run.folder).attempt(newest[d.run.fingerprint] + 1) for d in starting}
    first = _canaries(starting, registry) if canary else {}
    code = snapshot(workspace, write=False).path if starting else None
    parts = {d.run.fingerprint: _parts(d, shards, first) for d in starting}
    return _jobs(starting, attempts, registry, parts, first, resources, code)


def _await_producers(
    mine: Sequence[Decision], registry: Registry, driver: BaseExecutor, tell: Callable[[str], None]
) -> None:
    """Return once what these runs need of other commands is in its executor's hands, so that it can be waited for.

    Who waits reserved later than who is waited for, so two commands never wait for each other. `UserError` where the
    other one has died, or is on another host, where nobody can look at it, and takes too long.
    """
    here = {d.run.fingerprint for d in mine}
    pause = threading.Event()
    for run, need in {need: (d.run, need) for d in mine for need in d.run.needs if need not in here}.values():
        if not (live := registry.attempts(need, live=True)):
            continue
        row = registry.run(need)
        assert row is not None
        attempt = RunFolder(run.folder.parents[1] / row.folder).attempt(live[-1].attempt)
        submitter = dict(live[-1].provenance["submitter"])
        who = f"another command (process {submitter['pid']} on {submitter['host']})"
        began, told = time.monotonic(), False
        while _being_submitted(attempt, handed_over=not driver.in_process):
            alive, waited = is_alive(submitter), time.monotonic() - began
            if alive is False and _being_submitted(attempt, handed_over=not driver.in_process):
                hint = "type the same command again: it goes on from there"
                raise UserError(f"{who} ended while it was submitting {attempt.run.path.name}", hint)
            if alive is None and waited > _ELSEWHERE:
                hint = f"type the same command again; if that one has died, smx status on {submitter['host']} sees it"
                raise UserError(f"{who} has been submitting {attempt.run.path.name} for {waited:.0f} s", hint)
            if waited > _QUIET and not told:
                bound = f", {_ELSEWHERE:.0f} s at most" if alive is None else ""
                tell(f"waiting for {attempt.run.path.name}: {who} is submitting it{bound}")
                told = True
            pause.wait(0.02)


def _being_submitted(attempt: AttemptFolder, *, handed_over: bool) -> bool:
    """Whether a launcher is still at it. `handed_over`: it is to be known to its executor, too, or refused by it."""
    if not attempt.planned:
        return True
    return handed_over and attempt.handle() is None and any(shard.exit() is None for shard in attempt.shards())


def _require_shares(run: Run, asked: Mapping[str, Any]) -> None:
    """`UserError` where the ranks of a training cannot divide a step among them."""
    ranks = asked.get("tasks", 1) * asked.get("nodes", 1)
    if isinstance(run.spec, TrainSpec) and (left := run.spec.recipe.batch % ranks):
        batch = run.spec.recipe.batch
        neighbours = " or ".join(str(near) for near in (batch - left, batch - left + ranks) if near)
        raise UserError(
            f"{run.title}: {ranks} ranks cannot share the {batch} examples of a step evenly",
            f"--set recipe.batch={neighbours}, or other nodes and tasks for train in the site file",
        )


def _refused(
    decisions: Sequence[Decision], jobs: Sequence[Job], handles: Sequence[Mapping[str, Any] | None]
) -> list[tuple[str, str]]:
    """What was not taken, and the executor's words: whole runs, or shards of one whose others go on."""
    refusals = []
    for decision, job, handle in zip(decisions, jobs, handles, strict=True):
        attempt = AttemptFolder(job.folder)
        ends = [attempt.shard(k).exit() for k in range(job.shards)]
        refused = [end for end in ends if end and (handle is None or end.get("kind") == "submit")]
        if refused:
            part = "" if handle is None else f"{len(refused)} of {len(ends)} shards of "
            words = str(refused[0].get("line") or refused[0].get("reason"))
            refusals.append((part + decision.run.title, words))
    return refusals


def split(items: Sequence[Item], shards: int, each: int = 0) -> list[list[Item]]:
    """Items into at most `shards` parts of about equal cost; a group stays together; order is kept.

    A group costs its items and `each` on top. The same items are always split alike.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    parts: list[list[str]] = [[] for _ in range(min(shards, len(groups)))]
    sizes = [0] * len(parts)
    for group in sorted(groups, key=lambda g: (-len(groups[g]), g)):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(group)
        sizes[smallest] += each + len(groups[group])
    order = {group: k for k, group in enumerate(groups)}
    return [[item for group in sorted(part, key=order.__getitem__) for item in groups[group]] for part in parts]


def _jobs(
    decisions: Sequence[Decision],
    attempts: Mapping[str, AttemptFolder],
    registry: Registry,
    parts: Mapping[str, Sequence[Sequence[Item]]],
    first: Mapping[str, Decision],
    resources: Mapping[str, Any] | None,
    code: Path | None,
) -> list[Job]:
    canaries = {kind: attempts[d.run.fingerprint].path.resolve() for kind, d in first.items()}
    return [
        Job(
            entry=ENTRY,
            folder=attempts[d.run.fingerprint].path.resolve(),
            shards=len(parts[d.run.fingerprint]),
            after=tuple(_producers(d.run, attempts, registry)),
            resources=resources or {},
            kind=d.run.kind,
            canary=canaries.get(d.run.kind),
            code=code,
        )
        for d in decisions
    ]


def _canaries(decisions: Sequence[Decision], registry: Registry) -> dict[str, Decision]:
    """Kind -> the decision whose first items go first: one that waits for nothing, where there is one.

    None for kinds with no more items than that, and none for train, whose steps come one after the other.
    """
    here = {d.run.fingerprint for d in decisions}
    found = {}
    for kind in ("gen", "eval"):
        of_kind = [d for d in decisions if d.run.kind == kind]
        if sum(len(d.items) for d in of_kind) > CANARY:
            found[kind] = min(
                of_kind, key=lambda d: any(need in here or registry.attempts(need, live=True) for need in d.run.needs)
            )
    return found


def _write(
    run: Run, plan: Mapping[str, Any], parts: Sequence[Sequence[Item]], stamps: Stamps, max_failed: int | None
) -> AttemptFolder:
    """The run's spec.json, where there is none, and the attempt's plan.json: `plan`, and what follows from the run."""
    if not (run.folder / "spec.json").exists():
        write_json(
            run.folder / "spec.json",
            {
                "schema": SCHEMA,
                "fingerprint": run.fingerprint,
                "kind": run.kind,
                "name": run.name,
                "spec": kept(run.spec),
                "plugins": run.plugins,
                "inputs": run.inputs,
                "created": stamps.run,
            },
        )
    attempt = RunFolder(run.folder).attempt(plan["attempt"])
    if attempt.planned:
        raise AssertionError(f"{attempt.path} exists, but the registry did not know it: smx db rebuild")
    write_json(
        attempt.path / "plan.json",
        {
            **plan,
            "created": stamps.attempt,
            "submitted": stamps.submission,
            "labels": run.labels,
            "of": len(run.items),
            "training": run.spec.recipe.carried_out() if isinstance(run.spec, TrainSpec) else {},
            "needs": list(run.needs),
            "max_failed": _may_fail(len(run.items)) if max_failed is None else max_failed,
            "paths": run.paths,
            "shards": [[vars(item) for item in part] for part in parts],
        },
    )
    return attempt


def _may_fail(items: int) -> int:
    """How many items of a run may fail where nobody says: one in a hundred or one, but not the only one there is."""
    return min(max(1, items // 100), items - 1)


def _parts(decision: Decision, shards: int, first: Mapping[str, Decision]) -> Sequence[Sequence[Item]]:
    """The items of each shard; those of a canary are a shard of their own, before the others."""
    items = decision.items
    if decision.run.kind == "train":
        return [items]
    each = _SCENE if isinstance(spec := decision.run.spec, EvalSpec) and _is_shared(spec) else 0
    if first.get(decision.run.kind) is not decision:
        return split(items, shards, each)
    return [items[:CANARY], *split(items[CANARY:], shards, each)]


def _is_shared(spec: EvalSpec) -> bool:
    """Whether a scene's frames are encoded once for all its questions, and at all."""
    return spec.loop == "shared" and not spec.blind and spec.sampler != "none"


def _producers(run: Run, attempts: Mapping[str, AttemptFolder], registry: Registry) -> list[Path]:
    """Attempt folders this run waits for: in this submission, or in flight from an earlier one."""
    found = []
    for need in run.needs:
        if need in attempts:
            found.append(attempts[need].path.resolve())
        elif live := registry.attempts(need, live=True):
            row = registry.run(need)
            assert row is not None
            found.append(RunFolder(run.folder.parents[1] / row.folder).attempt(live[-1].attempt).path.resolve())
    return found


def _named(canary: Decision | None, numbers: Mapping[str, int]) -> dict[str, Any] | None:
    """A canary as the plans of those that wait for it name it: the run's folder and the attempt. Shard 0 is meant."""
    return None if canary is None else {"run": canary.run.title, "attempt": numbers[canary.run.fingerprint]}
