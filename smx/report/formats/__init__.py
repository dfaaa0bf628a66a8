"""Formats of a report, a file each: its name is what `--format` takes.

A format has `ENDINGS`, those of files that are in it, and `write(tables, style)`, which makes the text.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from smx.report.page import Style
    from smx.report.table import Table

DEFAULT = "table"


class Format(Protocol):
    """What the file of a format defines."""

    ENDINGS: tuple[str, ...]

    def write(self, tables: Sequence[Table], style: Style) -> str:
        """`tables` as one text; empty where there are none, unless the format has a frame of its own."""


def names() -> tuple[str, ...]:
    """Every format there is, by the files of this folder; the default comes first. Imports none of them."""
    stems = {path.stem for path in Path(__file__).parent.glob("[!_]*.py")}
    return (DEFAULT, *sorted(stems - {DEFAULT}))


def endings() -> dict[str, str]:
    """Ending of a file -> its format. No ending at all is the default's too."""
    return {ending: name for name in names() for ending in _load(name).ENDINGS}


def render(tables: Sequence[Table], name: str, style: Style | None = None) -> str:
    """`tables` in the format of that name."""
    from smx.report.page import Style

    return _load(name).write(tables, style or Style())


def _load(name: str) -> Format:
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))
