"""The app, and the one place where errors become messages and exit codes.

Commands are found by name and imported only when they run; `smx --help` reads the first lines of their docstrings
from the files.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer._click.core import Command, Context
from typer._click.exceptions import ClickException
from typer.core import TyperCommand, TyperGroup

from smx.errors import UserError, no_space

# name -> (module of smx.cli, attribute: a function, or a typer app where there are subcommands), in help order
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "demo"),
    "init": ("init", "init"),
    "new": ("init", "new"),
    "schema": ("init", "schema"),
    "gen": ("gen", "gen"),
    "train": ("train", "train"),
    "eval": ("eval", "evaluate"),
    "run": ("matrix", "run"),
    "status": ("status", "status"),
    "watch": ("status", "watch"),
    "wait": ("status", "wait"),
    "ls": ("runs", "ls"),
    "show": ("runs", "show"),
    "why": ("inspect", "why"),
    "logs": ("inspect", "logs"),
    "open": ("inspect", "open_"),
    "diff": ("diff", "diff"),
    "retry": ("again", "retry"),
    "cancel": ("again", "cancel"),
    "mark": ("again", "mark"),
    "report": ("report", "report"),
    "ledger": ("ledger", "app"),
    "note": ("notes", "note"),
    "tag": ("notes", "tag"),
    "score": ("score", "score"),
    "samples": ("samples", "app"),
    "verify": ("verify", "app"),
    "tokens": ("tokens", "tokens"),
    "list": ("listing", "listing"),
    "doctor": ("doctor", "doctor"),
    "gc": ("gc", "gc"),
    "db": ("db", "app"),
}


_INTERRUPTED = 130


class Commands(TyperGroup):
    """Loads a command's module when it is asked for, and not before."""

    _helping = False

    def list_commands(self, ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        if self._helping or ctx.resilient_parsing:
            return TyperCommand(cmd_name, help=_first_line(module, attribute))
        found = getattr(importlib.import_module(f"smx.cli.{module}"), attribute)
        return _command(cmd_name, found)

    def format_help(self, ctx: Context, formatter: Any) -> None:
        self._helping = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._helping = False

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """As the base class does it, with an error that names the closest command."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
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
    from smx.cli._common import choose_workspace

    choose_workspace(workspace)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 the work failed, 2 wrong input, 130 interrupted."""
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the lines of a table still shows its numbers
    code = run(sys.argv[1:] if arguments is None else arguments)
    if code == _INTERRUPTED and threading.active_count() > 1:
        # Items in hand are left behind in threads, and native code aborts when Python is taken down around it.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The command line as a function: exit code instead of leaving. Bugs escape as they are, after the versions."""
    try:
        if not arguments:
            arguments = ["--help"]
        code = typer.main.get_command(app)(args=arguments, prog_name="smx", standalone_mode=False)
    except UserError as error:
        _complain(error.message, error.hint)
        return 2
    except ClickException as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message(), f"{context.command_path} --help" if context else "smx --help")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left (| head): nothing more to say
        return 0
    except Exception as error:
        if no_space(error):
            _complain(
                f"no space left to write {error.filename or 'a result'}: {error.strerror}",
                "free some, then type the same command again: it goes on where it stopped",
            )
            return 1
        from smx.provenance import provenance

        found = provenance()
        sys.stderr.write(f"This is a bug in smx. Please report what follows. {found['packages']} {found['git']}\n")
        raise
    return code if isinstance(code, int) else 0


def _stop(signum: int, frame: FrameType | None) -> None:
    """SIGTERM is taken like Ctrl-C: what is recorded stays, and the exit code is the same."""
    raise KeyboardInterrupt


def _complain(message: str, hint: str) -> None:
    if message:  # none where a command of commands was named alone: its help has been printed
        sys.stderr.write(f"error: {message}\n")
    for line in hint.splitlines():
        sys.stderr.write(f"  {line}\n")


def _command(name: str, found: Any) -> Command:
    if isinstance(found, typer.Typer):
        found.info.name = name
        group = typer.main.get_group(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    single.command(name, context_settings={"help_option_names": ["-h", "--help"]})(found)
    return typer.main.get_command(single)


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
