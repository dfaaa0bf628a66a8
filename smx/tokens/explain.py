"""A clip's arithmetic step by step, in words and numbers: what `smx tokens --explain` prints."""

from __future__ import annotations

from typing import Any

from smx.tokens import VGGT_SPECIAL, VGGT_WIDTH, Layout, stamp_tokens, vision_windows
from smx.tokens.costs import BYTES, Architecture, cost


def steps(
    model: Architecture, clip: Layout, text_tokens: int, dtype: str, *, stamped: bool = False
) -> list[tuple[str, str]]:
    """(name, what is computed) of each step from frames to the first answered token.

    `stamped`: Qwen3-VL's prompt, a timestamp before each tubelet (counted in `text_tokens`).
    """
    t, h, w = clip.grid
    _, rows, columns = clip.merged
    pair, merge, patch = clip.temporal_patch, clip.merge, clip.patch
    found = [
        (
            "patches",
            f"{clip.width} / {patch} = {w} columns, {clip.height} / {patch} = {h} rows: "
            f"P = {h} · {w} = {clip.patches:,} patches a frame",
        ),
        (
            "tubelets in time",
            f"{pair} frames share one: {clip.frames} / {pair} = {t}; video_grid_thw [[{t}, {h}, {w}]]",
        ),
        (
            "pixel tubelets",
            f"{t} · {h} · {w} = {clip.tubelets:,}, each {clip.channels} · {pair} · {patch} · {patch} = "
            f"{clip.tubelet_width:,} numbers: [{clip.tubelets}, {clip.tubelet_width}]",
        ),
        ("vision encoder", _windows(model, clip)),
        (
            "spatial merge",
            f"{merge}x{merge} patches become one token: {h} / {merge} = {rows}, {w} / {merge} = {columns}; "
            f"{t} · {rows} · {columns} = {clip.tokens:,} tokens",
        ),
    ]
    if model.vggt:
        wide = clip.spatial_tubelet_width
        found += [
            (
                "VGGT",
                f"a frame is {VGGT_SPECIAL} + {clip.patches:,} = {VGGT_SPECIAL + clip.patches:,} tokens of "
                f"{VGGT_WIDTH:,}: {list(clip.spatial_shape)}; pose encodings {list(clip.pose_shape)}",
            ),
            (
                "spatial tubelets",
                f"({clip.frames} / {pair}) · ({h} / {merge}) · ({w} / {merge}) = {clip.tokens:,}, each "
                f"{pair} · {merge} · {merge} = {pair * merge**2} · DD numbers: {wide(1024):,} for DD 1024, "
                f"{wide(VGGT_WIDTH):,} for VGGT's {VGGT_WIDTH:,}",
            ),
        ]
    if stamped:
        found.append(
            (
                "timestamps",
                f"before each tubelet, such as <0.5 seconds>: {stamp_tokens(0.5)} tokens with its two brackets",
            )
        )
    total = clip.tokens + text_tokens
    positions = list(clip.positions_shape(text_tokens))
    found.append(("prompt", f"{clip.tokens:,} + {text_tokens:,} of text = {total:,}: positions {positions}"))
    return found + _costs(model, clip, text_tokens, dtype)


def shapes(model: Architecture, clip: Layout, text_tokens: int) -> dict[str, Any]:
    """The numbers of `steps` that are no costs, by name: what `smx tokens --json` carries beside those."""
    vision = model.vision
    numbers: dict[str, Any] = {
        "size": [clip.width, clip.height],
        "patch": clip.patch,
        "patches": clip.patches,
        "merged_thw": list(clip.merged),
        "positions": list(clip.positions_shape(text_tokens)),
        "bytes": {
            dtype: {
                "pixels": clip.tubelets * clip.tubelet_width * each,
                "embeddings": (found := cost(model, clip, text_tokens, dtype)).embeddings,
                "cache": found.cache,
            }
            for dtype, each in BYTES.items()
            if dtype != "float16"
        },
        "full_attention_layers": sorted(vision.full),
        "vision_layers": vision.depth,
    }
    if len(vision.full) < vision.depth:
        _, ends = vision_windows(clip.grid, window=vision.window, patch=clip.patch, merge=clip.merge)
        numbers |= {"window": vision.window, "windows": len(ends) - 1, "cu_window_seqlens": ends}
    if model.vggt:
        numbers |= {
            "vggt_tokens": VGGT_SPECIAL + clip.patches,
            "vggt_shape": list(clip.spatial_shape),
            "pose_shape": list(clip.pose_shape),
            "spatial_tubelet_width": {str(width): clip.spatial_tubelet_width(width) for width in (1024, VGGT_WIDTH)},
        }
    return numbers


def size(n: float) -> str:
    """Bytes in decimal units, three digits: `58.9 MB`."""
    return _scaled(n, ("B", "kB", "MB", "GB", "TB"))


def flops(n: float) -> str:
    """FLOPs in decimal units, three digits: `20.6 TFLOP`."""
    return _scaled(n, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _windows(model: Architecture, clip: Layout) -> str:
    vision = model.vision
    if len(vision.full) == vision.depth:
        return f"{vision.depth} layers, each token sees its own frame pair: {clip.patches:,} patches"
    _, ends = vision_windows(clip.grid, window=vision.window, patch=clip.patch, merge=clip.merge)
    side = vision.window // clip.patch // clip.merge
    shown = " ".join(map(str, ends[:4]))
    return (
        f"windows of {vision.window} px, {side}x{side} merged cells: {len(ends) - 1} windows, cu_window_seqlens "
        f"{shown} … {ends[-1]}; layers {', '.join(map(str, sorted(vision.full)))} of {vision.depth} see a whole frame"
    )


def _costs(model: Architecture, clip: Layout, text_tokens: int, dtype: str) -> list[tuple[str, str]]:
    found = cost(model, clip, text_tokens, dtype)
    both = {name: cost(model, clip, text_tokens, name) for name in ("float32", "bfloat16")}
    lines = [("pixels", f"{size(found.pixels)} in float32, {size(found.pixels / 2)} in bfloat16")]
    for name, what in (("embeddings", "embeddings"), ("cache", "keys and values")):
        lines.append((what, ", ".join(f"{size(getattr(each, name))} in {kind}" for kind, each in both.items())))
    windowed = f"{flops(found.vision_windowed)} in windows, " if found.vision_windowed else ""
    lines.append(
        (
            "vision attention",
            f"{windowed}{flops(found.vision_full)} over frames; beside it {flops(found.vision_linear)}",
        )
    )
    if found.vggt:
        lines.append(("VGGT's share", flops(found.vggt)))
    lines.append(("prefill", f"attention {flops(found.prefill_attention)}; beside it {flops(found.prefill_linear)}"))
    lines.append(("altogether", f"{flops(found.flops)} up to the first token of the answer"))
    lines.append(("peak memory", f"{size(found.peak)} in {dtype}, of it weights {size(found.weights)}"))
    return lines


def _scaled(n: float, units: tuple[str, ...]) -> str:
    unit = 0
    while n >= 999.5 and unit < len(units) - 1:
        n, unit = n / 1000, unit + 1
    return f"{n:.3g} {units[unit]}" if unit else f"{n:.0f} {units[unit]}"
