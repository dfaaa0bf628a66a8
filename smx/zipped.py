"""Files inside zip archives, read where they lie: `…/scannet.zip/scannet/scene0000_00.mp4` is such a path.

Nothing is extracted, so no member's name can lead anywhere; names that try to are refused all the same.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from smx.errors import SceneError, UserError

_LOCAL_HEADER = 30  # bytes before a member's own name, APPNOTE.TXT 4.3.7


def split(path: Path) -> tuple[Path, str] | None:
    """(archive, member) of a path into a zip file; None for every other path, whether it exists or not."""
    for place in path.parents:
        if place.is_file():
            return place, path.relative_to(place).as_posix()
        if place.exists():
            return None
    return None


def members(archive: Path) -> list[str]:
    """Names of the files in an archive. `UserError` where it is cut off, or a name leads out of it."""
    about = archive.stat()
    return list(_directory(archive, about.st_size, about.st_mtime_ns))


def stat(path: Path) -> tuple[int, int]:
    """(bytes, ns since 1970) of a file on the disk or in an archive. `OSError` where there is none."""
    if path.exists() or (parts := split(path)) is None:
        about = path.stat()
        return about.st_size, about.st_mtime_ns
    return _entry(*parts).file_size, parts[0].stat().st_mtime_ns


def opened(path: Path) -> BinaryIO:
    """A seekable stream of a file on the disk or in an archive.

    One that is stored as it is is read in place; a compressed one is unpacked into memory. `SceneError` where its
    bytes are not what the archive says.
    """
    if (parts := split(path)) is None:
        return path.open("rb")
    entry = _entry(*parts)
    if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1:
        return io.BufferedReader(_Stored(parts[0], entry))
    try:
        with zipfile.ZipFile(parts[0]) as archive:
            return io.BytesIO(archive.read(entry.filename))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise SceneError(f"{path}: cannot be unpacked ({error})") from None


class _Stored(io.RawIOBase):
    """The bytes of a member that is not compressed."""

    def __init__(self, archive: Path, entry: zipfile.ZipInfo) -> None:
        self._file = archive.open("rb")
        self._file.seek(entry.header_offset + _LOCAL_HEADER - 4)
        lengths = self._file.read(4)  # of name and extra field: those of the local header, which may differ
        self._begin = entry.header_offset + _LOCAL_HEADER + sum(memoryview(lengths).cast("H").tolist())
        self._size, self._at = entry.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        self._file.seek(self._begin + self._at)
        count = self._file.readinto(view[: max(0, self._size - self._at)])
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@lru_cache(maxsize=32)
def _directory(archive: Path, size: int, mtime_ns: int) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = {entry.filename: entry for entry in opened.infolist() if not entry.is_dir()}
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{archive} is no whole zip file ({error})", "it was cut off: download it again") from None
    for name in entries:
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise UserError(
                f"{archive} holds {name!r}, a name that leads out of it", "do not unpack it; ask its author"
            )
    return entries


def _entry(archive: Path, member: str) -> zipfile.ZipInfo:
    about = archive.stat()
    entry = _directory(archive, about.st_size, about.st_mtime_ns).get(member)
    if entry is None:
        raise FileNotFoundError(2, f"there is no {member} in it", str(archive))
    return entry
