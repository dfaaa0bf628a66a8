"""How runs are tried again from their own folders, without the command that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from smx.cli._common import out, out_json, say
from smx.cli._launch import Launch, _as_json, following, show_decisions, summary, wait
from smx.errors import UserError

if TYPE_CHECKING:
    from smx.registry.rows import RunRow
    from smx.registry.store import Registry
    from smx.run import Decision, Run
    from smx.runfolder import AttemptFolder
    from smx.workspace import Workspace

_ORDER = ("gen", "train", "eval")  # producers first


def again(
    workspace: Workspace,
    registry: Registry,
    rows: Sequence[RunRow],
    *,
    executor: str | None,
    more: Mapping[str, Any],
    dry_run: bool,
    watch: bool,
    as_json: bool,
) -> int:
    """Start what is left of `rows`, and of the runs they need. Returns the exit code.

    `more`: memory, time and nodes to exclude that differ from what each of `rows` asked for last.
    """
    from smx.control.plan import decide
    from smx.control.reservations import executor_for
    from smx.control.submit import planned, submit
    from smx.control.sync import cell_of, sync
    from smx.runfolder import RunFolder
    from smx.workspace.storage import warnings

    cells: dict[str, Run] = {}
    todo = list(rows)
    for row in todo:  # grows while it is read
        folder = RunFolder(workspace.runs / row.folder)
        if not folder.attempts():
            raise UserError(f"{folder.path.name} was never tried", "the command that asked for it starts it")
        cell = cells[row.fingerprint] = _here(workspace, registry, cell_of(folder))
        needed = [found for mark in cell.needs if mark not in cells and (found := registry.run(mark))]
        todo += [found for found in needed if found.state != "done"]
    ordered = sorted(cells.values(), key=lambda cell: _ORDER.index(cell.kind))
    asked = {row.fingerprint for row in rows}
    decisions = decide(ordered, registry, asked=asked, retry=True)
    show_decisions(decisions, asked, dry=dry_run, as_json=as_json)
    executors: dict[str, Any] = {}
    together: dict[_Alike, list[Decision]] = {}
    for decision in decisions:
        last = RunFolder(decision.cell.folder).attempts()[-1]
        name = executor or last.plan["executor"]
        if name not in executors:
            executors[name] = executor_for(workspace, name)[1]
        wanted = more if decision.cell.fingerprint in asked and decision.action == "run" else {}
        together.setdefault(_alike(decision, last, name, executors[name], wanted), []).append(decision)
    groups = sorted(together.items(), key=lambda entry: entry[0])
    for alike, group in groups:
        executors[alike.executor].check({d.cell.kind for d in group}, json.loads(alike.given))
    if dry_run:
        for alike, group in groups:
            jobs = planned(workspace, registry, group, shards=alike.shards, resources=json.loads(alike.given))
            if jobs and not as_json and (text := executors[alike.executor].preview(jobs)):
                out(text)
        return 0
    workspace.require_writable()
    workspace.share()
    if wanting := warnings(workspace):
        say(f"warning: {wanting} (smx doctor)")
    followed = []
    try:
        for alike, group in groups:
            started = submit(
                workspace,
                registry,
                group,
                executor=(alike.executor, executors[alike.executor]),
                shards=alike.shards,
                max_failed=alike.max_failed,
                resources=json.loads(alike.given),
                tell=say,
            )
            followed += started.attempts
            for cell in started.taken:
                say(f"{cell.title}: another command started it a moment ago")
        if watch or "inline" in executors:
            with following(followed):
                for driver in executors.values():
                    driver.drive()
                if watch:
                    wait(workspace, registry, followed)
    except KeyboardInterrupt:
        say("interrupted: the same command again goes on from here")
        raise
    finally:
        sync(workspace, registry)
    launch = Launch(decisions, [ended for mark in sorted(asked) if (ended := registry.run(mark))])
    if as_json:
        out_json([_as_json(workspace, row) for row in launch.rows])
    else:
        summary(workspace, launch)
    return launch.code


class _Alike(NamedTuple):
    """What runs must share to be one submission, in the order they are handed over."""

    order: int
    executor: str
    shards: int
    max_failed: int
    given: str  # JSON: what differs from the site file


def _alike(decision: Decision, last: AttemptFolder, name: str, driver: Any, more: Mapping[str, Any]) -> _Alike:
    plan = last.plan
    own = plan.get("canary") == {"run": last.run.path.name, "attempt": last.number}
    # What was given for the last attempt holds for this one; but nodes are left out only while they are bad.
    given = {k: v for k, v in plan.get("given", {}).items() if k != "exclude" and name == plan["executor"]}
    if more:
        given |= driver.scaled_resources(decision.cell.kind, plan.get("resources", {}), more)
    order = _ORDER.index(decision.cell.kind)
    return _Alike(order, name, max(1, len(plan["shards"]) - own), plan["max_failed"], json.dumps(given, sort_keys=True))


def _here(workspace: Workspace, registry: Registry, cell: Run) -> Run:
    """`cell` with the workspace's own places as they are now: it may have been moved since the last attempt."""
    own = {"samples": workspace.samples, "cache": workspace.cache, "output": cell.folder / "checkpoint"}
    role, _, trained = cell.inputs.get("checkpoint", "").partition(":")
    if role == "train" and (row := registry.run(trained)):
        own["checkpoint"] = workspace.runs / row.folder / "checkpoint"
    return replace(
        cell, paths={name: str(own.get(name, place)) if place else place for name, place in cell.paths.items()}
    )
