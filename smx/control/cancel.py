"""Stop runs that run or wait, and what waits for them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smx import plugins
from smx.control.attempt_view import DAMAGE
from smx.control.progress import Listener
from smx.control.reservations import executor_for
from smx.control.sync import refresh
from smx.control.wait import wait_for
from smx.registry.reading import registry_as_it_is
from smx.registry.rows import AttemptRow, RunRow
from smx.registry.store import Registry
from smx.runfolder import AttemptFolder, RunFolder
from smx.workspace import Workspace

STOPPING = 3.0  # seconds for which `cancel` looks on, so that most have ended before it returns
SOON = 0.25  # seconds until an executor is asked what came of it, and again after twice as long


@dataclass(frozen=True)
class Stopped:
    """A run that was to be stopped."""

    run: RunRow  # as it is now
    stopping: bool  # asked to, and not over yet
    stuck: bool  # only the process it runs in can stop it, or its launcher is not done: the listener was told how
    named: bool  # False: it waits for one that was named


def cancel(
    workspace: Workspace,
    runs: Sequence[str] = (),
    *,
    filters: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
) -> list[Stopped]:
    """Stop these runs (names as people write them; none: all that fit `filters`, those of `Registry.runs`).

    Items that are done stay done. Whatever needs a run that is stopped is stopped, too. `UserError` for a name that
    fits no run, or several.
    """
    listener = listener or Listener()
    with registry_as_it_is(workspace, listener.say) as registry:
        refresh(workspace, registry, listener.say)
        rows = [registry.find(name) for name in runs] if runs else registry.runs(**(filters or {}))
        named = {row.fingerprint: row for row in rows}
        live = {row.fingerprint: row for row in registry.attempts(live=True)}
        for fingerprint, row in named.items():
            if runs and fingerprint not in live:
                listener.say(f"{row.title} neither runs nor waits: {row.state}")
        targets = with_dependants(workspace, registry, live, [each for each in named if each in live])
        stuck = _stop(workspace, registry, [live[fingerprint] for fingerprint in targets], listener)
        wait_for(workspace, registry, set(targets) - stuck, first=SOON, seconds=STOPPING)
        going = still_live(registry, set(targets) - stuck)
        ended = [run for fingerprint in targets if (run := registry.run(fingerprint))]
        return [
            Stopped(run, run.fingerprint in going, run.fingerprint in stuck, run.fingerprint in named) for run in ended
        ]


def with_dependants(
    workspace: Workspace, registry: Registry, live: Mapping[str, AttemptRow], targets: Sequence[str]
) -> list[str]:
    """`targets` and the live runs that wait for one of them, themselves or through another. Fingerprints."""
    needs: dict[str, list[str]] = {}
    for fingerprint, attempt in live.items():
        folder = attempt_folder(workspace, registry, attempt)
        needs[fingerprint] = []
        with contextlib.suppress(*DAMAGE):  # nobody can tell what it needs
            needs[fingerprint] = folder.plan["needs"] if folder.planned else []
    reached = list(targets)
    for fingerprint in reached:  # grows while it is read
        reached += [other for other, needed in needs.items() if fingerprint in needed and other not in reached]
    return reached


def still_live(registry: Registry, runs: Collection[str]) -> set[str]:
    """Those of these fingerprints that have a live attempt."""
    return {row.fingerprint for row in registry.attempts(live=True)} & set(runs)


def attempt_folder(workspace: Workspace, registry: Registry, attempt: AttemptRow) -> AttemptFolder:
    """Where an attempt is kept."""
    row = registry.run(attempt.fingerprint)
    assert row is not None
    return RunFolder(workspace.runs / row.folder).attempt(attempt.attempt)


def is_in_process(workspace: Workspace, executor: str) -> bool:
    """Whether its runs work inside the command that started them: only there they can be stopped, and print."""
    return executor in plugins.names("executors") and executor_for(workspace, executor)[1].in_process


def _stop(workspace: Workspace, registry: Registry, attempts: Sequence[AttemptRow], listener: Listener) -> set[str]:
    """Ask each executor once; returns those that nobody can stop from here, after saying how it is done."""
    handles: dict[str, list[dict[str, Any]]] = {}
    stuck = set()
    for attempt in attempts:
        folder = attempt_folder(workspace, registry, attempt)
        title = folder.run.path.name
        handle = folder.handle() or attempt.handle  # the registry has it where somebody deleted the folder
        if handle is None:
            listener.say(f"{title} is being started this very moment: try again")
            stuck.add(attempt.fingerprint)
        elif is_in_process(workspace, attempt.executor):
            process = attempt.provenance["submitter"]
            listener.say(f"{title} runs inside another command on {process['host']}: Ctrl-C there, or there:")
            listener.say(f"  kill -INT {process['pid']}")
            stuck.add(attempt.fingerprint)
        else:
            handles.setdefault(attempt.executor, []).append(dict(handle))
    for name, theirs in handles.items():
        executor_for(workspace, name)[1].cancel(theirs)
    return stuck
