"""What executors without a scheduler know of an attempt: from its folder and its process."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from smx import plugins
from smx.processes import is_alive
from smx.runfolder import AttemptFolder
from smx.states import SchedulerState, ShardState


def standing(folder: Path) -> str:
    """ "live", "good" (every shard done) or "bad" for a producer's attempt, judged without the registry."""
    attempt = AttemptFolder(folder)
    if not attempt.planned:  # whoever waits for it has made sure that its launcher is gone
        return "bad"
    exits = [shard.exit() for shard in attempt.shards()]
    if all(e is not None and e["how"] == ShardState.done for e in exits):
        return "good"
    if any(e is not None and e["how"] != ShardState.done for e in exits):
        return "bad"
    handle = attempt.handle()
    if handle is None:
        return "bad" if is_alive(attempt.plan["submitter"]) is False else "live"
    facts = plugins.load("executors", handle["executor"])().poll([handle])[0]
    gone = any(f.state in (SchedulerState.ended, SchedulerState.absent, SchedulerState.cancelled) for f in facts)
    # The process may have ended between the two looks: its exit.json is there by now.
    if gone:
        return (
            "good"
            if all((e := s.exit()) is not None and e["how"] == ShardState.done for s in attempt.shards())
            else "bad"
        )
    return "live"


def skip(folder: Path, shard: int, reason: str) -> None:
    """Record that a shard never ran, and why."""
    target = AttemptFolder(folder).shard(shard)
    target.begin()
    target.end(ShardState.cancelled, reason=reason)


def call(entry: str, folder: Path, shard: int) -> int:
    """Import `entry` and call it. A failure to import is the shard's failure, recorded like any other."""
    try:
        module, function = entry.split(":")
        code: int = getattr(importlib.import_module(module), function)(folder, shard)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded with its traceback, and the exit code says so
        target = AttemptFolder(folder).shard(shard)
        if target.exit() is None:
            target.begin()
            line = f"{type(error).__name__}: {error}"
            target.end(ShardState.failed, kind="never-started", line=line, traceback=traceback.format_exc())
        traceback.print_exc(file=sys.stderr)
        return 1
    return code
