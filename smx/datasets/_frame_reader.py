"""Where a scene's frames come from: a video or numbered images, behind one small interface."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from smx import video, zipped
from smx.datasets._files import Numbered
from smx.digests import file_digest
from smx.errors import SceneError


class Frames(Protocol):
    """What matching files with frames needs to know; the first members of `smx.datasets.Scene`."""

    frame_ids: np.ndarray
    width: int
    height: int
    fps: float | None
    times: np.ndarray | None  # [N] seconds on the clock that files beside the frames use; None where they have none

    @property
    def turns(self) -> np.ndarray:
        """[N] clockwise quarter turns that made the stored frames upright; -1 where one was mirrored, too."""


class Media(Frames, Protocol):
    """Frames that can be read."""

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]: ...
    def source(self) -> dict[str, Any]: ...


class VideoMedia:
    """Frames of one video; ids are places in the order of presentation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.video = video.probe(path)
        self.frame_ids = np.arange(self.video.n_frames, dtype=np.int64)
        self.width, self.height = self.video.width, self.video.height
        self.fps: float | None = self.video.fps
        self.times: np.ndarray | None = self.video.timestamps + self.video.start  # as the container counts

    @property
    def turns(self) -> np.ndarray:
        """By the container's rotation tag."""
        return np.full(len(self.frame_ids), -1 if self.video.mirrored else self.video.rotation // 90)

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See `smx.video.decode`."""
        return video.decode(self.path, ids)

    def source(self) -> dict[str, Any]:
        """Kind, name, digest, size, codec, and the header's claim where the count of frames differs from it."""
        declared = self.video.n_frames_declared
        claim = {"frames_declared": declared} if declared not in (0, self.video.n_frames) else {}
        return {
            "kind": "video",
            "file": self.path.name,
            "sha256": file_digest(self.path),
            "size": zipped.stat(self.path)[0],
            "codec": self.video.codec,
            "rotation": self.video.rotation,
            **claim,
        }


class ImageMedia:
    """Images in order; ids are their numbers."""

    def __init__(self, order: Numbered, fps: float | None) -> None:
        self.files = dict(zip(order.numbers, order.files, strict=True))
        self.frame_ids = np.array(order.numbers, dtype=np.int64)
        self.height, self.width = _read_rgb(order.files[0]).shape[:2]
        self.fps, self.times = fps, None
        if order.times is not None:
            self.times = np.array(order.times)
            span = self.times[-1] - self.times[0]
            self.fps = fps or (float((len(self.times) - 1) / span) if span > 0 else None)
        elif fps is not None:
            self.times = self.frame_ids / fps

    @cached_property
    def turns(self) -> np.ndarray:
        """By the EXIF tags, of which only the heads of files are read."""
        return np.array([_quarters(file) for file in self.files.values()], dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3]) ascending. `SceneError` naming a file that is missing, broken or of another size."""
        for frame_id in sorted({int(i) for i in ids}):
            if frame_id not in self.files:
                folder = next(iter(self.files.values())).parent
                raise SceneError(f"{folder}: there is no image of frame {frame_id}")
            pixels = _read_rgb(self.files[frame_id])
            if pixels.shape[:2] != (self.height, self.width):
                size, first = f"{pixels.shape[1]}x{pixels.shape[0]}", f"{self.width}x{self.height}"
                raise SceneError(f"{self.files[frame_id]}: {size}, the scene's first image is {first}")
            yield frame_id, pixels

    def source(self) -> dict[str, Any]:
        """Kind, folder name, digest over the images' names and sizes, size of all of them."""
        files = list(self.files.values())
        sizes = [file.stat().st_size for file in files]
        listing = "".join(f"{file.name}\0{size}\n" for file, size in zip(files, sizes, strict=True))
        return {
            "kind": "images",
            "file": files[0].parent.name,
            "sha256": hashlib.sha256(listing.encode()).hexdigest(),
            "size": sum(sizes),
        }


def _read_rgb(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], upright by the EXIF tag."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise SceneError(f"{path}: one channel of {image.mode}, no colour frame (a depth map?)")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SceneError(f"{path}: cannot be read as an image ({error})") from None


# EXIF orientation -> clockwise quarter turns upright; the others are mirrored.
_TURNS = {1: 0, 6: 1, 3: 2, 8: 3}
_ORIENTATION = 0x0112


def _quarters(path: Path) -> int:
    if path.suffix.lower() == ".bmp":  # a format without tags
        return 0
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0  # broken, which is said when it is asked for
    return _TURNS.get(orientation, -1 if orientation in (2, 4, 5, 7) else 0)


def read_depth(path: Path, scale: float | None, whole_scale: float = 1000.0) -> np.ndarray:
    """float32 metres [h, w] of a 16-bit png, 16- or 32-bit tiff, .npy or .exr; NaN where nothing was measured.

    `scale`: units of a metre. None: whole numbers have `whole_scale` of them, floats are metres. Zero and less, what is
    not finite, and 65535 of 16 bits are nothing measured. `SceneError` naming a file that is damaged or no map.
    """
    try:
        raw = _READERS.get(path.suffix.lower(), _picture_depth)(path)
    except (OSError, EOFError, SyntaxError, ValueError, RuntimeError) as error:
        raise SceneError(f"{path}: cannot be read as a depth map ({error})") from None
    if raw.ndim == 3 and 1 in (raw.shape[0], raw.shape[2]):
        raw = raw.squeeze(0 if raw.shape[0] == 1 else 2)
    if raw.ndim != 2 or raw.dtype.kind not in "uif":
        raise SceneError(f"{path}: {'x'.join(map(str, raw.shape))} of {raw.dtype}, a depth map is one number a pixel")
    whole = raw.dtype.kind in "ui"
    # a png's values are 16 bits wide whatever its reader makes of them; 7-Scenes writes 65535 for nothing
    missing = (raw <= 0) | ~np.isfinite(raw) | ((raw >= 65535) if whole else False)
    metres: np.ndarray = raw.astype(np.float32) / np.float32(scale or (whole_scale if whole else 1.0))
    metres[missing] = np.nan
    return metres


def _picture_depth(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if not image.mode.startswith(("I", "F")):
            raise SceneError(f"{path}: {image.mode} image, a depth map is a 16-bit png")
        return np.asarray(image)


def _exr_depth(path: Path) -> np.ndarray:
    """The channel Z, else the only one, else R (Record3D and OpenCV repeat depth in R, G and B)."""
    try:
        import OpenEXR
    except ImportError:
        raise SceneError(f"{path}: needs OpenEXR, which is not installed: pip install 'smx[exr]'") from None
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name.rpartition(".")[2]: channel.pixels for name, channel in file.channels().items()}
    name = next((name for name in ("Z", "Y", "R", "V") if name in channels), next(iter(channels), None))
    if name is None:
        raise ValueError("it has no channel")
    pixels: np.ndarray = np.array(channels[name])
    return pixels


_READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": lambda path: np.asarray(np.load(path, allow_pickle=False)),
    ".exr": _exr_depth,
}
