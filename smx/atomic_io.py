"""Small files, whole or not at all: written to a temporary name, fsynced, renamed; a damaged one is named."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smx.errors import UserError

STDOUT = "-"  # in place of a file's name
# A file of another tool, or an emptied one, is damage too: what it must have to be what its name says.
_ESSENTIAL = {
    **{"spec.json": "fingerprint", "plan.json": "shards", "handle.json": "executor"},
    **{"exit.json": "how", "heartbeat.json": "host"},
}


def write_atomic(path: Path, data: bytes) -> None:
    """`data` at `path`, whole or not at all, and still there after a power cut."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_ident()}.tmp")  # noqa: PTH118
    try:
        try:
            file = open(temporary, "wb", buffering=0)  # noqa: PTH123, SIM115 - a submission of 1,000 runs writes 3,000
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(temporary, "wb", buffering=0)  # noqa: PTH123, SIM115
        with file:
            written = 0
            while written < len(data):
                written += file.write(data[written:])
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
    sync_folder(path.parent)


def write_output(path: Path, data: bytes) -> None:
    """`data` to where a user wants it: a file, whole or not at all; a pipe or a device; or, with `-`, standard output.

    What is there stays what it is: a link is followed, a file keeps its rights, and nothing but a regular file is
    ever renamed over. `UserError` where it cannot be written.
    """
    if str(path) == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if not path.name:
        raise UserError(f"{str(path)!r} names no file", "for example -o table.md")
    try:
        before = path.stat() if path.exists() else None
        target = Path(os.path.realpath(path))
        if before is not None and (not stat.S_ISREG(before.st_mode) or _is_of_the_system(path)):
            with path.open("wb") as file:
                file.write(data)
            return
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        write_atomic(target, data)
        if before is not None:
            target.chmod(stat.S_IMODE(before.st_mode))
    except OSError as error:
        hint = "give a file in a folder you may write to, or - for standard output"
        raise UserError(f"cannot write {path}: {error.strerror}", hint) from None


def expanded(path: str) -> str:
    """`~/x` and `~someone/x` as the folders they mean; whatever else, and a `~` that nobody has, as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib raises for a home that nobody has


def is_special(path: Path) -> bool:
    """Whether it is standard output, a pipe or a device: something whose name does not say what is to be in it."""
    return str(path) == STDOUT or (path.exists() and not path.is_file() and not path.is_dir())


def write_json(path: Path, data: Any) -> None:
    """`data` as readable JSON, atomically."""
    write_atomic(path, f"{json_text(data, indent=1)}\n".encode())


def json_text(data: Any, indent: int | None = None) -> str:
    """`data` as JSON that every reader takes: a number that is none or infinite, which JSON has not, is null."""
    try:
        return json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), indent=indent, ensure_ascii=False, allow_nan=False)


def claim(path: Path, data: Any) -> bool:
    """Like `write_json`, where nothing is there yet: True for exactly one of several processes that try at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.claim")
    write_json(temporary, data)
    try:
        os.link(temporary, path)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync_folder(path.parent)
    return True


def read_json(path: str | Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is none. `UserError` where somebody damaged it."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a sync of 10,000 runs reads as many files
            found = json.loads(file.read().decode())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(Path(path), str(error)) from None
    if not isinstance(found, dict):
        raise _damaged(Path(path), "it holds no JSON object")
    if (key := _ESSENTIAL.get(os.path.basename(path))) and key not in found:  # noqa: PTH119 - as above
        raise _damaged(Path(path), f"it has no {key!r}")
    return found


def read_whole(path: str | Path) -> dict[str, Any] | None:
    """The same of a file that can be done without: a damaged one is none."""
    with contextlib.suppress(UserError):
        return read_json(path)
    return None


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that must be there. `FileNotFoundError` otherwise."""
    if (found := read_json(path)) is None:
        raise FileNotFoundError(path)
    return found


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _is_of_the_system(path: Path) -> bool:
    """Whether it is an open file of a process (`/dev/stdout`), which a rename would take from whoever reads it."""
    return path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))


def _damaged(path: Path, how: str) -> UserError:
    hint = "put it back from a copy, or move the run folder away and type the command that made it again"
    if path.name == "result.json":
        hint = "smx db rebuild derives it from the items again"
    return UserError(f"{path} is damaged ({how})", hint)
