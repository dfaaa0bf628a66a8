"""Commands of the site file that run when what a command started fails for the first time, and when it has ended.

    runs/.submissions/.due/<submission>.<event>     still to come, written when the submission is made
    runs/.submissions/<submission>/hook-<event>.json  .log      taken: what was run, and what came of it

An event is taken by renaming its file, which only one of several processes can do: it is told once, even where
that process dies over it. It comes up at the next look at the runs by anybody (status, watch, wait, a launch).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from smx.atomic_io import read_json, write_json
from smx.control.reservations import submission_folder
from smx.registry.rows import AttemptRow, RunRow
from smx.registry.store import Registry
from smx.runfolder import now
from smx.states import RunState
from smx.workspace import Workspace
from smx.workspace.shell import run

FIRST_FAILURE, FINISHED = "first_failure", "finished"
_PATIENCE = 60.0  # seconds a hook may take: whoever looks at the runs waits for it
_REMEMBERED = 20


def expect(workspace: Workspace, submission: str) -> None:
    """Note that this submission's events are to come. Before anything of it can have ended."""
    for event in (FIRST_FAILURE, FINISHED):
        place = _due(workspace) / f"{submission}.{event}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def run_due(workspace: Workspace, registry: Registry) -> list[str]:
    """Run the hooks of what has happened since the last look; returns those that went wrong, in words.

    The registry must be up to date. An event without a hook in the site file is taken, too: it is over.
    """
    try:
        waiting = sorted(path.name for path in _due(workspace).iterdir())
    except FileNotFoundError:
        return []
    wrong = []
    for submission in dict.fromkeys(name.partition(".")[0] for name in waiting):
        made, live, failed = registry.attempts_of(submission)
        if failed and _take(workspace, submission, FIRST_FAILURE):
            wrong += _run(workspace, registry, FIRST_FAILURE, submission)
        if made and not live:
            with contextlib.suppress(OSError):  # there was none, and none comes any more
                (_due(workspace) / f"{submission}.{FIRST_FAILURE}").unlink()
            if _take(workspace, submission, FINISHED):
                wrong += _run(workspace, registry, FINISHED, submission)
    return wrong


def gone_wrong(workspace: Workspace) -> list[str]:
    """Hooks of the newest submissions that did not do their work, in words, newest first."""
    records = submission_folder(workspace, "").glob("*/hook-*.json")
    found = []
    for path in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True)[:_REMEMBERED]:
        about = read_json(path) if path.stat().st_size else None
        if about is not None and about.get("code") != 0:
            how = _how(about["code"]) if "code" in about else "it was cut off, or still runs"
            event = path.stem.removeprefix("hook-")
            found.append(f"on_{event} of {about['at']}: {how}, see {path.with_suffix('.log')}")
    return found


def _how(code: int | None) -> str:
    return f"it did not end within {_PATIENCE:.0f} s" if code is None else f"it ended with exit code {code}"


def _due(workspace: Workspace) -> Path:
    return submission_folder(workspace, ".due")


def _take(workspace: Workspace, submission: str, event: str) -> bool:
    """Whether this process is the one that tells it."""
    taken = submission_folder(workspace, submission) / f"hook-{event}.json"
    try:
        (_due(workspace) / f"{submission}.{event}").rename(taken)
    except OSError:  # another was first, or it is not ours to write
        return False
    return True


def _run(workspace: Workspace, registry: Registry, event: str, submission: str) -> list[str]:
    hooks = workspace.site.hooks if workspace.site else None
    command = None
    if hooks is not None:
        command = hooks.on_finished if event == FINISHED else hooks.on_first_failure
    record = submission_folder(workspace, submission) / f"hook-{event}.json"
    with contextlib.suppress(OSError):
        if command is None:
            record.unlink()
            return []
        log = record.with_suffix(".log")
        variables = _told(workspace, registry, event, submission)
        about = {"at": now(), "command": command, "text": variables["SMX_TEXT"]}
        write_json(record, about)
        with log.open("ab") as output:
            code = run(command, variables=variables, cwd=workspace.root, output=output, seconds=_PATIENCE)
        write_json(record, {**about, "code": code})
        if code == 0:
            return []
        return [f"whether on_{event} of the site file did its work: {_how(code)}, see {log}"]
    return [f"whether on_{event} of the site file did its work: {record.parent} cannot be written"]


def _told(workspace: Workspace, registry: Registry, event: str, submission: str) -> dict[str, str]:
    """What a hook finds in its environment."""
    attempts = registry.attempts(submission=submission)
    failed = [row for row in attempts if row.bad]
    rows = [row for attempt in attempts if (row := registry.run(attempt.fingerprint))]
    command = str(attempts[0].provenance.get("command", ""))
    done = sum(row.state == RunState.done for row in rows)
    text = f"{command}: {done} of {len(rows)} runs done"
    more: dict[str, str] = {}
    if failed:
        first = min(failed, key=lambda row: row.ended or row.created)
        run = next(row for row in rows if row.fingerprint == first.fingerprint)
        failure = _failure(first)
        more = {"SMX_RUN": _name(run), "SMX_RUN_FOLDER": str(workspace.runs / run.folder), "SMX_FAILURE": failure}
        text += f", {len(failed)} failed, first {_name(run)}: {failure}"
    return {
        "SMX_EVENT": event,
        "SMX_TEXT": text,
        "SMX_COMMAND": command,
        "SMX_SUBMISSION": submission,
        "SMX_USER": str(attempts[0].provenance.get("user", "")),
        "SMX_RUNS": str(len(rows)),
        "SMX_DONE": str(done),
        "SMX_FAILED": str(len(failed)),
        "SMX_WORKSPACE": str(workspace.root),
        **more,
    }


def _name(run: RunRow) -> str:
    return run.folder.rpartition("/")[2]


def _failure(attempt: AttemptRow) -> str:
    if not attempt.failure:
        return attempt.state
    return f"{attempt.failure['kind']}: {attempt.failure['line']}"
