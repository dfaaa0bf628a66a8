"""The code a queued job will run, as it was when the job was submitted: editing a checkout changes no job that waits.

    runs/.code/<digest>/
        __main__.py     python FOLDER MODULE ARGUMENTS… runs a module of this copy
        smx/            the package, wherever it was: a checkout or an installation
        plugins/<k>/    the workspace's own plugins, one folder for each place they are in

Attempts of the same code share a folder. It appears whole or not at all, and is read again before it is relied on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import smx
from smx import plugins
from smx.atomic_io import sync_folder
from smx.workspace import Workspace

_START = b'''"""Runs a module of the code beside this file: python FOLDER MODULE ARGUMENTS..."""

import os
import runpy
import sys

# The folder was named as seen from where the job began, and work changes to others.
sys.path[0] = os.path.dirname(os.path.realpath(__file__))
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
'''
_MOST = 8 << 20  # bytes of a file that is copied: a larger one beside a plugin is data, and linked


@dataclass(frozen=True)
class Snapshot:
    """A copy of the code. `digest`: 16 hex digits over every name and byte of it."""

    path: Path
    digest: str
    plugin_folders: tuple[Path, ...]


@dataclass(frozen=True)
class _File:
    """One file of it; `data` is None for a large one, which is linked."""

    source: Path
    data: bytes | None
    times: tuple[int, int]  # last access and change, ns: compiled modules are valid for a file of that time


def snapshot(workspace: Workspace, *, write: bool = True) -> Snapshot:
    """The running smx and the workspace's plugins under `runs/.code`; with `write` false, where they would be."""
    files = _files()
    contents = {n: str(f.source).encode() if f.data is None else f.data for n, f in files.items()}
    digest = _digest(contents)
    place = workspace.runs.resolve() / ".code" / digest
    if write and _holds(place, digest):
        with contextlib.suppress(OSError):
            os.utime(place)  # smx gc leaves what was wanted a moment ago
    elif write:
        _make(place, files)
    return Snapshot(place, digest, tuple(place / "plugins" / str(k) for k in range(len(plugins.folders()))))


def _files() -> dict[str, _File]:
    roots = {"smx": Path(smx.__file__).parent} | {f"plugins/{k}": f for k, f in enumerate(plugins.folders())}
    found = {"__main__.py": _File(Path(), _START, (0, 0))}
    for prefix, root in roots.items():
        for path in _walk(root):
            state = path.stat()
            data = path.read_bytes() if state.st_size <= _MOST else None
            name = f"{prefix}/{path.relative_to(root).as_posix()}"
            found[name] = _File(path.resolve(), data, (state.st_atime_ns, state.st_mtime_ns))
    return found


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        yield from (path for name in sorted(names) if (path := Path(folder) / name).is_file() and name[0] != ".")


def _digest(contents: dict[str, bytes]) -> str:
    hashed = hashlib.sha256()
    for name, data in sorted(contents.items()):
        hashed.update(f"{name}\0{len(data)}\0".encode())
        hashed.update(data)
    return hashed.hexdigest()[:16]


def _holds(place: Path, digest: str) -> bool:
    """Whether the copy is there and still what it was: nobody has edited it, and no power cut emptied its files."""
    if not place.is_dir():
        return False
    with contextlib.suppress(OSError):
        paths = {path.relative_to(place).as_posix(): path for path in _walk(place)}
        contents = {n: str(p.readlink()).encode() if p.is_symlink() else p.read_bytes() for n, p in paths.items()}
        return _digest(contents) == digest
    return False


def _make(place: Path, files: dict[str, _File]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        for name, file in files.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.data is None:
                target.symlink_to(file.source)
            else:
                target.write_bytes(file.data)
                os.utime(target, ns=file.times)
        _take_compiled(Path(smx.__file__).parent, fresh / "smx")
        if place.exists():  # it is no longer what it was; jobs that wait for it get what they were promised
            place.rename(Path(scratch) / "changed")
        with contextlib.suppress(OSError):  # somebody else was first
            fresh.rename(place)
    sync_folder(place.parent)


def _take_compiled(source: Path, target: Path) -> None:
    """Compiled modules and kernels, so that the first jobs need not compile them; any that cannot be had is made."""
    for folder in source.rglob("__pycache__"):
        beside = target / folder.relative_to(source)
        with contextlib.suppress(OSError):
            beside.mkdir()
            for path in folder.iterdir():
                shutil.copyfile(path, beside / path.name)  # not its rights: they are the workspace's
