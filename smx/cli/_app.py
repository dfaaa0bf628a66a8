"""The app: commands are found by name and imported only when they run.

`smx --help` reads the first lines of their docstrings from the files.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer._click.core import Command, Context
from typer.core import TyperCommand, TyperGroup

from smx.cli._commands import COMMANDS


class Commands(TyperGroup):
    """Loads a command's module when it is asked for, and not before."""

    _helping = False
    _named = False  # while completing: this one was typed; the others are only listed

    def list_commands(self, ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        if self._helping or (ctx.resilient_parsing and not self._named):
            return TyperCommand(cmd_name, help=_first_line(module, attribute))
        found = getattr(importlib.import_module(f"smx.cli.{module}"), attribute)
        command = _command(cmd_name, found)
        if ctx.resilient_parsing:
            from smx.cli._completion import complete_values

            for each in getattr(command, "commands", {"": command}).values():
                complete_values(each)
        return command

    def format_help(self, ctx: Context, formatter: Any) -> None:
        self._helping = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._helping = False

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """As the base class does it, with an error that names the closest command."""
        if ctx.resilient_parsing:
            self._named = True
        elif args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from smx.errors import unknown

            raise unknown("command", args[0], COMMANDS, "smx --help")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        import smx

        sys.stdout.write(f"smx {smx.__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            "-w",
            help="Folder with experiments/, registry.db, runs/. Default: SMX_WORKSPACE, else found above this one.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and leave.")
    ] = False,
) -> None:
    """Experiments with spatial video MLLMs: choose frames (gen), train, evaluate, compare in a table.

    Start with `smx demo`.
    """
    from smx.atomic_io import expanded
    from smx.cli._common import choose_workspace

    choose_workspace(workspace and Path(expanded(str(workspace))))


def _command(name: str, found: Any) -> Command:
    if isinstance(found, typer.Typer):
        found.info.name = name
        for command in found.registered_commands:
            command.callback = command.callback and _at_home(command.callback)
        group = typer.main.get_group(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    single.command(name, context_settings={"help_option_names": ["-h", "--help"]})(_at_home(found))
    return typer.main.get_command(single)


def _at_home(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command, given paths in which `~` is the home folder: a shell leaves `--root=~/x` as it is."""
    if hasattr(function, "_expands"):
        return function

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        from smx.atomic_io import expanded

        return function(**{k: Path(expanded(str(v))) if isinstance(v, Path) else v for k, v in given.items()})

    call._expands = True  # type: ignore[attr-defined]
    return call


def _first_line(module: str, attribute: str) -> str:
    """First docstring line of a command, without importing it; of the file, where it has subcommands.

    Read as text: the smallest part of what parsing a module costs, and the help of every command needs one.
    """
    text = (Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    found = re.search(rf'^def {attribute}\(.*?^    """(.+?)(?:"""|$)', text, re.MULTILINE | re.DOTALL)
    if found:
        return found[1]
    doc = re.match(r'"""(.+?)(?:"""|$)', text, re.MULTILINE)
    return doc[1].split(": ", 1)[-1].capitalize() if doc else ""
