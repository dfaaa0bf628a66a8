"""Miniatures of datasets that cannot be shipped: the files of their layouts, made from a room's exact geometry.

The names, axes, units, byte orders and compressions are those of the real files; only the pictures are smaller.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from smx.geometry.cameras import resize_intrinsics
from smx.rooms import RoomScene, render

COLOUR, DEPTH = (324, 242), (160, 120)  # ScanNet's 1296x968 and 640x480, a quarter: shapes that differ by 0.4 %


def camera_of(room: RoomScene, size: tuple[int, int]) -> RoomScene:
    """The room seen by the same lens at another number of pixels, each axis by its own factor."""
    K = resize_intrinsics(room.K, (room.width, room.height), size)
    return replace(room, width=size[0], height=size[1], K=K)


def pictures(room: RoomScene, size: tuple[int, int]) -> list[np.ndarray]:
    return [frame.rgb for frame in render(camera_of(room, size), range(len(room.w2c)))]


def depth_maps(room: RoomScene, size: tuple[int, int]) -> list[np.ndarray]:
    """float32 metres."""
    return [frame.depth for frame in render(camera_of(room, size), range(len(room.w2c)))]


def jpeg(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="JPEG", quality=95)
    return data.getvalue()


def millimetres(metres: np.ndarray) -> np.ndarray:
    return np.round(metres * 1000).astype(np.uint16)


def matrix_text(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:f}" for value in row) for row in matrix) + "\n"


def four_by_four(K: np.ndarray) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3] = K
    return whole


# --- ScanNet ------------------------------------------------------------------------------------------------


def scannet_exported(
    room: RoomScene,
    folder: Path,
    *,
    lost: Collection[int] = (),
    skip: int = 1,
    shrunk_to: tuple[int, int] | None = None,
    scan_info: bool = True,
) -> Path:
    """`color/%d.jpg`, `depth/%d.png`, `pose/%d.txt`, `intrinsic/`, as ScanNet's SensReader exports a scan.

    `shrunk_to`: pictures resized on export, with the intrinsics of the camera as they were (as SensReader does).
    `lost` frames have a pose of −inf; every `skip`-th frame is exported, under its own number.
    """
    colour = camera_of(room, COLOUR)
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    seen, maps = pictures(room, shrunk_to or COLOUR), depth_maps(room, DEPTH)
    for i in range(0, len(room.w2c), skip):
        (folder / "color" / f"{i}.jpg").write_bytes(jpeg(seen[i]))
        Image.fromarray(millimetres(maps[i])).save(folder / "depth" / f"{i}.png")
        c2w = np.full((4, 4), -np.inf) if i in lost else np.linalg.inv(room.w2c[i])
        (folder / "pose" / f"{i}.txt").write_text(matrix_text(c2w))
    for kind, K in (("color", colour.K), ("depth", camera_of(room, DEPTH).K)):
        (folder / "intrinsic" / f"intrinsic_{kind}.txt").write_text(matrix_text(four_by_four(K)))
        (folder / "intrinsic" / f"extrinsic_{kind}.txt").write_text(matrix_text(np.eye(4)))
    if scan_info:
        (folder / f"{folder.name}.txt").write_text(
            f"colorHeight = {COLOUR[1]}\ncolorWidth = {COLOUR[0]}\nfx_color = {colour.K[0, 0]:f}\nsceneType = Lobby\n"
        )
    return folder


def scannet_sens(
    room: RoomScene,
    path: Path,
    *,
    lost: Collection[int] = (),
    depth_codec: int = 1,
    colour_codec: int = 2,
    declared: int | None = None,
    microseconds: int = 33_333,
) -> Path:
    """A `.sens` of version 4: jpeg colour, zlib depth. `declared` is the count in its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour, depth = camera_of(room, COLOUR), camera_of(room, DEPTH)
    name = b"StructureSensor"
    seen, maps = pictures(room, COLOUR), depth_maps(room, DEPTH)
    n = len(room.w2c) if declared is None else declared
    with path.open("wb") as file:
        file.write(struct.pack("<IQ", 4, len(name)) + name)
        for matrix in (four_by_four(colour.K), np.eye(4), four_by_four(depth.K), np.eye(4)):
            file.write(matrix.astype("<f4").tobytes())
        file.write(struct.pack("<ii4IfQ", colour_codec, depth_codec, *COLOUR, *DEPTH, 1000.0, n))
        for i, w2c in enumerate(room.w2c):
            c2w = np.full((4, 4), -np.inf) if i in lost else np.linalg.inv(w2c)
            blob = jpeg(seen[i])
            raw = millimetres(maps[i]).astype("<u2").tobytes()
            squeezed = zlib.compress(raw) if depth_codec == 1 else raw
            file.write(c2w.astype("<f4").tobytes())
            file.write(struct.pack("<4Q", i * microseconds, i * microseconds, len(blob), len(squeezed)))
            file.write(blob + squeezed)
    return path
