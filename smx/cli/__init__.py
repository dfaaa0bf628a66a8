"""Where the command line begins, and the one place where errors become messages and exit codes.

Little is imported here: Ctrl-C is to be quiet from the first moment on, and starting is mostly importing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from smx.cli._commands import COMMANDS

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 the work failed, 2 wrong input, 130 interrupted."""
    wanted = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN  # as behind nohup
    _on_signals(_leave, _leave, wanted)  # nothing is begun, so nothing is lost
    from smx.cli import _app, _streams  # noqa: F401 - so that what follows needs no time

    _streams.settle()
    try:
        _on_signals(signal.default_int_handler, _stop, wanted)
        code = _streams.flushed(run(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        code = _INTERRUPTED
    _on_signals(_leave, _leave, wanted)  # all is said and done
    if code == _INTERRUPTED and threading.active_count() > 1:
        # Items in hand are left behind in threads, and native code aborts when Python is taken down around it.
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The command line as a function: exit code instead of leaving. Bugs escape as they are, after the versions."""
    import typer
    from typer._click.exceptions import ClickException

    from smx.cli._app import app
    from smx.errors import UserError, missing_package, no_space

    try:
        if not arguments:
            arguments = ["--help"]
        code = typer.main.get_command(app)(args=arguments, prog_name="smx", standalone_mode=False)
    except UserError as error:
        _complain(error.message, error.hint)
        return 2
    except ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else _named(arguments)
        _complain(error.format_message().replace("Value error, ", ""), f"{command} --help")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except SystemExit as leaving:
        if "_SMX_COMPLETE" in os.environ:  # Typer's own end of answering a shell; it has no other
            raise
        return _exited(leaving)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (needed := missing_package(error)):
            _complain(needed.message, needed.hint)
            return 2
        if no_space(error):
            _complain(
                f"no space left to write {error.filename or 'a result'}: {error.strerror}",
                "free some, then type the same command again: it goes on where it stopped",
            )
            return 1
        from smx.workspace.provenance import provenance

        found = provenance()
        sys.stderr.write(f"This is a bug in smx. Please report what follows. {found['packages']} {found['git']}\n")
        raise
    return code if isinstance(code, int) else 0


def _exited(leaving: SystemExit) -> int:
    """A plugin, or a library, called sys.exit: said, and never taken for an end that was meant."""
    import traceback

    from smx.errors import Exited

    place = traceback.extract_tb(leaving.__traceback__)[-1]
    _complain(f"{Exited(leaving)}: {place.filename}, line {place.lineno}", "what it calls must raise an error instead")
    return 2


def _on_signals(interrupt: Callable[..., object], stop: Callable[..., object], wanted: bool) -> None:
    if wanted:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, stop)


def _leave(signum: int, frame: FrameType | None) -> None:
    """Before anything is begun, or when all is done: no traceback from wherever Python happens to be."""
    os._exit(_INTERRUPTED)


def _stop(signum: int, frame: FrameType | None) -> None:
    """SIGTERM is taken like Ctrl-C: what is recorded stays, and the exit code is the same."""
    raise KeyboardInterrupt


def _named(arguments: list[str]) -> str:
    """The command that somebody meant."""
    return " ".join(["smx", *[word for word in arguments if word in COMMANDS][:1]])


def _complain(message: str, hint: str) -> None:
    if message:  # none where a command of commands was named alone: its help has been printed
        sys.stderr.write(f"error: {message}\n")
    for line in hint.splitlines():
        sys.stderr.write(f"  {line}\n")
