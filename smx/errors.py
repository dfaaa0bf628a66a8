"""The one error a user can cause, and the helper that names the closest valid choice."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable
from typing import TypeGuard


class UserError(Exception):
    """Something the user can put right: what is wrong, and what to type next.

    Caught once, at the command line, where it becomes `message`, `hint` and exit code 2.
    Anything else that escapes is a bug and keeps its traceback.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class Exited(RuntimeError):
    """A plugin or a library called `sys.exit`: a failure of its own, and no end of whoever called it."""

    def __init__(self, leaving: SystemExit) -> None:
        super().__init__(f"sys.exit({'' if leaving.code is None else repr(leaving.code)}) was called")
        self.__cause__ = leaving
        self.__traceback__ = leaving.__traceback__


def closest(name: str, valid: Iterable[str]) -> list[str]:
    """`valid`, the names most like `name` first, the rest in alphabetical order."""
    choices = sorted(set(valid))
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.55)
    return near + [c for c in choices if c not in near]


def nearest(name: str, valid: Iterable[str], what: str = "valid") -> str:
    """`did you mean X? valid: X, Y, Z`; without the question where nothing is like `name`."""
    choices = closest(name, valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.55)
    return (f"did you mean {near[0]}? " if near else "") + f"{what}: {', '.join(choices)}"


def unknown(what: str, name: str, valid: Iterable[str], hint: str = "") -> UserError:
    """A `UserError` for a name that does not exist: `unknown sampler 'x'`, did you mean …, all choices.

    `what` is the singular word of docs/index.md ("sampler"); `hint` is added on a line of its own.
    """
    choices = closest(name, valid)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.55)
    lines = [f"did you mean {near[0]}?"] if near else []
    lines.append(f"valid: {', '.join(choices)}" if choices else f"there is no {what} here yet")
    if hint:
        lines.append(hint)
    return UserError(f"unknown {what} {name!r}", "\n".join(lines))


def missing_package(error: ModuleNotFoundError) -> UserError | None:
    """What to install, where `error` is about a package that smx names as a requirement; None where it is a bug.

    A light install (`pip install --no-deps smx`, and typer, rich, pydantic and pyyaml) shows what there is: `report`,
    `ledger`, `status`, `ls` and `show` need no more.
    """
    from importlib import metadata

    module = (error.name or "").partition(".")[0]
    try:
        requirements = metadata.requires("smx") or []
    except metadata.PackageNotFoundError:  # a checkout on the path, never installed
        return None
    package = {"yaml": "pyyaml", "PIL": "pillow"}.get(module, module).replace("_", "-").lower()
    for requirement in requirements:
        name, marker = re.split(r"[^\w.-]", requirement, maxsplit=1)[0], requirement.partition(";")[2]
        if name.replace("_", "-").lower() == package:
            extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", marker)
            brings = f"the extra smx[{extra[1]}]" if extra else "an install of smx without --no-deps"
            exactly = requirement.partition(";")[0].strip()
            hint = f"{brings} brings it; or alone: pip install '{exactly}'"
            return UserError(f"this needs {package}, which is not installed", hint)
    return None


class SceneError(Exception):
    """One scene (or one frame of it) cannot be used. Recorded for that item; the shard goes on."""


class EndpointError(SceneError):
    """Somebody else's server gave no answer to one question. Recorded for it; the others are asked all the same."""


def no_space(error: BaseException) -> TypeGuard[OSError]:
    """Whether a write failed because the disk, a quota or the allowed size of files is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
