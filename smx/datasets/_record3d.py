"""Record3D's recordings: the `.r3d` file of the app (a zip), the same unpacked, and its export "EXR + JPG sequence".

`metadata` (JSON) has poses, intrinsics and sizes; `rgbd/0.jpg`, `0.depth` are a frame: JPEG, and LZFSE over float32
metres, `dh` rows of `dw`. The export has `metadata.json`, `rgb/0.jpg`, `depth/0.exr` instead, maybe in `EXR_RGBD/`.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smx.datasets._captures import record3d_frames
from smx.datasets._frame_reader import read_depth
from smx.datasets._posed_scan import Rig, RigScene, resized_K
from smx.datasets._poses import dropped_poses
from smx.digests import file_digest
from smx.errors import SceneError
from smx.geometry.capture_poses import read_record3d


def files_of(place: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """(read by their ends, read whole, pictures and maps) of a recording, for its digest."""
    if place.is_file():
        return [place], [], []
    folder = record3d_frames(place)
    base = place if folder is None else folder.parent
    many = [file for name in ("rgbd", "rgb", "depth") if (base / name).is_dir() for file in (base / name).iterdir()]
    return [], [base / "metadata", base / "metadata.json"], sorted(file for file in many if file.is_file())


class Record3DScene(RigScene):
    """One recording. Frame ids are the numbers of its pictures."""

    _media: Recording

    def __init__(self, scene_id: str, place: Path) -> None:
        super().__init__(scene_id, Recording(place))

    def _read_rig(self) -> Rig:
        media = self._media
        read = read_record3d(media.metadata, f"{media.path}: metadata")
        assert read.K is not None
        assert read.size is not None
        if media.frame_ids[-1] >= len(read.w2c):
            last = media.frame_ids[-1]
            raise SceneError(f"{media.path}: {len(read.w2c)} poses, and there is a picture of frame {last}")
        w2c, K = read.w2c[media.frame_ids], read.K[media.frame_ids]
        K = resized_K(K, read.size, self.stored_size, media.path)
        note = {"format": "record3d", "file": "metadata", "matched_by": "number"}
        return Rig(w2c, K, note=note, remarks=dropped_poses(read.dropped, media.path))

    def _read_depth(self, position: int) -> tuple[np.ndarray, None, Path] | None:
        metres = self._media.depth(int(self.frame_ids[position]))
        return None if metres is None else (metres, None, self._media.path)


class Recording:
    """The frames of a recording, in a zip or a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = _opened(path) if path.is_file() else None
        self._base = path if path.is_file() else (record3d_frames(path) or path).parent
        numbers = sorted(int(match[1]) for name in self._names if (match := _PICTURE.fullmatch(name)))
        if not numbers:
            raise SceneError(f"{path}: no picture rgbd/0.jpg … in this recording")
        self.frame_ids = np.array(numbers, dtype=np.int64)
        self._folder = "rgbd" if any(name.startswith("rgbd/") for name in self._names) else "rgb"
        self.height, self.width = self._picture(numbers[0]).shape[:2]
        self.times, self.fps = self._clock()

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The JSON object. `SceneError` where it is none."""
        name = next((name for name in ("metadata", "metadata.json") if name in self._names), None)
        if name is None:
            raise SceneError(f"{self.path}: no metadata in this recording")
        try:
            data = json.loads(self._bytes(name))
        except ValueError as error:
            raise SceneError(f"{self.path}: metadata is broken JSON ({error})") from None
        if not isinstance(data, dict):
            raise SceneError(f"{self.path}: metadata is no JSON object")
        return data

    @property
    def turns(self) -> np.ndarray:
        """None: the app writes its pictures upright."""
        return np.zeros(len(self.frame_ids), dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3]) ascending. `SceneError` naming a frame that is damaged or absent."""
        for frame_id in sorted({int(i) for i in ids}):
            pixels = self._picture(frame_id)
            if pixels.shape[:2] != (self.height, self.width):
                raise SceneError(f"{self.path}: frame {frame_id} is of another size than the first")
            yield frame_id, pixels

    def depth(self, frame_id: int) -> np.ndarray | None:
        """[dh, dw] float32 metres, NaN where nothing was measured; None where the frame has none."""
        if f"rgbd/{frame_id}.depth" in self._names:
            return self._lzfse_depth(frame_id)
        if f"depth/{frame_id}.exr" in self._names and self._zip is None:
            return read_depth(self._base / "depth" / f"{frame_id}.exr", None)
        return None

    def source(self) -> dict[str, Any]:
        """Kind, name, digest, number of frames."""
        found: dict[str, Any] = {"kind": "record3d", "file": self.path.name, "frames": len(self.frame_ids)}
        return found | ({"sha256": file_digest(self.path)} if self.path.is_file() else {})

    def _lzfse_depth(self, frame_id: int) -> np.ndarray:
        where = f"{self.path}: depth of frame {frame_id}"
        try:
            import liblzfse
        except ImportError:
            raise SceneError(f"{where} needs liblzfse, which is not installed: pip install 'smx[record3d]'") from None
        try:
            data = liblzfse.decompress(self._bytes(f"rgbd/{frame_id}.depth"))
        except liblzfse.error:
            raise SceneError(f"{where} is damaged (no LZFSE)") from None
        width, height = self._depth_size(len(data) // 4, where)
        metres = np.frombuffer(data, "<f4").reshape(height, width).copy()
        metres[~(metres > 0) | ~np.isfinite(metres)] = np.nan
        return metres

    def _depth_size(self, pixels: int, where: str) -> tuple[int, int]:
        """(width, height): as the metadata has it; the app's two usual ones where it does not say."""
        said = (self.metadata.get("dw"), self.metadata.get("dh"))
        for width, height in (said, (192, 256), (480, 640)):
            if isinstance(width, int) and isinstance(height, int) and width * height == pixels:
                return width, height
        raise SceneError(f"{where}: {pixels} values, the metadata says {said[0]}x{said[1]}")

    def _clock(self) -> tuple[np.ndarray | None, float | None]:
        fps = self.metadata.get("fps")
        rate = float(fps) if isinstance(fps, int | float) and fps > 0 else None
        times = self.metadata.get("frameTimestamps")
        if isinstance(times, list) and len(times) > self.frame_ids[-1]:
            clock = np.array(times, dtype=np.float64)[self.frame_ids]
            if np.isfinite(clock).all() and (np.diff(clock) > 0).all():
                return clock, rate
        return (None if rate is None else self.frame_ids / rate), rate

    def _picture(self, frame_id: int) -> np.ndarray:
        name = next((n for e in ("jpg", "png") if (n := f"{self._folder}/{frame_id}.{e}") in self._names), None)
        if name is None:
            raise SceneError(f"{self.path}: there is no picture of frame {frame_id}")
        try:
            with Image.open(io.BytesIO(self._bytes(name))) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise SceneError(f"{self.path}: {name} cannot be read as an image ({error})") from None

    @cached_property
    def _names(self) -> frozenset[str]:
        if self._zip is not None:
            return frozenset(self._zip.namelist())
        folders = [self._base, *(self._base / name for name in ("rgbd", "rgb", "depth"))]
        files = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file()]
        return frozenset(file.relative_to(self._base).as_posix() for file in files)

    def _bytes(self, name: str) -> bytes:
        try:
            if self._zip is None:
                return (self._base / name).read_bytes()
            return self._zip.read(name)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise SceneError(f"{self.path}: {name} cannot be read ({error})") from None


_PICTURE = re.compile(r"(?:rgbd|rgb)/(\d+)\.(?:jpg|png)")


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise SceneError(
            f"{path}: no whole .r3d file ({error}): a copy that was cut off? share it from the app once more"
        ) from None
