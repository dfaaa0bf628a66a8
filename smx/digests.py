"""Identity of files, as cheap as what they hold allows: all of a text, the ends of a video, samples of pictures."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from smx import zipped

MIB = 1 << 20
DIGESTS = "digests.json"  # in a workspace's cache: what was remembered
_SAMPLE = 16 * 1024  # bytes at the start, in the middle and at the end of a picture
_WORKERS = 8  # a disk across the network answers several at once
_RACY = 2.0  # seconds; a file changed so recently may change again and show the same time
_known: ContextVar[dict[str, Any] | None] = ContextVar("known", default=None)


def digests_in(path: Path) -> dict[str, Any]:
    """What `remembering` has kept in a file; nothing where it is not there, damaged, or not ours to read."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


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
    """sha256 over size, first and last MiB of a file, hex: for videos and other recordings of gigabytes."""
    size, changed = zipped.stat(path)
    return _remembered(str(path), [size, changed], changed / 1e9, lambda: _ends(path))


def whole_digest(path: Path) -> str:
    """sha256 of all of a file, hex: for what is read to its last line (cameras, poses, intrinsics)."""
    about = path.stat()
    return _remembered(f"all of {path}", [about.st_size, about.st_mtime_ns], about.st_mtime, lambda: _whole(path))


def pictures_digest(files: Sequence[Path]) -> str:
    """sha256 over name, size and contents of many small files (pictures, depth maps, poses), hex.

    Of those larger than 48 KiB, 16 KiB at both ends and in the middle count; a png's checksum is among them. They are
    remembered together, by the names, sizes and times of all.
    """
    listed = sorted(files)
    if not listed:
        return hashlib.sha256().hexdigest()
    abouts = [file.stat() for file in listed]
    sizes = [about.st_size for about in abouts]
    times = hashlib.sha256(json.dumps([[a.st_size, a.st_mtime_ns] for a in abouts]).encode()).hexdigest()
    names = hashlib.sha256("\0".join(file.name for file in listed).encode()).hexdigest()

    def make() -> str:
        from concurrent.futures import ThreadPoolExecutor  # brings logging, and every command reads plugins' digests

        with ThreadPoolExecutor(_WORKERS) as pool:
            contents = list(pool.map(_sampled, listed, sizes, chunksize=64))
        parts = zip(listed, sizes, contents, strict=True)
        return hashlib.sha256("".join(f"{f.name}\0{size}\0{c}\n" for f, size, c in parts).encode()).hexdigest()

    newest = max(about.st_mtime for about in abouts)
    return _remembered(f"{names[:16]} in {listed[0].parent}", [sum(sizes), times], newest, make)


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Identity of what was read, 32 hex digits; "" where nothing was: see `BaseDataset.inputs`."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32] if inputs else ""


def _remembered(key: str, state: list[Any], newest: float, make: Callable[[], str]) -> str:
    known = _known.get()
    if known is None:
        return make()
    entry = known.get(key)
    if entry is not None and entry[:2] == state:
        return str(entry[2])
    found = make()
    if time.time() - newest > _RACY:
        known[key] = [*state, found]
    return found


def _whole(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sampled(path: Path, size: int) -> str:
    with path.open("rb", buffering=0) as file:
        if size <= 3 * _SAMPLE:
            return hashlib.sha256(file.read(-1)).hexdigest()
        hashed = hashlib.sha256()
        for start in (0, (size - _SAMPLE) // 2, size - _SAMPLE):
            hashed.update(os.pread(file.fileno(), _SAMPLE, start))
        return hashed.hexdigest()


def _ends(path: Path) -> str:
    size, _ = zipped.stat(path)
    with zipped.opened(path) as file:
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
