"""ScanNet++'s `iphone/depth.bin`: the LiDAR depth of every frame, 256x192, in one of the three ways it was released.

Either one raw deflate stream of float32 metres for all frames, or of each frame a u32 size (little-endian) and a
block: LZ4 of uint16 millimetres, or raw deflate of float32 metres. (scannetpp toolkit, `prepare_iphone_data.py`.)
"""

from __future__ import annotations

import zlib
from pathlib import Path

import lz4.block
import numpy as np

from smx.errors import SceneError

WIDTH, HEIGHT = 256, 192
_PIXELS = WIDTH * HEIGHT
_LARGEST = 4 * _PIXELS + 4 * _PIXELS // 100 + 64  # of a block: compression may add a little, never more
_CHUNK = 1 << 20


class DepthStream:
    """Depth maps by frame number. Blocks are read when asked for; the one long stream is read forward."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._blocks = _index(path)
        except OSError as error:
            raise SceneError(f"{path}: cannot be read ({error.strerror})") from None
        self._long = _LongStream(path) if self._blocks is None else None

    def read(self, frame_id: int) -> np.ndarray | None:
        """[192, 256] float32 metres, NaN where invalid; None past the last frame. `SceneError` where it is damaged."""
        if self._long is not None:
            metres = self._long.read(frame_id)
        elif self._blocks is None or frame_id >= len(self._blocks):
            metres = None
        else:
            metres = self._block(frame_id, *self._blocks[frame_id])
        if metres is None:
            return None
        metres = metres.reshape(HEIGHT, WIDTH).copy()
        metres[~(metres > 0) | ~np.isfinite(metres)] = np.nan
        return metres

    def _block(self, frame_id: int, start: int, size: int) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(size)
        try:
            raw = lz4.block.decompress(data, uncompressed_size=2 * _PIXELS)
            return np.frombuffer(raw, "<u2", _PIXELS).astype(np.float32) / np.float32(1000)
        except (lz4.block.LZ4BlockError, ValueError):  # ValueError: too few bytes
            pass
        try:
            return np.frombuffer(zlib.decompress(data, -zlib.MAX_WBITS), "<f4", _PIXELS)
        except (zlib.error, ValueError):
            raise SceneError(f"{self.path}: frame {frame_id} is damaged (neither LZ4 nor deflate)") from None


class _LongStream:
    """One deflate stream of all frames. Going back starts over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._restart()

    def read(self, frame_id: int) -> np.ndarray | None:
        if frame_id < self._next:
            self._restart()
        data = b""
        while self._next <= frame_id:
            data = self._take(4 * _PIXELS)
            self._next += 1
        return np.frombuffer(data, "<f4") if len(data) == 4 * _PIXELS else None

    def _restart(self) -> None:
        self._next, self._at, self._pending = 0, 0, b""
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def _take(self, wanted: int) -> bytes:
        found = bytearray()
        try:
            with self._path.open("rb") as file:
                while len(found) < wanted and not self._inflate.eof:
                    if not self._pending:
                        file.seek(self._at)
                        self._pending = file.read(_CHUNK)
                        self._at += len(self._pending)
                        if not self._pending:
                            break
                    found += self._inflate.decompress(self._pending, wanted - len(found))
                    self._pending = self._inflate.unconsumed_tail
        except zlib.error as error:
            raise SceneError(f"{self._path}: damaged from frame {self._next} on ({error})") from None
        return bytes(found)


def _index(path: Path) -> list[tuple[int, int]] | None:
    """(start, size) of each block, a torn last one left out; None where the file is no list of blocks."""
    blocks = []
    with path.open("rb") as file:
        end = file.seek(0, 2)
        at = 0
        while at + 4 <= end:
            file.seek(at)
            size = int.from_bytes(file.read(4), "little")
            if not 0 < size <= _LARGEST:
                return None
            if at + 4 + size > end:
                break
            blocks.append((at + 4, size))
            at += 4 + size
    return blocks or None
