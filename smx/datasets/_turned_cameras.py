"""Cameras of frames that a tag (EXIF's, or the container's) turned upright: they turn with the picture.

Programs that make cameras read a picture's pixels as they are stored; smx hands out frames upright. Which of the two
intrinsics are for is told by the size of their image, else by their principal point.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smx.datasets._frame_reader import Frames
from smx.errors import SceneError
from smx.geometry.cameras import resize_intrinsics, turned_camera, turned_image

# A crop is no resize: what is left after rounding sizes to whole pixels stays below this.
ASPECT_TOLERANCE = 0.02

Size = tuple[int, int]  # width, height


def upright(
    w2c: np.ndarray, K: np.ndarray | None, size: Size | None, media: Frames, file: Path
) -> tuple[np.ndarray, np.ndarray | None]:
    """(w2c [N, 4, 4], K [N, 3, 3] in pixels of the frames) of cameras read from `file`, K for images of `size`.

    `SceneError` where an image was mirrored, or is no resize of what the intrinsics are for.
    """
    turns = np.broadcast_to(media.turns, len(w2c))
    if (turns < 0).any():
        raise SceneError(f"{file}: frame {media.frame_ids[turns < 0][0]} is mirrored by its tag, so no camera fits it")
    w2c, K = w2c.copy(), None if K is None else K.copy()
    for quarters in np.unique(turns).tolist():
        rows = turns == quarters
        shown = (media.width, media.height)
        stored = shown if quarters % 2 == 0 else shown[::-1]
        if K is not None and not _for_the_stored(K[rows], size, stored, shown):
            K[rows] = _resized(K[rows], size, shown, file)
            continue
        own = np.tile(np.eye(3), (int(rows.sum()), 1, 1)) if K is None else _resized(K[rows], size, stored, file)
        w2c[rows], own = turned_camera(w2c[rows], own, stored, quarters)
        if K is not None:
            K[rows] = own
    return w2c, K


def upright_depth(
    depth: np.ndarray, K: np.ndarray | None, quarters: int, shown: Size
) -> tuple[np.ndarray, np.ndarray | None]:
    """(depth map, its own K) of a frame of size `shown` that was turned; a map that is upright already stays."""
    size = (depth.shape[1], depth.shape[0])
    if quarters % 4 == 0 or (quarters % 2 and not _alike(size, shown[::-1])):
        return depth, K
    if K is not None:
        _, K = turned_camera(np.eye(4), K, size, quarters)
    return turned_image(depth, quarters), K


def _for_the_stored(K: np.ndarray, size: Size | None, stored: Size, shown: Size) -> bool:
    if stored == shown:
        return True
    if size is not None:
        return not _alike(size, shown)
    # A principal point is near the middle: of which of the two sizes, and by how much of it, is it off?
    off = [np.abs(2 * K[:, :2, 2] / np.array(each) - 1).max() for each in (stored, shown)]
    return bool(off[0] <= off[1])


def _resized(K: np.ndarray, size: Size | None, to: Size, file: Path) -> np.ndarray:
    if size is None or size == to:
        return K
    if not _alike(size, to):
        raise SceneError(
            f"{file}: intrinsics of {size[0]}x{size[1]} images, the frames are {to[0]}x{to[1]}:"
            " turned or cropped, not resized"
        )
    return resize_intrinsics(K, size, to)


def _alike(a: Size, b: Size) -> bool:
    return abs(a[0] / a[1] / (b[0] / b[1]) - 1) <= ASPECT_TOLERANCE
