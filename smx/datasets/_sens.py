"""ScanNet's `.sens` files, version 4: every frame of a scan with its pose in one file.

Little-endian: u32 version; u64 length and name; four f32 4x4 (colour intrinsic, colour extrinsic, depth intrinsic,
depth extrinsic); i32 colour codec, i32 depth codec; u32 colour width, height, depth width, height; f32 depth units
to the metre; u64 number of frames; then of each frame f32 4x4 camera to world, u64 colour and depth timestamp
(microseconds), u64 colour and depth size in bytes, the two blobs. (ScanNet's own SensReader, `SensorData`.)
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from smx.digests import file_digest
from smx.errors import SceneError

COLOUR_RAW, COLOUR_PNG, COLOUR_JPEG = 0, 1, 2
DEPTH_RAW, DEPTH_ZLIB = 0, 1
_NOMINAL_FPS = 30.0  # of the Structure sensor, where the timestamps say nothing
_CODECS = struct.Struct("<ii4IfQ")
_FRAME = struct.Struct("<64s4Q")


@dataclass(frozen=True)
class Header:
    """What a file says before its first frame. Matrices are 3x3, pixels; sizes (width, height)."""

    K_colour: np.ndarray
    K_depth: np.ndarray
    colour_codec: int
    depth_codec: int
    colour_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    declared: int  # number of frames


class SensMedia:
    """Frames of a `.sens` (`smx.datasets._frame_reader.Media`), with poses and depth. Ids count from 0.

    A file that ends early gives the frames that are whole. Blobs are read when asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.header, start = _read_header(file, path)
                self.c2w, times, self._colour, self._depth = _read_index(file, start, self.header.declared)
        except OSError as error:
            raise SceneError(f"{path}: cannot be read ({error.strerror})") from None
        if not len(self.c2w):
            raise SceneError(f"{path}: no whole frame in this file, its header says {self.header.declared}")
        self.frame_ids = np.arange(len(self.c2w), dtype=np.int64)
        self.width, self.height = self.header.colour_size
        rising = len(times) > 1 and bool((np.diff(times) > 0).all())
        self.times: np.ndarray | None = times if rising else None
        self.fps: float | None = float((len(times) - 1) / (times[-1] - times[0])) if rising else _NOMINAL_FPS

    @property
    def turns(self) -> np.ndarray:
        """None: the sensor's pictures carry no tag."""
        return np.zeros(len(self.frame_ids), dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3]) ascending. `SceneError` naming file and frame where one is damaged or absent."""
        with self.path.open("rb") as file:
            for frame_id in sorted({int(i) for i in ids}):
                data = _blob(file, self._span(self._colour, frame_id))
                yield frame_id, self._picture(data, frame_id)

    def depth(self, frame_id: int) -> np.ndarray:
        """[h, w] float32 metres, NaN at 0 and 65535."""
        with self.path.open("rb") as file:
            data = _blob(file, self._span(self._depth, frame_id))
        where = f"{self.path}: depth of frame {frame_id}"
        if self.header.depth_codec not in (DEPTH_RAW, DEPTH_ZLIB):
            raise SceneError(f"{where}: codec {self.header.depth_codec}; known: 0 (raw), 1 (zlib)")
        if self.header.depth_codec == DEPTH_ZLIB:
            try:
                data = zlib.decompress(data)
            except zlib.error as error:
                raise SceneError(f"{where}: damaged ({error})") from None
        width, height = self.header.depth_size
        if len(data) != 2 * width * height:
            raise SceneError(f"{where}: {len(data)} bytes are no {width}x{height} map of 16 bits")
        raw = np.frombuffer(data, "<u2").reshape(height, width)
        metres: np.ndarray = raw.astype(np.float32) / np.float32(self.header.depth_shift)
        metres[(raw == 0) | (raw == 65535)] = np.nan
        return metres

    def source(self) -> dict[str, Any]:
        """Kind, file name, digest, size; the header's count where it is another; how frames are timed."""
        claim = {"frames_declared": self.header.declared} if self.header.declared != len(self.c2w) else {}
        return {
            "kind": "sens",
            "file": self.path.name,
            "sha256": file_digest(self.path),
            "size": self.path.stat().st_size,
            "times": "file" if self.times is not None else f"frame / {_NOMINAL_FPS:g} (those in the file do not rise)",
            **claim,
        }

    def _span(self, spans: np.ndarray, frame_id: int) -> tuple[int, int]:
        if not 0 <= frame_id < len(spans):
            said = self.header.declared
            claim = f" (its header says {said})" if said != len(spans) else ""
            raise SceneError(f"{self.path}: there is no frame {frame_id}, the file has {len(spans)}{claim}")
        start, size = spans[frame_id].tolist()
        return start, size

    def _picture(self, data: bytes, frame_id: int) -> np.ndarray:
        where = f"{self.path}: frame {frame_id}"
        if self.header.colour_codec == COLOUR_RAW:
            if len(data) != 3 * self.width * self.height:
                raise SceneError(f"{where}: {len(data)} bytes are no {self.width}x{self.height} picture")
            return np.frombuffer(data, np.uint8).reshape(self.height, self.width, 3).copy()
        if self.header.colour_codec not in (COLOUR_PNG, COLOUR_JPEG):
            raise SceneError(f"{where}: codec {self.header.colour_codec}; known: 0 (raw), 1 (png), 2 (jpeg)")
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise SceneError(f"{where}: damaged ({error})") from None
        if pixels.shape[:2] != (self.height, self.width):
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise SceneError(f"{where}: {size}, the header says {self.width}x{self.height}")
        return pixels


def _read_header(file: IO[bytes], path: Path) -> tuple[Header, int]:
    """The header, and the place of the first frame."""
    try:
        (version,) = struct.unpack("<I", file.read(4))
        if version != 4:
            raise SceneError(f"{path}: version {version} of the format, 4 is known")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 4096:
            raise SceneError(f"{path}: no .sens file (a sensor's name of {length} bytes)")
        file.seek(length, 1)
        colour, _, depth, _ = (np.frombuffer(file.read(64), "<f4").reshape(4, 4).astype(np.float64) for _ in range(4))
        codec_c, codec_d, cw, ch, dw, dh, shift, n = _CODECS.unpack(file.read(_CODECS.size))
    except (struct.error, ValueError):
        raise SceneError(f"{path}: the file ends inside its header") from None
    if min(cw, ch, dw, dh) < 1 or not shift > 0:
        raise SceneError(f"{path}: a header of {cw}x{ch} frames, {dw}x{dh} depth, {shift} units to the metre")
    return Header(colour[:3, :3], depth[:3, :3], codec_c, codec_d, (cw, ch), (dw, dh), shift, n), file.tell()


def _read_index(file: IO[bytes], start: int, declared: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(c2w [n, 4, 4], seconds [n], colour blobs [n, 2], depth blobs [n, 2] as offset and size) of the whole frames."""
    end = file.seek(0, 2)
    poses, times, colour, depth = [], [], [], []
    at = start
    for _ in range(declared):
        file.seek(at)
        head = file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            break
        matrix, time, _, colour_size, depth_size = _FRAME.unpack(head)
        at += _FRAME.size
        if at + colour_size + depth_size > end:
            break
        poses.append(np.frombuffer(matrix, "<f4").reshape(4, 4))
        times.append(time / 1e6)
        colour.append((at, colour_size))
        depth.append((at + colour_size, depth_size))
        at += colour_size + depth_size
    blobs, maps = (np.array(rows, dtype=np.int64).reshape(-1, 2) for rows in (colour, depth))
    c2w = np.array(poses, dtype=np.float64).reshape(-1, 4, 4)
    return c2w, np.array(times, dtype=np.float64), blobs, maps


def _blob(file: IO[bytes], span: tuple[int, int]) -> bytes:
    file.seek(span[0])
    return file.read(span[1])
