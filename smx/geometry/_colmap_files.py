"""COLMAP models in both of their forms: the lines of `images.txt` and its siblings, or those that `images.bin` says.

The binary form (`src/colmap/scene/reconstruction_io_binary.cc`, 4.2) is little-endian and has the text's fields in the
text's order, so that one parser reads both; a float comes as its shortest exact decimal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry.lenses import MODEL_NAMES, parameters_of

NAMES = ("cameras", "images", "rigs", "frames")
_SENSORS = {0: "CAMERA", 1: "IMU"}


def file_of(folder: Path, name: str) -> Path | None:
    """`name`.txt where it is there, else `name`.bin, else None."""
    return next((path for ending in (".txt", ".bin") if (path := folder / f"{name}{ending}").is_file()), None)


def lines_of(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """(place for messages, line) of a file of the model, points of images left out. `SceneError` where damaged."""
    path = file_of(folder, name)
    if path is None:
        raise SceneError(f"{folder / name}.txt: no such file, and no {name}.bin")
    if path.suffix == ".bin":
        for number, record in enumerate(_records(path, name), 1):
            yield f"{path}, entry {number}", record
        return
    rows = parse.text_lines(path, blank=name == "images")
    for number, line in rows:
        if line:
            yield f"{path}:{number}", line
            if name == "images":
                next(rows, None)  # the line of 2D points, which may be empty


def _records(path: Path, name: str) -> Iterator[str]:
    try:
        reader = _Reader(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        (count,) = reader.take("<Q")
        for _ in range(count):
            yield " ".join(map(str, _RECORDS[name](reader, path)))
    except (struct.error, UnicodeDecodeError, ValueError):
        raise SceneError(f"{path}: the file ends inside entry {reader.entries}, or is no binary model") from None
    if reader.at != len(reader.data):
        raise SceneError(f"{path}: {len(reader.data) - reader.at} bytes after the last of {count} entries")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.entries = data, 0, 0

    def take(self, format: str) -> tuple[Any, ...]:
        values = struct.unpack_from(format, self.data, self.at)
        self.at += struct.calcsize(format)
        return values

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        found = self.data[self.at : end].decode()
        self.at = end + 1
        return found


def _camera(reader: _Reader, path: Path) -> list[Any]:
    reader.entries += 1
    camera, model, width, height = reader.take("<IiQQ")
    if not 0 <= model < len(MODEL_NAMES):
        raise SceneError(f"{path}, entry {reader.entries}: camera model {model} is not known")
    name = MODEL_NAMES[model]
    return [camera, name, width, height, *reader.take(f"<{parameters_of(name, str(path))}d")]


def _image(reader: _Reader, path: Path) -> list[Any]:
    reader.entries += 1
    image, *pose, camera = reader.take("<I7dI")
    name = reader.text()
    (points,) = reader.take("<Q")
    reader.at += 24 * points
    if reader.at > len(reader.data):
        raise ValueError("points past the end")
    return [image, *pose, camera, name]


def _rig(reader: _Reader, path: Path) -> list[Any]:
    reader.entries += 1
    rig, sensors = reader.take("<II")
    record: list[Any] = [rig, sensors]
    if sensors:
        record += _sensor(reader)
    for _ in range(sensors - 1):
        record += _sensor(reader)
        (has_pose,) = reader.take("<B")
        record += [has_pose, *(reader.take("<7d") if has_pose else ())]
    return record


def _frame(reader: _Reader, path: Path) -> list[Any]:
    reader.entries += 1
    frame, rig, *pose, count = reader.take("<II7dI")
    record: list[Any] = [frame, rig, *pose, count]
    for _ in range(count):
        record += [*_sensor(reader), *reader.take("<Q")]
    return record


def _sensor(reader: _Reader) -> list[Any]:
    kind, sensor = reader.take("<iI")
    return [_SENSORS.get(kind, "OTHER"), sensor]


_RECORDS: dict[str, Callable[[_Reader, Path], list[Any]]] = {
    "cameras": _camera,
    "images": _image,
    "rigs": _rig,
    "frames": _frame,
}
