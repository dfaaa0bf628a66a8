"""What a look at a machine or a site found: one line, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of `smx doctor`. A problem is what work would fail on; a warning, what it may fail on one day."""

    level: Level
    about: str  # one or two words: "python", "disk", "slurm gen"
    text: str
    hint: str = ""  # what to type or do next; lines of their own


def ok(about: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", about, text)


def warning(about: str, text: str, hint: str = "") -> Finding:
    """It works, and may not always."""
    return Finding("warning", about, text, hint)


def problem(about: str, text: str, hint: str = "") -> Finding:
    """Work would fail on it."""
    return Finding("problem", about, text, hint)
