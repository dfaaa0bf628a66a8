"""Identity of files without reading all of them: size, first and last MiB."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

MIB = 1 << 20


def file_digest(path: Path) -> str:
    """sha256 over size, first and last MiB of a file, hex."""
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
    kept = {".safetensors", ".json", ".txt", ".jinja", ".model"}
    return files_digest((p for p in folder.iterdir() if p.is_file() and p.suffix in kept), folder)
