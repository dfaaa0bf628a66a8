"""Try runs again from their own folders, without the command that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from smx import plugins
from smx.control.cancel import SOON, STOPPING, still_live, with_dependants
from smx.control.code_changes import change_of, with_todays_code
from smx.control.launch import Batch, Launch, LaunchOptions, asked_for, carry_out, in_doubt
from smx.control.plan import Decision, decide
from smx.control.progress import Listener
from smx.control.reservations import executor_for
from smx.control.sync import refresh, run_of
from smx.control.wait import wait_for
from smx.digests import DIGESTS, digests_in, inputs_digest, remembering
from smx.errors import SceneError, UserError
from smx.executors import BaseExecutor
from smx.failures import TOGETHER
from smx.registry.live_queries import HELD, bad_nodes
from smx.registry.reading import registry_as_it_is
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.resolve import unique
from smx.run import Run
from smx.runfolder import AttemptFolder, RunFolder
from smx.spec import GenSpec
from smx.states import UNFINISHED, RunState
from smx.workspace import Workspace
from smx.workspace.storage import warnings

_ORDER = ("gen", "train", "eval")  # producers first
_NAMED = 3  # scenes named in a line


def retry(
    workspace: Workspace,
    runs: Sequence[str] = (),
    *,
    filters: Mapping[str, Any] | None = None,
    failures: Sequence[str] = (),
    memory: str | None = None,
    time: str | None = None,
    exclude_bad_nodes: bool = False,
    executor: str | None = None,
    dry_run: bool = False,
    watch: bool = False,
    listener: Listener | None = None,
) -> Launch:
    """Start what is left of these runs (names as people write them), and of the runs they need.

    Without names: every run that fits `filters` (those of `Registry.runs`) and failed or ended early, and the failed
    items of runs that are done; with `failures`, kinds of smx.failures, only what failed in one of these ways. What
    somebody cancelled is left alone unless it is named or asked for. `memory` ("64G", or "x2" of the last attempt's),
    `time` in the same way and `exclude_bad_nodes` hold for the runs asked for. Each goes where it ran last, or to
    `executor`. No decisions: there is nothing to try again. `UserError` as from `launch`.
    """
    listener = listener or Listener()
    filters = filters or {}
    failures = [kind for word in failures for kind in TOGETHER.get(word, (word,))]
    options = LaunchOptions(executor=executor, dry_run=dry_run, watch=watch)
    plugins.forget_edited()
    with registry_as_it_is(workspace, listener.say) as registry:
        refresh(workspace, registry, listener.say)
        if runs:
            rows = among = [registry.find(name) for name in runs]
        else:
            rows, left = _candidates(workspace, registry, filters, failures)
            among = registry.runs(**filters)
            if left:
                listener.say(f"left alone: {left} cancelled (--kind cancelled starts them again)")
        rows = _taken_back(workspace, registry, among, rows, failures, dry_run, listener)
        if not rows:
            return Launch([])
        more: dict[str, Any] = {key: value for key, value in (("memory", memory), ("time", time)) if value}
        if exclude_bad_nodes and (bad := _bad_nodes(registry, listener)):
            more["exclude"] = bad
        decided = _decided(workspace, registry, rows, named=bool(runs), listener=listener)
        if not decided:
            return Launch([])
        decisions = [decision for decision, _ in decided]
        listener.decided(decisions)
        batches = _batches(workspace, decided, executor, more)
        if not dry_run:
            workspace.require_writable()
            workspace.share()
            if missing := warnings(workspace):
                listener.say(f"warning: {missing} (smx doctor)")
        carry_out(workspace, registry, batches, options, listener)
        rows = [] if dry_run else asked_for(registry, decisions)
        return Launch(decisions, rows, in_doubt=not dry_run and in_doubt(registry, decisions))


def _candidates(
    workspace: Workspace, registry: Registry, filters: Mapping[str, Any], failures: Sequence[str]
) -> tuple[list[RunRow], int]:
    """Runs to try again, and how many cancelled ones were left out."""
    chosen, left = [], 0
    for row in registry.runs(**filters):
        if row.state not in UNFINISHED and not (row.state == RunState.done and row.failed):
            continue
        failure = registry.attempts(row.fingerprint)[-1].failure if row.state != RunState.done else None
        kinds = {failure["kind"]} if failure else set()
        if row.failed:
            result = RunFolder(workspace.runs / row.folder).result() or {}
            kinds |= {error["kind"] for error in result.get("errors", ())}
        cancelled = kinds == {"cancelled"} or (
            kinds == {"dependency"} and _dependency_cancelled(workspace, registry, row)
        )
        if failures:
            if kinds & set(failures) or (cancelled and "cancelled" in failures):
                chosen.append(row)
        elif cancelled and RunState.cancelled not in filters.get("state", ()):
            left += 1
        else:
            chosen.append(row)
    return chosen, left


def _dependency_cancelled(workspace: Workspace, registry: Registry, row: RunRow) -> bool:
    """Whether it ended because a run it needs was cancelled, which to try it again would start as well."""
    for fingerprint in RunFolder(workspace.runs / row.folder).attempts()[-1].plan["needs"]:
        need = registry.run(fingerprint)
        if need is None or need.state not in UNFINISHED:
            continue
        kind = (registry.attempts(fingerprint)[-1].failure or {}).get("kind")
        if kind == "cancelled" or (kind == "dependency" and _dependency_cancelled(workspace, registry, need)):
            return True
    return False


def _taken_back(
    workspace: Workspace,
    registry: Registry,
    among: Sequence[RunRow],
    rows: list[RunRow],
    failures: Sequence[str],
    dry_run: bool,
    listener: Listener,
) -> list[RunRow]:
    """`rows` and what `among` them smx itself held, with what waits for that: out of the queue, to be started anew.

    Released as they are they would run the code and ask for the resources that failed.
    """
    live = {row.fingerprint: row for row in registry.attempts(live=True)}
    of_kind = [f"({kind}: " for kind in failures] or [""]
    held = [
        row.fingerprint
        for row in among
        if row.fingerprint in live
        and (reason := live[row.fingerprint].reason or "").startswith(HELD)
        and any(kind in reason for kind in of_kind)
    ]
    targets = with_dependants(workspace, registry, live, held)
    waiting = [row for fingerprint in targets if (row := registry.run(fingerprint))]
    if dry_run or not targets:
        for row in waiting:
            listener.say(f"{row.title} is held: it would be taken back and started anew")
        return rows
    handles: dict[str, list[dict[str, Any]]] = {}
    for fingerprint in targets:
        if handle := live[fingerprint].handle:
            handles.setdefault(live[fingerprint].executor, []).append(dict(handle))
    for name, theirs in handles.items():
        executor_for(workspace, name)[1].withdraw(theirs)
    wait_for(workspace, registry, targets, first=SOON, seconds=STOPPING * 5)
    going = still_live(registry, targets)
    for row in waiting:
        if row.fingerprint in going:
            listener.say(f"{row.title} still runs in part: smx retry once that has ended")
    already = {row.fingerprint for row in rows}
    back = [row for fingerprint in targets if fingerprint not in going and (row := registry.run(fingerprint))]
    return [*rows, *(row for row in back if row.fingerprint not in already)]


def _bad_nodes(registry: Registry, listener: Listener) -> list[str]:
    bad = bad_nodes(registry)
    listed = ", ".join(f"{node.name} ({node.failures})" for node in bad)
    listener.say(f"left out: {listed}" if bad else "no node is known to be bad")
    return [node.name for node in bad]


def _decided(
    workspace: Workspace, registry: Registry, rows: Sequence[RunRow], *, named: bool, listener: Listener
) -> list[tuple[Decision, Run]]:
    """What is left of these, and of the runs they need that are not done; each with the run that was tried before.

    They are other runs where a plugin was edited since. Where that cannot be, a run that was `named` is an error, and
    another is left alone.
    """
    runs: dict[str, Run] = {}
    changed: dict[str, bool] = {}  # whether a plugin of it was edited since
    todo = list(rows)
    for row in todo:  # grows while it is read
        folder = RunFolder(workspace.runs / row.folder)
        if not folder.attempts():
            raise UserError(f"{folder.path.name} was never tried", "the command that asked for it starts it")
        run = _here(workspace, registry, run_of(folder))
        try:
            changed[row.fingerprint] = bool(change_of(run))
        except UserError as gone:  # a plugin's file was deleted
            if not named:
                listener.say(f"left alone: {run.title}: {gone.message}")
                continue
            changed[row.fingerprint] = False  # said below, if anything is left to do
        runs[row.fingerprint] = run
        needed = [need for fingerprint in run.needs if fingerprint not in runs and (need := registry.run(fingerprint))]
        todo += [need for need in needed if need.state != RunState.done or changed[row.fingerprint]]
    # Where nothing is left to do, it does not matter what its code is today, but for what is made anew by that code.
    left = {d.run.fingerprint for d in decide([*runs.values()], registry, asked=set(), retry=True) if d.action == "run"}
    anew = left | {need for fingerprint in left if changed[fingerprint] for need in runs[fingerprint].needs}
    became: list[tuple[Run, Run]] = []
    asked = {row.fingerprint for row in rows}
    for run in sorted(runs.values(), key=lambda run: _ORDER.index(run.kind)):
        if run.fingerprint not in anew:
            became.append((run, run))
            continue
        try:
            now = with_todays_code(run, became, goes_on=run.fingerprint in left)
            became.append((run, _with_mended_data(workspace, now, listener)))
        except UserError as error:
            if named:
                raise
            listener.say(f"left alone: {error.message}")
    asked = {now.fingerprint for then, now in became if then.fingerprint in asked}
    tried = {now.fingerprint: then for then, now in became}
    decisions = decide(unique([now for _, now in became]), registry, asked=asked, retry=True)
    # What another run has replaced is nobody's to try again, once that one is done.
    return [
        (decision, then)
        for decision, then in ((decision, tried[decision.run.fingerprint]) for decision in decisions)
        if named or decision.action != "skip" or then.fingerprint == decision.run.fingerprint
    ]


def _with_mended_data(workspace: Workspace, run: Run, listener: Listener) -> Run:
    """`run` with the files of its scenes as they are now, where it has no sample of them: those may be mended ones."""
    root = run.paths.get("dataset")
    if not isinstance(run.spec, GenSpec) or root is None:
        return run
    done = RunFolder(run.folder).outcome().done
    left = {item.id: item for item in run.items if item.id not in done and item.data}
    dataset = plugins.load("datasets", run.spec.dataset).parse(run.spec.dataset_options, f"dataset {run.spec.dataset}")
    try:
        with remembering(digests_in(workspace.cache / DIGESTS)):
            read = dataset.inputs(Path(root), list(left))
    except (UserError, SceneError, OSError):  # its folder is gone: each item says so
        return run
    mended = {i: data for i in left if i in read and (data := inputs_digest(read[i])) != left[i].data}
    if not mended:
        return run
    names = ", ".join([*mended][:_NAMED]) + (" …" if len(mended) > _NAMED else "")
    listener.say(f"{run.title}: files have changed since it ran, of {len(mended)} scenes without a sample: {names}")
    return replace(run, items=tuple(replace(i, data=mended.get(i.id, i.data)) for i in run.items))


def _here(workspace: Workspace, registry: Registry, run: Run) -> Run:
    """`run` with the workspace's own places as they are now: it may have been moved since the last attempt."""
    own = {"samples": workspace.samples, "cache": workspace.cache, "output": run.folder / "checkpoint"}
    role, _, trained = run.inputs.get("checkpoint", "").partition(":")
    if role == "train" and (row := registry.run(trained)):
        own["checkpoint"] = workspace.runs / row.folder / "checkpoint"
    return replace(run, paths={name: str(own.get(name, path)) if path else path for name, path in run.paths.items()})


def _batches(
    workspace: Workspace, decided: Sequence[tuple[Decision, Run]], executor: str | None, more: Mapping[str, Any]
) -> list[Batch]:
    """Decisions that are alike together, producers first, each checked by its executor."""
    executors: dict[str, BaseExecutor] = {}
    together: dict[_Alike, list[Decision]] = {}
    for decision, tried in decided:
        last = RunFolder(tried.folder).attempts()[-1]
        name = last.plan["executor"] if executor is None else executor
        if name not in executors:
            executors[name] = executor_for(workspace, name)[1]
        changes = more if decision.asked and decision.action == "run" else {}
        together.setdefault(_alike(decision, last, name, executors[name], changes), []).append(decision)
    batches = [
        Batch(group, alike.executor, executors[alike.executor], alike.shards, alike.max_failed, json.loads(alike.given))
        for alike, group in sorted(together.items(), key=lambda entry: entry[0])
    ]
    for batch in batches:
        batch.executor.check({d.run.kind for d in batch.decisions}, batch.resources)
    return batches


class _Alike(NamedTuple):
    """What runs must share to be one submission, in the order they are handed over."""

    order: int
    executor: str
    shards: int
    max_failed: int
    given: str  # JSON: what differs from the site file


def _alike(
    decision: Decision, last: AttemptFolder, name: str, executor: BaseExecutor, more: Mapping[str, Any]
) -> _Alike:
    plan = last.plan
    own = plan.get("canary") == {"run": last.run.path.name, "attempt": last.number}
    # What was given for the last attempt holds for this one; but nodes are left out only while they are bad.
    same = name == plan["executor"]  # what was given to another executor means nothing to this one
    given = {k: v for k, v in plan.get("given", {}).items() if k != "exclude" and same}
    if more:
        given |= executor.scaled_resources(decision.run.kind, plan.get("resources", {}), more)
    order = _ORDER.index(decision.run.kind)
    return _Alike(order, name, max(1, len(plan["shards"]) - own), plan["max_failed"], json.dumps(given, sort_keys=True))
