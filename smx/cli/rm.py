"""`smx rm`: put runs aside."""

from __future__ import annotations

from typing import Annotated

import typer

from smx.cli._filters import Runs


def rm(
    runs: Runs = None,
    undo: Annotated[bool, typer.Option("--undo", help="Bring these removed runs back.")] = False,
) -> None:
    """Put runs aside: their folders, notes and tags are kept, they are in no list and no table. Alone: what is aside.

    smx gc --yes deletes what has been aside for a month.

    Example: smx rm last
    """
    from smx.cli._common import counted, out, say, workspace
    from smx.cli._launch import Console
    from smx.control.trash import bring_back, remove, trashed
    from smx.errors import UserError

    space = workspace()
    if undo:
        if not runs:
            raise UserError("which runs?", "smx rm shows what was removed; smx rm --undo NAME")
        for title in bring_back(space, runs, listener=Console()):
            out(f"back      {title}")
    elif runs:
        for row in remove(space, runs, listener=Console()):
            out(f"removed   {row.kind:<5} {row.title}  (smx rm --undo {row.title})")
    else:
        folders = trashed(space)
        for folder in folders:
            out(f"{folder.parent.name:<5} {folder.name}")
        say(f"{counted(len(folders), 'run')} removed" if folders else "nothing was removed")
