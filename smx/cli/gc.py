"""`smx gc`: what a workspace no longer needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smx.gc import Leftover


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without this it is only shown.")] = False,
    older_than: Annotated[
        str, typer.Option(help="How long caches and sample sets must have been of no use: 30d, 12h.")
    ] = "30d",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show, or with --yes remove, what nothing needs any more: caches, resume states, unused samples and code.

    Nothing recorded is ever touched: specs, items, results, logs, scores, weights, and samples that a run uses stay.

    Example: smx gc --older-than 60d
    """
    from smx.cli._common import counted, out, out_json, registry_as_it_is, say, workspace
    from smx.cli._following import refresh
    from smx.gc import find, remove
    from smx.workspace.storage import size

    space = workspace()
    age = _seconds(older_than)
    with registry_as_it_is(space) as registry:
        refresh(space, registry)
        found = find(space, registry, age)
        problems = remove(space, registry, found) if yes else []
    total = sum(leftover.size for leftover in found)
    if as_json:
        listed = [
            {"what": f.what, "bytes": f.size, "why": f.why, "paths": [str(path) for path in f.paths]} for f in found
        ]
        out_json({"removed": yes, "bytes": total, "found": listed, "problems": problems})
    else:
        for leftover in found:
            out(f"{size(leftover.size):>10}  {leftover.what:<13}  {_where(leftover, space.root)}{leftover.why}")
        if not found:
            say("nothing to remove")
        elif yes:
            say(f"{size(total)} removed" if not problems else f"up to {size(total)} removed")
        else:
            say(
                f"{size(total)} in {counted(len(found), 'entry/entries')}; nothing was removed: smx gc --yes removes it"
            )
        for line in problems:
            say(f"could not remove {line}")
    if problems:
        raise typer.Exit(1)


def _where(leftover: Leftover, root: Path) -> str:
    """Its place, as seen from the workspace, and how many files or folders."""
    place = leftover.place
    if place is None:
        return ""
    count = f" ({len(leftover.paths)})" if len(leftover.paths) > 1 else ""
    return f"{place.relative_to(root) if place.is_relative_to(root) else place}{count}: "


def _seconds(text: str) -> float:
    """`30d`, `12h` or `2w` in seconds."""
    from smx.errors import UserError

    found = re.fullmatch(r"(\d{1,5})\s*([hdw])", text.strip())
    if found is None:
        raise UserError(f"--older-than: {text!r} is no span of time", "for example 30d, 12h or 2w")
    return int(found[1]) * {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}[found[2]]
