"""What the commands that follow runs share: look again, and how wide the terminal is."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smx.registry.store import Registry
    from smx.workspace import Workspace


def refresh(space: Workspace, registry: Registry, *, quiet: bool = False) -> list[str]:
    """Bring live attempts up to date, where there are any; returns (and says) what could not be found out."""
    if not registry.attempts(live=True):
        return []
    from smx.cli._common import say
    from smx.control.sync import summed_up, sync

    doubts = sync(space, registry)
    if not quiet:
        for line in summed_up(doubts):
            say(f"unknown: {line}")
    return doubts


def width() -> int:
    """Characters of a line: the terminal's, 100 where there is none."""
    return max(60, shutil.get_terminal_size((100, 24)).columns)
