"""What every command shares: the workspace, the console, and how a line is said."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.workspace import Workspace, find

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from smx.registry.store import Registry
    from smx.spec import Variant

_chosen: Path | None = None
_told = False


def choose_workspace(path: Path | None) -> None:
    """Remember the global `--workspace` option for this call."""
    global _chosen, _told
    _chosen, _told = path, False


def workspace(*, quiet: bool = False, forgiving: bool = False) -> Workspace:
    """The workspace of this call; says once, on stderr, when the built-in defaults are used.

    A site file that names no executor there is ends every command, but for one that is `forgiving`, to say what else
    is wrong, or `quiet`, to list what the site file has no part in.
    """
    global _told
    found = find(_chosen)
    if not (quiet or forgiving):
        found.require_known_executors()
    found.follow_group()
    if found.how == "default" and not quiet and not _told:
        say(f"No workspace here or above: using {found.root} with the built-in defaults (smx init makes one).")
        _told = True
    return found


def variant(name: str) -> Variant:
    """The model variant of that name in the workspace. `UserError` where there is none, or its base is unknown."""
    from smx import plugins
    from smx.errors import unknown
    from smx.spec import Variant
    from smx.yamlfile import read_yaml

    files = workspace(quiet=True).variant_files()
    if name not in files:
        raise unknown("model", name, files, "smx list models")
    found = Variant.parse(read_yaml(files[name]), str(files[name]))
    if found.base not in plugins.names("models"):
        raise unknown("base model", found.base, plugins.names("models"), f"variant {name!r} names it")
    return found


def registry_as_it_is(space: Workspace) -> AbstractContextManager[Registry]:
    """The registry, or an empty one that is gone afterwards where there is none: looking makes no file."""
    from smx.registry import reading

    return reading.registry_as_it_is(space, say)


def say(text: str) -> None:
    """A line for people, on stderr, so that piped output stays data."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def out(text: str) -> None:
    """A line of the command's output, on stdout."""
    sys.stdout.write(text + "\n")


def out_json(data: Any) -> None:
    """Data for programs, on stdout."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"  # nothing is lost where é cannot be printed
    out(json.dumps(data, indent=2, ensure_ascii=plain))


def counted(n: int, word: str) -> str:
    """`1 run`, `2 runs`; a word with an irregular plural is given as "entry/entries"."""
    one, _, many = word.partition("/")
    return f"{n} {one if n == 1 else many or one + 's'}"


def say_removed(space: Workspace) -> None:
    """How many runs are in no list and no table because somebody removed them."""
    if removed := sum(1 for _ in space.trash.glob("*/*")):
        say(f"{counted(removed, 'removed run')} not counted: smx rm shows them")


def console(*, stderr: bool = False) -> Console:
    """A rich console. Names and messages are printed as text, never as markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


def print_tables(*tables: Table) -> None:
    """Tables on stdout, as wide as they are: a narrow terminal wraps a line, and no name or number is cut off."""
    from rich.console import Console
    from rich.measure import Measurement

    screen = console()
    room = screen.options.update(max_width=10_000)
    needed = max(Measurement.get(screen, room, table).maximum for table in tables)
    wide = Console(markup=False, highlight=False, width=max(needed, screen.width))
    for table in tables:
        wide.print(table, crop=False)
