"""What the commands that follow runs share: look again, and how wide the terminal is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smx.registry.store import Registry
    from smx.workspace import Workspace


def refresh(space: Workspace, registry: Registry, *, quiet: bool = False) -> list[str]:
    """Bring live attempts up to date, where there are any; returns (and says) what could not be found out."""
    if not registry.attempts(live=True):
        return []
    from smx.cli._common import say
    from smx.control.sync import sync

    doubts = sync(space, registry)
    if not quiet:
        for line in summed_up(doubts):
            say(f"unknown: {line}")
    return doubts


def summed_up(doubts: Sequence[str]) -> list[str]:
    """`WHAT: WHY` of each attempt, once for all that have the same reason: a cluster that is down is one sentence."""
    of: dict[str, list[str]] = {}
    for what, _, why in (doubt.partition(": ") for doubt in doubts):
        of.setdefault(why, []).append(what)
    more = {why: f" and {len(names) - 1} more" if len(names) > 1 else "" for why, names in of.items()}
    return [f"{names[0]}{more[why]}: {why}" if why else "; ".join(names) for why, names in of.items()]


def poll_interval(space: Workspace, executor: str) -> float:
    """Seconds between two questions to an executor: short where asking costs a look at a process."""
    from smx.control.reservations import executor_for

    return executor_for(space, executor)[1].poll_interval


def width() -> int:
    """Characters of a line: the terminal's, 100 where there is none."""
    return max(60, shutil.get_terminal_size((100, 24)).columns)
