"""Identity of files without reading all of them: size, first and last MiB."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

MIB = 1 << 20
_RACY = 2.0  # seconds; a file changed so recently may change again and show the same time
_known: ContextVar[dict[str, Any] | None] = ContextVar("known", default=None)


@contextmanager
def remembering(known: dict[str, Any]) -> Iterator[None]:
    """Within, a file whose size and time of change are those in `known` is not read again; `known` is added to.

    `known`: path -> [bytes, ns since 1970, digest], plain JSON.
    """
    token = _known.set(known)
    try:
        yield
    finally:
        _known.reset(token)


def file_digest(path: Path) -> str:
    """sha256 over size, first and last MiB of a file, hex."""
    known = _known.get()
    if known is None:
        return _ends(path)
    about = path.stat()
    state = [about.st_size, about.st_mtime_ns]
    entry = known.get(str(path))
    if entry is not None and entry[:2] == state:
        return str(entry[2])
    found = _ends(path)
    if time.time() - about.st_mtime > _RACY:
        known[str(path)] = [*state, found]
    return found


def _ends(path: Path) -> str:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        hashed = hashlib.sha256(str(size).encode())
        hashed.update(file.read(MIB))
        if size > MIB:
            file.seek(max(MIB, size - MIB))
            hashed.update(file.read(MIB))
    return hashed.hexdigest()


def files_digest(paths: Iterable[Path], root: Path) -> str:
    """sha256 over (path below `root`, `file_digest`) of each file, in sorted order, hex."""
    hashed = hashlib.sha256()
    for path in sorted(paths):
        hashed.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
    return hashed.hexdigest()


def checkpoint_digest(folder: Path) -> str:
    """Identity of a checkpoint folder: its weights, configs and tokenizer files."""
    kept = {".json", ".txt", ".jinja", ".model"}
    hashed = hashlib.sha256(
        files_digest((p for p in folder.iterdir() if p.is_file() and p.suffix in kept), folder).encode()
    )
    for path in sorted(folder.glob("*.safetensors")):
        hashed.update(f"{path.name}\0{_weights_digest(path)}\n".encode())
    return hashed.hexdigest()


def _weights_digest(path: Path) -> str:
    """`file_digest`, and a KiB from the middle of every tensor: fine-tuning leaves the ends of a file as they were."""
    hashed = hashlib.sha256(file_digest(path).encode())
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size) if size < os.fstat(file.fileno()).st_size else b"")
            spans = [(name, *tensor["data_offsets"]) for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return hashed.hexdigest()  # no safetensors header: whoever loads it says so
        for _, first, last in sorted(spans):
            file.seek(8 + size + max(first, (first + last) // 2 - 512))
            hashed.update(file.read(min(1024, last - first)))
    return hashed.hexdigest()
