"""Frames into the rows of `pixel_values_videos`: what Qwen2-VL's image processor does, without torchvision."""

from __future__ import annotations

import numpy as np

from smx.tokens import MERGE, PATCH, TEMPORAL_PATCH, Layout, smart_resize

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)  # CLIP's, as in preprocessor_config.json
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


def prepare(
    frames: np.ndarray,
    pixels: tuple[int, int],
    *,
    patch: int = PATCH,
    merge: int = MERGE,
    repeat: bool = False,
    mean: np.ndarray = MEAN,
    std: np.ndarray = STD,
) -> tuple[np.ndarray, Layout]:
    """[n, H, W, 3] uint8 RGB frames → ([tubelets, 6·patch²] float32, their layout).

    Each frame is resized (bicubic) to `smart_resize` within `pixels`, scaled to 0..1, normalised by `mean` and `std`
    of each channel, and cut into patches ordered so that the 2x2 patches of one merged token follow each other.
    Frames 2k and 2k+1 share a tubelet; with `repeat` every frame fills a tubelet of its own, twice.
    """
    assert frames.shape[3:] == (3,), f"frames are [n, H, W, 3], got {frames.shape}"
    assert frames.dtype == np.uint8, f"frames are uint8, got {frames.dtype}"
    height, width = frames.shape[1:3]
    wide, high = smart_resize(width, height, factor=patch * merge, pixels=pixels)
    layout = Layout(
        len(frames) * (TEMPORAL_PATCH if repeat else 1), wide, high, patch, TEMPORAL_PATCH, merge, channels=3
    )
    normal = (resize(frames, wide, high).astype(np.float32) / np.float32(255) - mean) / std
    if repeat:
        normal = np.repeat(normal, TEMPORAL_PATCH, axis=0)
    return patchify(normal, layout), layout


def resize(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bicubic, with PIL's antialiasing: [n, height, width, 3] uint8."""
    from PIL import Image

    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in frames]
    )


def patchify(images: np.ndarray, layout: Layout) -> np.ndarray:
    """[frames, H, W, C] → [tubelets, C·temporal·patch²]; rows by (t, row, column, row in 2x2, column in 2x2)."""
    t, h, w = layout.grid
    m, p = layout.merge, layout.patch
    cells = images.reshape(t, layout.temporal_patch, h // m, m, p, w // m, m, p, layout.channels)
    rows = cells.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)  # t, H, W, h, w, channel, frame in tubelet, y, x
    return np.ascontiguousarray(rows).reshape(layout.tubelets, layout.tubelet_width)
