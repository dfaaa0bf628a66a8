"""Writing videos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    timestamps: Sequence[float] | None = None,
    codec: str | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Encode uint8 [H, W, 3] RGB frames (even sides), H.264 unless `codec` says otherwise; whole or not at all.

    The same frames give the same bytes (one encoder thread). `timestamps` are seconds, rising, for a variable
    frame rate; `options` go to the encoder (`{"g": "12"}` sets the keyframe interval).
    """
    import av

    codec = codec or next(c for c in ("libx264", "libopenh264", "mpeg4") if c in av.codecs_available)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        # the table of contents first: a copy that was cut short still gives the frames it holds
        front = {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
        with av.open(str(partial), "w", options=front) as container:
            _encode(container, frames, Fraction(fps).limit_denominator(60000), timestamps, codec, options)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    container: Any,
    frames: Iterable[np.ndarray],
    rate: Fraction,
    timestamps: Sequence[float] | None,
    codec: str,
    options: dict[str, str] | None,
) -> None:
    import av

    quality = {"crf": "18", "preset": "veryfast"} if codec == "libx264" else {}
    stream: Any = None
    for index, pixels in enumerate(frames):
        if stream is None:
            stream = container.add_stream(codec, rate=rate, options={**quality, "threads": "1", **(options or {})})
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if timestamps is not None:
                stream.codec_context.time_base = Fraction(1, 90000)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if timestamps is not None:
            frame.time_base = Fraction(1, 90000)
            frame.pts = round(timestamps[index] * 90000)
        else:
            frame.time_base = 1 / rate
            frame.pts = index
        container.mux(stream.encode(frame))
    if stream is None:
        raise ValueError("a video needs at least one frame")
    container.mux(stream.encode())
