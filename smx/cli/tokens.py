"""`smx tokens`: how many tokens a clip becomes, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.errors import UserError

if TYPE_CHECKING:
    from smx.tokens import Layout
    from smx.tokens.costs import Architecture

COUNTS = "8,16,32,64"
MOST = 4096  # frames: no model reads the million tokens they are


def tokens(
    frames: Annotated[str, typer.Option(help="Frame counts, separated by commas.")] = COUNTS,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Size of a frame as the vision encoder sees it.")
    ] = "644x476",
    model: Annotated[str, typer.Option(help="Variant whose base model counts: smx list models.")] = "spatialmllm",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Its weights: their tokens per second count. Default: as configured.")
    ] = None,
    text: Annotated[int, typer.Option(min=0, help="Tokens of text around the video.")] = 59,
    dtype: Annotated[str, typer.Option(help="Of weights and activations: float32, bfloat16 or float16.")] = "bfloat16",
    resize: Annotated[
        bool, typer.Option("--resize", help="Frames of --size are resized first, as smx eval resizes them.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Walk through the first count step by step before the table.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, bytes and FLOPs as whole numbers.")] = False,
) -> None:
    """Tokens, memory and FLOPs of a clip: grids, tubelets, a table over frame counts.

    Sizes are those of the released models that the variant names. FLOPs
    count what a forward pass up to the first answered token must compute;
    memory is the predicted peak of that pass with sdpa attention.

    Example: smx tokens --frames 16 --size 644x476 --explain
    """
    from smx.cli._common import out, out_json
    from smx.tokens.costs import BYTES
    from smx.tokens.explain import steps

    if dtype not in BYTES:
        from smx.errors import unknown

        raise unknown("dtype", dtype, BYTES)
    counts, shape = _counts(frames), _size(size)
    options, architecture = _variant(model, checkpoint)
    seen = _resized(shape, options, architecture) if resize else shape

    def row(count: int) -> dict[str, Any]:
        return _row(count, _layout(count, seen, options, architecture), text, dtype, options, architecture)

    rows = [row(count) for count in counts]
    if as_json:
        out_json(
            {
                "model": model,
                "architecture": architecture.title,
                "size": "x".join(map(str, seen)),
                "positions": options.positions(),
                "rows": rows,
            }
        )
        return
    if resize and seen != shape:
        out(f"{size} is resized to {seen[0]}x{seen[1]}: multiples of {_cell(architecture)}, within the budget")
    if explain:
        out(f"{counts[0]} frames of {seen[0]}x{seen[1]} in {model}: {architecture.title}, {dtype}")
        clip = _layout(counts[0], seen, options, architecture)
        walk = steps(architecture, clip, rows[0]["text"], dtype, stamped=_stamped(options))
        for number, (name, line) in enumerate(walk, 1):
            out(f"{number:>3} {name:<17} {line}")
        out(f"    temporal stride: {options.stride_word()}")
        out("")
    if len(counts) == 1:  # one count says little without its neighbours
        rows = [row(count) for count in sorted({*counts, *_counts(COUNTS)})]
    _print(rows, model, architecture, dtype)


def _counts(frames: str) -> list[int]:
    try:
        counts = [int(count) for count in frames.split(",")]
    except ValueError:
        raise UserError(f"--frames {frames!r} is no list of frame counts", "such as --frames 8,16") from None
    if max(counts) > MOST:
        raise UserError(f"{max(counts):,} frames are no clip: their tokens fit into no model", f"up to {MOST:,}")
    return counts


def _size(size: str) -> tuple[int, int]:
    wide, cross, high = size.lower().partition("x")
    if not (cross and wide.isdecimal() and high.isdecimal()):
        raise UserError(f"--size {size!r} is no size", "WIDTHxHEIGHT in pixels, such as --size 644x476")
    return int(wide), int(high)


def _variant(name: str, checkpoint: Path | None) -> tuple[Any, Architecture]:
    """(options of the variant's base model, what its costs depend on)."""
    from smx.cli._common import variant as find
    from smx.cli._common import workspace
    from smx.tokens.costs import Architecture
    from smx.tokens.known import QWEN2_5_VL_3B, QWEN3_VL_4B

    variant = find(name)
    options = variant.options()
    if not options.needs_frames:
        raise UserError(f"model {name!r} looks at no frames", "name one that does: smx list models")
    site = workspace(quiet=True).site
    places = site.checkpoints if site else {}
    configured = places.get(name) or places.get(variant.checkpoint or "")
    folder = checkpoint or (Path(configured) if configured else None)
    if folder is not None:
        options = options.at(folder.expanduser())
    if variant.base == "tiny":
        from smx.models.tiny import config

        return options, Architecture.of_config("the tiny model", config())
    if variant.base == "qwen3_vl":
        return options, Architecture.of_config("Qwen3-VL-4B", QWEN3_VL_4B)
    if variant.base == "qwen2_5_vl":
        return options, Architecture.of_config("Qwen2.5-VL-3B", QWEN2_5_VL_3B)
    if variant.base == "spatial_mllm":
        title = "Qwen2.5-VL-3B" if not options.vggt_parts() else "Qwen2.5-VL-3B with VGGT"
        return options, Architecture.of_config(title, QWEN2_5_VL_3B, vggt=bool(options.vggt_parts()))
    raise UserError(
        f"the sizes of base {variant.base!r} are not known here",
        "bases that are: qwen2_5_vl, qwen3_vl, spatial_mllm, tiny",
    )


def _cell(architecture: Architecture) -> int:
    return architecture.vision.patch * architecture.vision.merge


def _resized(shape: tuple[int, int], options: Any, architecture: Architecture) -> tuple[int, int]:
    from smx.tokens import smart_resize

    return smart_resize(*shape, factor=_cell(architecture), pixels=options.pixels)


def _layout(frames: int, shape: tuple[int, int], options: Any, architecture: Architecture) -> Layout:
    from smx.tokens import TEMPORAL_PATCH, Layout

    vision = architecture.vision
    times = TEMPORAL_PATCH if options.tubelets == "repeat" else 1
    try:
        return Layout(frames * times, *shape, vision.patch, TEMPORAL_PATCH, vision.merge)
    except UserError as error:
        raise UserError(error.message, f"{error.hint}; --resize: as smx eval resizes frames") from None


def _stamped(options: Any) -> bool:
    from smx.models._qwen3_vl.options import STRIDE

    return bool(options.stride_word() == STRIDE)


def _row(count: int, clip: Layout, text: int, dtype: str, options: Any, architecture: Architecture) -> dict[str, Any]:
    import dataclasses

    from smx.tokens import stamp_tokens
    from smx.tokens.costs import cost
    from smx.tokens.explain import shapes

    if _stamped(options):  # for frames a second apart: later stamps have more digits
        per = len(range(count)) / clip.grid[0]
        text += sum(stamp_tokens((k + 0.5) * per - 0.5) for k in range(clip.grid[0]))
    elif getattr(options, "features", "") == "camera":
        text += count  # a camera token per frame
    found = cost(architecture, clip, text, dtype)
    return {
        **shapes(architecture, clip, text),
        "frames": count,
        "grid_thw": list(clip.grid),
        "tubelets": clip.tubelets,
        "tubelet_width": clip.tubelet_width,
        "video_tokens": clip.tokens,
        "text": text,
        **{key: value for key, value in dataclasses.asdict(found).items() if key != "tokens"},
        "prompt": found.tokens,
        "flops": found.flops,
    }


def _print(rows: list[dict[str, Any]], model: str, architecture: Architecture, dtype: str) -> None:
    from rich.table import Table

    from smx.cli._common import print_tables
    from smx.tokens.explain import flops, size

    table = Table(box=None, pad_edge=False, title=f"{model}: {architecture.title}, {dtype}", title_justify="left")
    for heading in ("frames", "grid", "tubelets", "tokens", "prompt", "pixels", "keys, values", "vision"):
        table.add_column(heading, justify="right")
    if architecture.vggt:
        table.add_column("VGGT", justify="right")
    for heading in ("prefill", "peak memory"):
        table.add_column(heading, justify="right")
    for row in rows:
        vision = row["vision_windowed"] + row["vision_full"] + row["vision_linear"]
        cells = [str(row["frames"]), "x".join(map(str, row["grid_thw"])), f"{row['tubelets']:,}"]
        cells += [
            f"{row['video_tokens']:,}",
            f"{row['prompt']:,}",
            size(row["pixels"]),
            size(row["cache"]),
            flops(vision),
        ]
        cells += [flops(row["vggt"])] if architecture.vggt else []
        cells += [flops(row["prefill_attention"] + row["prefill_linear"]), size(row["peak"])]
        table.add_row(*cells)
    print_tables(table)
