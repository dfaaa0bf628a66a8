"""Miniatures of datasets that cannot be shipped: the files of their layouts, made from a room's exact geometry.

The names, axes, units, byte orders and compressions are those of the real files; only the pictures are smaller.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import lz4.block
import numpy as np
from PIL import Image

from smx import video
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


# --- ScanNet++ ----------------------------------------------------------------------------------------------

IPHONE, VIDEO, LIDAR = (1920, 1440), (480, 360), (256, 192)  # the camera, the video of the miniature, depth.bin
DepthFormat = Literal["lz4", "deflate", "stream"]


def scannetpp_iphone(
    room: RoomScene,
    folder: Path,
    *,
    depth: DepthFormat = "lz4",
    lost: Collection[int] = (),
    registered: int = 3,
) -> Path:
    """`iphone/` of one scene. COLMAP has registered every `registered`-th frame; `lost` have no aligned pose."""
    iphone = folder / "iphone"
    for name in ("colmap", "nerfstudio"):
        (iphone / name).mkdir(parents=True, exist_ok=True)
    video.write(iphone / "rgb.mkv", iter(pictures(room, VIDEO)), 30, options={"preset": "ultrafast"})
    write_depth_bin(depth_maps(room, LIDAR), iphone / "depth.bin", depth)
    K = camera_of(room, IPHONE).K
    arkit = np.array([[0, 1, 0, 2.0], [0, 0, 1, -1], [1, 0, 0, 3], [0, 0, 0, 1]])  # ARKit's own world is another
    entries = {}
    for i, w2c in enumerate(room.w2c):
        c2w = np.linalg.inv(w2c)
        entry = {"timestamp": 100 + i / 30, "pose": (arkit @ c2w).tolist(), "intrinsic": K.tolist(), "imu": []}
        if i not in lost:
            entry["aligned_pose"] = c2w.tolist()
        entries[f"frame_{i:06d}"] = entry
    (iphone / "pose_intrinsic_imu.json").write_text(json.dumps(entries))
    kept = range(0, len(room.w2c), registered)
    write_colmap(room, iphone / "colmap", {f"frame_{i:06d}.jpg": i for i in kept})
    write_scannetpp_transforms(room, iphone / "nerfstudio" / "transforms.json", [f"frame_{i:06d}.jpg" for i in kept])
    return folder


def write_depth_bin(maps: Sequence[np.ndarray], path: Path, format: DepthFormat) -> None:
    if format == "stream":
        path.write_bytes(raw_deflate(b"".join(depth.astype("<f4").tobytes() for depth in maps)))
        return
    with path.open("wb") as file:
        for depth in maps:
            raw = millimetres(depth).astype("<u2").tobytes()
            block = (
                lz4.block.compress(raw, store_size=False)
                if format == "lz4"
                else raw_deflate(depth.astype("<f4").tobytes())
            )
            file.write(len(block).to_bytes(4, "little") + block)


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


def write_colmap(room: RoomScene, folder: Path, named: Mapping[str, int]) -> None:
    """Text model: w2c with quaternions w first, pixels counted from corners, a lens with a little distortion."""
    K = camera_of(room, IPHONE).K
    lens = f"{K[0, 0]} {K[1, 1]} {K[0, 2] + 0.5} {K[1, 2] + 0.5} 0.01 -0.02 0.0005 -0.0002"
    (folder / "cameras.txt").write_text(f"# one camera\n1 OPENCV {IPHONE[0]} {IPHONE[1]} {lens}\n")
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"]
    for number, (name, i) in enumerate(named.items(), 1):
        x, y, z, w = quaternion(room.w2c[i, :3, :3])
        t = " ".join(map(str, room.w2c[i, :3, 3]))
        lines += [f"{number} {w} {x} {y} {z} {t} 1 {name}", "12.5 30.25 -1" if number % 2 else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def write_scannetpp_transforms(
    room: RoomScene, path: Path, names: Sequence[str], *, size: tuple[int, int] = IPHONE, model: str = "OPENCV"
) -> None:
    """nerfstudio: OpenGL axes, then rows 0 and 1 of the world swapped and row 2 negated; a few are test frames."""
    K = camera_of(room, size).K
    entries = []
    for name in names:
        i = int("".join(filter(str.isdigit, name)))
        c2w = np.linalg.inv(room.w2c[i])
        c2w[:3, 1:3] *= -1
        c2w = c2w[[1, 0, 2, 3]]
        c2w[2] *= -1
        entries.append({"file_path": name, "transform_matrix": c2w.tolist(), "is_bad": False})
    lens = {"k1": 0.01, "k2": -0.02, "p1": 0.0005, "p2": -0.0002} if model == "OPENCV" else {}
    data = {
        "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2] + 0.5, "cy": K[1, 2] + 0.5, "w": size[0], "h": size[1],
        "camera_model": model, **lens, "frames": entries[:-2], "test_frames": entries[-2:],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """x y z w, from scipy: none of smx's own arithmetic."""
    from scipy.spatial.transform import Rotation

    xyzw: np.ndarray = Rotation.from_matrix(rotation).as_quat()
    return xyzw


def scannetpp_dslr(room: RoomScene, folder: Path, *, undistorted: bool) -> Path:
    """`dslr/` of one scene: fisheye pictures, and (where the toolkit has been) undistorted ones."""
    names = [f"DSC{i:05d}.JPG" for i in range(len(room.w2c))]
    (folder / "dslr" / "resized_images").mkdir(parents=True)
    (folder / "dslr" / "nerfstudio").mkdir()
    (folder / "dslr" / "resized_images" / names[0]).write_bytes(jpeg(pictures(room, DEPTH)[0]))
    if undistorted:
        (folder / "dslr" / "undistorted_images").mkdir()
        for name, pixels in zip(names, pictures(room, DEPTH), strict=True):
            (folder / "dslr" / "undistorted_images" / name).write_bytes(jpeg(pixels))
        target = folder / "dslr" / "nerfstudio" / "transforms_undistorted.json"
        write_scannetpp_transforms(room, target, names, size=DEPTH, model="PINHOLE")
    return folder


# --- ARKitScenes --------------------------------------------------------------------------------------------

LOWRES, VGA = (256, 192), (640, 480)
STARTED = 3414.85  # seconds, as the device counts them
TURN_BACK = {"Up": 0, "Left": 1, "Down": 2, "Right": 3}  # counterclockwise quarter turns that put the sky there


def upright_camera(room: RoomScene, sky: str, size: tuple[int, int]) -> RoomScene:
    """The camera of upright pictures: a tablet held on its side sees a scene higher than wide."""
    width, height = size if TURN_BACK[sky] % 2 == 0 else size[::-1]
    focal = 0.83 * size[0]
    K = np.array([[focal, 0, (width - 1) / 2 + 2], [0, focal, (height - 1) / 2 - 3], [0, 0, 1]])
    return replace(room, width=width, height=height, K=K)


def stored_camera(upright: RoomScene, sky: str) -> tuple[np.ndarray, np.ndarray]:
    """(w2c, K) of the pictures as stored: each quarter turn counterclockwise makes x what was y, and y what was −x."""
    w2c, K, width, height = upright.w2c.copy(), upright.K, upright.width, upright.height
    for _ in range(TURN_BACK[sky]):
        turn = np.array([[0, 1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        w2c = turn @ w2c
        K = np.array([[K[1, 1], 0, K[1, 2]], [0, K[0, 0], width - 1 - K[0, 2]], [0, 0, 1]])
        width, height = height, width
    return w2c, K


def arkitscenes(
    room: RoomScene,
    root: Path,
    video_id: str,
    *,
    sky: str = "Up",
    camera: Literal["lowres_wide", "vga_wide"] = "lowres_wide",
    per_pose: int = 1,
    metadata: bool = True,
    layout: Literal["raw", "3dod"] = "raw",
) -> Path:
    """One walk at ten poses a second, names of depth and intrinsics off by a millisecond here and there.

    `per_pose`: pictures for each pose (the same one again), as 60 pictures a second against ten poses.
    """
    size = LOWRES if camera == "lowres_wide" else VGA
    folder = root / layout / "Validation" / video_id
    folder = folder / f"{video_id}_frames" if layout == "3dod" else folder
    for name in (camera, f"{camera}_intrinsics", "lowres_depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    seen = upright_camera(room, sky, size)
    w2c, K = stored_camera(seen, sky)
    n = len(room.w2c)
    frames = list(render(seen, range(n)))
    near = upright_camera(room, sky, LOWRES)
    maps = [frame.depth for frame in render(near, range(n))]
    rows = []
    for i in range(n):
        pose_time = STARTED + i / 10
        turn, place = rotation_vector(w2c[i, :3, :3]), w2c[i, :3, 3]
        rows.append(" ".join([f"{pose_time:.6f}", *(f"{value:.9f}" for value in (*turn, *place))]))
        for k in range(per_pose):
            time = pose_time + k / (10 * per_pose)
            jitter = (0, 0.001, -0.001)[(i + k) % 3]
            picture = Image.fromarray(np.ascontiguousarray(np.rot90(frames[i].rgb, TURN_BACK[sky])))
            picture.save(folder / camera / f"{video_id}_{time:.3f}.png", compress_level=1)
            depth = np.ascontiguousarray(np.rot90(millimetres(maps[i]), TURN_BACK[sky]))
            Image.fromarray(depth).save(folder / "lowres_depth" / f"{video_id}_{time + jitter:.3f}.png")
            (folder / f"{camera}_intrinsics" / f"{video_id}_{time - jitter:.3f}.pincam").write_text(
                f"{size[0]} {size[1]} {K[0, 0]:.6f} {K[1, 1]:.6f} {K[0, 2]:.6f} {K[1, 2]:.6f}"
            )
    (folder / "lowres_wide.traj").write_text("\n".join(rows) + "\n")
    if metadata:
        (root / layout / "metadata.csv").write_text(
            f"video_id,visit_id,fold,sky_direction\n{video_id},421014,Validation,{sky}\n1,NA,Training,Up\n"
        )
    return folder


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    vector: np.ndarray = Rotation.from_matrix(rotation).as_rotvec()
    return vector
