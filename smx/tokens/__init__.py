"""How many tokens a clip becomes: sizes, grids, tubelets, vision windows and the merged tokens the LLM reads.

Pure arithmetic of Qwen2.5-VL (transformers' `smart_resize` and `get_vision_window_index`), of Qwen3-VL (its video
processor's `smart_resize`) and of the VGGT side of Spatial-MLLM. `costs` has bytes and FLOPs, `explain` the words.
Sizes are pixels and written width first, as in `644x476`; grids are (t, h, w) as in `grid_thw`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smx.errors import UserError

PATCH = 14
TEMPORAL_PATCH = 2
MERGE = 2
QWEN3_PATCH = 16
QWEN3_CLIP_PIXELS = (128 * 32 * 32, 768 * 32 * 32)  # of a whole clip, its processor's default: fewest, most
FRAME_PIXELS = (293_216, 324_576)  # pixels per frame in Qwen's video fine-tuning: fewest, most
VGGT_SPECIAL = 5  # 1 camera token + 4 register tokens before each frame's patches
VGGT_WIDTH = 2048  # frame and global halves of VGGT-1B, 1024 each
POSE_WIDTH = 9  # translation 3, quaternion 4, fields of view 2
LARGEST_ASPECT = 200


def smart_resize(
    width: int, height: int, *, factor: int = PATCH * MERGE, pixels: tuple[int, int] = FRAME_PIXELS
) -> tuple[int, int]:
    """(width, height) that Qwen's processor resizes a frame to: multiples of `factor`, nearest to the given size.

    Where rounding leaves the budget `pixels` (fewest, most) the frame is scaled as a whole, rounding inwards.
    `UserError` for empty sizes, a budget upside down, and frames more than 200 times longer than wide.
    """
    fewest, most = pixels
    if width < 1 or height < 1:
        raise UserError(f"a frame of {width}x{height} has no pixels", "sizes are WIDTHxHEIGHT, such as 640x480")
    if not 0 < fewest <= most:
        raise UserError(f"pixel budget {fewest}..{most} is empty", "give the fewest pixels first, then the most")
    if max(width, height) / min(width, height) > LARGEST_ASPECT:
        raise UserError(
            f"{width}x{height} is more than {LARGEST_ASPECT} times longer than wide", "Qwen's processor refuses it too"
        )
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    if wide * high > most:
        shrink = math.sqrt(width * height / most)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
        high = max(factor, math.floor(height / shrink / factor) * factor)
    elif wide * high < fewest:
        grow = math.sqrt(fewest / (width * height))
        wide = math.ceil(width * grow / factor) * factor
        high = math.ceil(height * grow / factor) * factor
    return wide, high


def smart_resize_clip(
    frames: int,
    width: int,
    height: int,
    *,
    factor: int = QWEN3_PATCH * MERGE,
    pixels: tuple[int, int] = QWEN3_CLIP_PIXELS,
) -> tuple[int, int]:
    """(width, height) that Qwen3-VL's own processor resizes a clip to: its budget counts all frames together.

    smx itself gives every base model the same budget per frame (`smart_resize`); this is for comparison.
    """
    fewest, most = pixels
    if frames < TEMPORAL_PATCH:
        raise UserError(f"Qwen3-VL's processor takes {TEMPORAL_PATCH} frames at least, not {frames}", "--frames 2")
    if min(width, height) < factor:
        grow = max(factor / height, factor / width)
        height, width = int(height * grow), int(width * grow)
    if max(width, height) / min(width, height) > LARGEST_ASPECT:
        raise UserError(
            f"{width}x{height} is more than {LARGEST_ASPECT} times longer than wide", "Qwen's processor refuses it too"
        )
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    counted = round(frames / TEMPORAL_PATCH) * TEMPORAL_PATCH
    if counted * wide * high > most:
        shrink = math.sqrt(frames * width * height / most)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
        high = max(factor, math.floor(height / shrink / factor) * factor)
    elif counted * wide * high < fewest:
        grow = math.sqrt(fewest / (frames * width * height))
        wide, high = math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor
    return wide, high


def stamp_tokens(seconds: float) -> int:
    """Tokens of Qwen3-VL's `<0.5 seconds>` and the two that enclose a block: a digit is a token of its own."""
    return len("<") + len(f"{seconds:.1f}") + len([" seconds", ">"]) + len(["<|vision_start|>", "<|vision_end|>"])


@dataclass(frozen=True)
class Layout:
    """The token arithmetic of one clip whose frames already have the size the vision encoder sees."""

    frames: int
    width: int
    height: int
    patch: int = PATCH
    temporal_patch: int = TEMPORAL_PATCH
    merge: int = MERGE
    channels: int = 3

    def __post_init__(self) -> None:
        _refuse_odd_frames(self.frames, self.temporal_patch)
        cell = self.patch * self.merge
        if self.width % cell or self.height % cell or min(self.width, self.height) < cell:
            near = "x".join(str(max(cell, round(side / cell) * cell)) for side in (self.width, self.height))
            raise UserError(
                f"{self.width}x{self.height} does not divide into {cell}x{cell} pixel cells "
                f"(patch {self.patch}, merge {self.merge})",
                f"the nearest size that does is {near}",
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """(t, h, w) in patches, before the spatial merge: one row of `video_grid_thw`."""
        return self.frames // self.temporal_patch, self.height // self.patch, self.width // self.patch

    @property
    def merged(self) -> tuple[int, int, int]:
        """(t, h, w) in tokens the LLM reads."""
        t, h, w = self.grid
        return t, h // self.merge, w // self.merge

    @property
    def patches(self) -> int:
        """P: patches of one frame."""
        return self.grid[1] * self.grid[2]

    @property
    def tubelets(self) -> int:
        """Rows of `pixel_values_videos`: patches of `temporal_patch` frames each."""
        return self.grid[0] * self.patches

    @property
    def tubelet_width(self) -> int:
        """Numbers in one such row."""
        return self.channels * self.temporal_patch * self.patch**2

    @property
    def tokens(self) -> int:
        """Video tokens in the prompt."""
        return math.prod(self.merged)

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """Shape of VGGT's last layer for these frames: [frames, 5 + P, 2048]."""
        return self.frames, VGGT_SPECIAL + self.patches, VGGT_WIDTH

    @property
    def pose_shape(self) -> tuple[int, int]:
        """Shape of VGGT's pose encodings: [frames, 9]."""
        return self.frames, POSE_WIDTH

    def spatial_tubelet_width(self, width: int) -> int:
        """Numbers in one 2x2x2 tubelet of spatial features `width` wide (8,192 for 1024, 16,384 for 2048)."""
        return self.temporal_patch * self.merge**2 * width

    def positions_shape(self, text_tokens: int) -> tuple[int, int, int]:
        """Shape of the position ids of this clip and `text_tokens` of text: [3, 1, tokens + text]."""
        return 3, 1, self.tokens + text_tokens


def vision_windows(
    grid: Sequence[int], *, window: int = 112, patch: int = PATCH, merge: int = MERGE
) -> tuple[list[int], list[int]]:
    """Qwen2.5-VL's window attention over a (t, h, w) grid of patches.

    Returns the order in which merged cells are visited (`window_index`) and the cumulative number of patches at
    the end of each window (`cu_window_seqlens`, from 0). Windows at the right and lower edge may be smaller.
    """
    frames, rows, columns = grid[0], grid[1] // merge, grid[2] // merge
    side = window // merge // patch
    if side < 1:
        raise UserError(f"a window of {window} px is smaller than one merged cell", f"use at least {patch * merge} px")
    order: list[int] = []
    ends = [0]
    for t in range(frames):
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                cells = [
                    (t * rows + y) * columns + x
                    for y in range(top, min(top + side, rows))
                    for x in range(left, min(left + side, columns))
                ]
                order += cells
                ends.append(ends[-1] + len(cells) * merge**2)
    return order, ends


def _refuse_odd_frames(frames: int, temporal_patch: int) -> None:
    if frames < 1 or frames % temporal_patch:
        below, above = frames // temporal_patch * temporal_patch, (frames // temporal_patch + 1) * temporal_patch
        near = f"{below} or {above}" if below > 0 else str(above)
        raise UserError(f"{frames} frames do not make whole tubelets of {temporal_patch}", f"use {near}")
