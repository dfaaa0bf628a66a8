"""How runs are tried again from their own folders, without the command that made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smx.cli._common import out, out_json, say
from smx.cli._launch import Launch, _as_json, following, show_decisions, summary, wait
from smx.errors import UserError

if TYPE_CHECKING:
    from smx.cell import Cell, Decision
    from smx.project import Workspace
    from smx.registry.rows import RunRow
    from smx.registry.store import Registry

_ORDER = ("gen", "train", "eval")  # producers first


def again(
    workspace: Workspace,
    registry: Registry,
    rows: Sequence[RunRow],
    *,
    executor: str | None,
    dry_run: bool,
    watch: bool,
    as_json: bool,
) -> int:
    """Start what is left of `rows`, and of the runs they need. Returns the exit code."""
    from smx.booking import executor_for
    from smx.plan import decide
    from smx.runfolder import RunFolder
    from smx.submit import planned, submit
    from smx.sync import cell_of, sync

    cells: dict[str, Cell] = {}
    todo = list(rows)
    for row in todo:  # grows while it is read
    from smx.storage import warnings
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
    groups: dict[tuple[int, str, int, int], list[Decision]] = {}
    for decision in decisions:
        last = RunFolder(decision.cell.folder).attempts()[-1].plan
        name = executor or last["executor"]
        key = (_ORDER.index(decision.cell.kind), name, len(last["shards"]), last["max_failed"])
        groups.setdefault(key, []).append(decision)
        if name not in executors:
            executors[name] = executor_for(workspace, name)[1]
    for name, found in executors.items():
        found.check({d.cell.kind for key, group in groups.items() if key[1] == name for d in group})
    if dry_run:
        for (_, name, shards, _), group in sorted(groups.items(), key=lambda entry: entry[0]):
            jobs = planned(workspace, registry, group, shards=shards)
            if jobs and not as_json and (text := executors[name].preview(jobs)):
                out(text)
        return 0
    workspace.require_writable()
    workspace.share()
    followed = []
    try:
        for (_, name, shards, most), group in sorted(groups.items(), key=lambda entry: entry[0]):
            started = submit(
                workspace, registry, group, executor=(name, executors[name]), shards=shards, max_failed=most
            )
            followed += started.attempts
    if wanting := warnings(workspace):
        say(f"warning: {wanting} (smx doctor)")
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


def _here(workspace: Workspace, registry: Registry, cell: Cell) -> Cell:
    """`cell` with the workspace's own places as they are now: it may have been moved since the last attempt."""
    own = {"samples": workspace.samples, "cache": workspace.cache, "output": cell.folder / "checkpoint"}
    role, _, trained = cell.inputs.get("checkpoint", "").partition(":")
    if role == "train" and (row := registry.run(trained)):
        own["checkpoint"] = workspace.runs / row.folder / "checkpoint"
    return replace(
        cell, paths={name: str(own.get(name, place)) if place else place for name, place in cell.paths.items()}
    )
