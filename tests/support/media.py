"""Small videos and images for the tests, and ways to break them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from smx import video

WIDTH, HEIGHT = 64, 48


def moving(n: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Iterator[np.ndarray]:
    """n frames [height, width, 3] of noise that moves, every one different and not symmetric."""
    base = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    base = base.repeat(4, axis=0).repeat(4, axis=1)
    for i in range(n):
        frame = np.roll(base, i * 3, axis=1).copy()
        frame[:8, : width // 2] = (i * 37 % 256, 255 - i * 5 % 256, 0)
        yield frame


def make_video(path: Path, n: int = 60, codec: str = "libx264", **options: str) -> Path:
    """A clip of `n` frames at 25 fps; `options` go to the encoder (`_` for `-`)."""
    given = {key.replace("_", "-"): value for key, value in options.items()}
    video.write(path, moving(n), 25, codec=codec, options=given)
    return path


def read_all(path: Path) -> list[np.ndarray]:
    """Every frame by the plainest loop there is: the reference that random access must equal."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def packets(path: Path) -> list[tuple[int, int]]:
    """(byte offset, size) of each stored packet, in order."""
    import av

    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def rotate_by_tag(source: Path, target: Path, clockwise: int) -> None:
    """A copy whose mp4 track header asks players to turn it by 90, 180 or 270 degrees, as phones do."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of times, ids and volume
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    assert data[at : at + 36] == identity
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise]
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    target.write_bytes(data)


def trimmed_by_edit_list(path: Path, n: int, hidden: int) -> None:
    """An mp4 whose first `hidden` frames are cut away by an edit list: stored, decoded, never shown."""
    import av

    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled", "use_editlist": "1"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1", "bf": "0", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i, pixels in enumerate(moving(n)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i - hidden, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
