"""Position ids of one video and the text around it: three rows (t, h, w), computed here, never by transformers.

transformers changed its own rules silently several times, so every forward pass gets these ids explicitly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from smx.models._vlm.position_options import Rope


def temporal_stride(rope: Rope, timestamps: np.ndarray, frames_per_grid: int, duration: float | None = None) -> float:
    """Step between consecutive tubelets in temporal position ids, for frames at `timestamps` seconds [n].

    `seconds_per_grid: auto` is the rule of Qwen2.5-VL's processor (`temporal_patch_size / sampled_fps`): the frames of
    one tubelet × `duration` of the clip in seconds / n. Where no duration is known, their mean spacing from the
    earliest to the latest.
    """
    fixed = rope.fixed_stride()
    if fixed is not None:
        return fixed
    if duration is not None:
        spacing = duration / len(timestamps)
    else:
        spacing = float(np.ptp(timestamps)) / max(len(timestamps) - 1, 1)
    return frames_per_grid * spacing * rope.rate


def video_positions(start: int, grid: tuple[int, int, int], stride: float) -> np.ndarray:
    """[3, t·h·w] int64 ids of the merged tokens of a video that begins at position `start`, in token order."""
    t, h, w = grid
    steps = np.array([math.floor(k * stride + 1e-9) for k in range(t)], dtype=np.int64)
    axes = np.meshgrid(steps, np.arange(h), np.arange(w), indexing="ij")
    return np.stack([axis.reshape(-1) for axis in axes]).astype(np.int64) + start


def camera_positions(start: int, grid: tuple[int, int, int], stride: float, frames: int) -> np.ndarray:
    """[3, frames] int64 ids of one token per frame behind a video that begins at `start` (`features: camera`).

    A frame's token has its tubelet's time, and stands one row and one column past the grid, the next frame of the
    same tubelet one further. Our own rule: nothing published has such tokens.
    """
    t, h, w = grid
    each = frames // t
    number = np.arange(frames)
    steps = np.array([math.floor(k * stride + 1e-9) for k in number // each], dtype=np.int64)
    return np.stack((steps, h + number % each, w + number % each)).astype(np.int64) + start


def text_start(start: int, grid: tuple[int, int, int], stride: float, rule: str) -> int:
    """Position of the first token after a video that begins at `start`.

    `max`: one beyond the largest id of the video (transformers up to 5.2, all published Spatial-MLLM numbers).
    `grid`: `start` + the longer side of the merged grid (transformers since).
    """
    t, h, w = grid
    if rule == "grid":
        return start + max(h, w)
    return start + max(math.floor((t - 1) * stride + 1e-9), h - 1, w - 1) + 1


def prompt_positions(
    length: int, start: int, grid: tuple[int, int, int], stride: float, rule: str, cameras: int = 0
) -> tuple[np.ndarray, int]:
    """([3, length] int64 of a prompt whose video's merged tokens begin at `start`, the position after its end).

    `cameras` tokens, one per frame, follow the video's (`features: camera`); the text behind keeps clear of them.
    """
    t, h, w = grid
    parts = [text_positions(0, start), video_positions(start, grid, stride)]
    after = text_start(start, grid, stride, rule)
    if cameras:
        parts.append(camera_positions(start, grid, stride, cameras))
        after = max(after, int(parts[-1].max()) + 1) if rule == "max" else after + cameras // t
    tail = length - start - t * h * w - cameras
    return np.concatenate((*parts, text_positions(after, tail)), axis=1), after + tail


def text_positions(start: int, length: int) -> np.ndarray:
    """[3, length] int64: text counts on, the same in every row."""
    return np.tile(np.arange(start, start + length, dtype=np.int64), (3, 1))
