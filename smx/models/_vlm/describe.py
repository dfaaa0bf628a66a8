"""A variant's pipeline in words, stage by stage: what `smx list models NAME` draws. Light: no torch."""

from __future__ import annotations

from smx.geometry.pose_attention import blocks, section_pairs
from smx.models._vlm.position_options import Pose, Rope
from smx.tokens import TEMPORAL_PATCH, Layout, smart_resize

Stage = tuple[str, str]
VIDEO = (640, 480)  # the size that numbers are given for, as most benchmarks' videos have it
FRAMES = 16


def frames(pixels: tuple[int, int], tubelets: str, patch: int) -> list[Stage]:
    """How frames become cells. `pixels`: fewest and most of a frame; `patch`: pixels along its side."""
    cell = 2 * patch
    wide, high = smart_resize(*VIDEO, factor=cell, pixels=pixels)
    each = "every frame fills a tubelet of its own" if tubelets == "repeat" else "2 frames share a tubelet"
    fewest, most = pixels
    return [
        (
            "frames",
            f"resized to {fewest:,}..{most:,} pixels in cells of {cell}x{cell} "
            f"({VIDEO[0]}x{VIDEO[1]} becomes {wide}x{high}); {each}",
        )
    ]


def tokens(pixels: tuple[int, int], tubelets: str, patch: int, beside: int = 0) -> list[Stage]:
    """How many tokens that makes; `beside`: further tokens of every frame."""
    repeat = TEMPORAL_PATCH if tubelets == "repeat" else 1
    size = smart_resize(*VIDEO, factor=2 * patch, pixels=pixels)
    clip = Layout(FRAMES * repeat, *size, patch)
    more = f" + {beside}" if beside else ""
    return [
        (
            "tokens",
            f"{clip.tokens / FRAMES:g}{more} per frame at {VIDEO[0]}x{VIDEO[1]}; "
            f"{FRAMES} frames: {clip.tokens + FRAMES * beside:,}",
        )
    ]


def positions(rope: Rope, sections: tuple[int, int, int], trained_stride: float | None) -> list[Stage]:
    """Rotary positions of the video and of the text behind it. `sections`: rotary pairs of t, h, w in a head."""
    sizes = " ".join(f"{name} {size}" for name, size in zip("thw", sections, strict=True))
    if rope.base == "hw":
        time = "row and column, no time: every frame at the video's start"
    elif rope.temporal == "constant":
        time = "time, row and column, every frame at the same moment (stride 0)"
    else:
        time = f"time, row and column, temporal stride {_number(rope.stride_word())}"
    trained = "" if trained_stride is None else f", trained at {trained_stride:g}"
    behind = "largest position" if rope.text_start == "max" else "grid"
    return [("positions", f"{time}{trained}; text goes on after the {behind}; {rope.layout} sections {sizes}")]


def pose(pose: Pose, rope: Rope, sections: tuple[int, int, int], tubelets: str) -> list[Stage]:
    """Where cameras enter the attention."""
    kind = pose.encoding
    if not kind.reads_cameras:
        return [("poses", kind.words)]
    where = "between video tokens"
    if kind.acts:
        chosen = {i for pair in blocks(list(sections), pose.dims, pose.fraction, rope.base, rope.layout) for i in pair}
        pairs = section_pairs(list(sections), rope.layout)
        per = [f"{name} {_ranges(sorted(chosen & set(pairs[name])))}" for name in "thw" if chosen & set(pairs[name])]
        parts = ", ".join("output" if name == "o" else name for name in pose.apply)
        where = f"{2 * len(chosen)} of {2 * sum(sections)} dims of a head (pairs {', '.join(per)}) of {parts}"
    source = "the sample set" if pose.source == "sample" else "VGGT"
    tubelet = {
        "first": "a tubelet has its first frame's",
        "mean": "a tubelet has the mean of its two",
        "split": "half of the blocks have the first frame's, half the second's",
    }[pose.tubelet if tubelets == "pair" else "first"]
    unit = {"mean": "mean distance to it 1", "max": "largest distance to it 1", "none": "in the data's own unit"}
    used = {"both": "", "rotation": "rotation alone", "translation": "translation alone"}
    read = {"reference": f"relative to the {pose.reference} camera", "scale": unit[pose.scale], "use": used[pose.use]}
    reading = "".join(f", {words}" for name, words in read.items() if words and name not in kind.unread)
    return [("poses", f"{kind.words}; {where}"), ("cameras", f"of {source}{reading}; {tubelet}")]


def _number(stride: float | str) -> str:
    return stride if isinstance(stride, str) else f"{stride:g}"


def _ranges(numbers: list[int]) -> str:
    """`12-15` for neighbours, single numbers with commas else."""
    if numbers and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))
