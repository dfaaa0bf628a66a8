"""Built-in rooms as captures of phones and as published recordings: layouts, units and axes of each."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from smx import video
from smx.rooms import RoomScene
from support.licensed import camera_of, depth_maps, jpeg, millimetres, pictures

COLOUR, LIDAR = (96, 72), (64, 48)
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def c2w(room: RoomScene) -> np.ndarray:
    return np.linalg.inv(room.w2c)


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """x y z w."""
    found: np.ndarray = Rotation.from_matrix(matrices[:, :3, :3]).as_quat()
    return found


def stray(room: RoomScene, folder: Path) -> None:
    """Stray Scanner: rgb.mp4, depth/000000.png in mm, odometry.csv (camera to world, OpenCV)."""
    (folder / "depth").mkdir(parents=True)
    video.write(folder / "rgb.mp4", iter(pictures(room, COLOUR)), 30, options={"preset": "ultrafast"})
    for i, depth in enumerate(depth_maps(room, LIDAR)):
        Image.fromarray(millimetres(depth)).save(folder / "depth" / f"{i:06d}.png")
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for i, (pose, q) in enumerate(zip(c2w(room), quaternions(c2w(room)), strict=True)):
        lines.append(", ".join(map(str, [50 + i / 30, f"{i:06d}", *pose[:3, 3], *q])))
    (folder / "odometry.csv").write_text("\n".join(lines))
    np.savetxt(folder / "camera_matrix.csv", camera_of(room, COLOUR).K, delimiter=", ")


def record3d_metadata(room: RoomScene) -> dict[str, object]:
    poses = c2w(room) @ _OPENGL
    rows = [[*q, *pose[:3, 3]] for pose, q in zip(poses, quaternions(poses), strict=True)]
    K = camera_of(room, COLOUR).K
    size = {"w": COLOUR[0], "h": COLOUR[1], "dw": LIDAR[0], "dh": LIDAR[1], "fps": 60}
    times = [i / 30 for i in range(len(poses))]
    return {"K": K.T.flatten().tolist(), "poses": rows, "frameTimestamps": times, **size}


def r3d(room: RoomScene, path: Path) -> None:
    """Record3D's own file: depth squeezed by LZFSE, as the app does."""
    import liblzfse

    path.parent.mkdir(parents=True, exist_ok=True)
    maps = depth_maps(room, LIDAR)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata", json.dumps(record3d_metadata(room)))
        for i, (pixels, depth) in enumerate(zip(pictures(room, COLOUR), maps, strict=True)):
            file.writestr(f"rgbd/{i}.jpg", jpeg(pixels))
            file.writestr(f"rgbd/{i}.depth", liblzfse.compress(depth.astype("<f4").tobytes()))


def record3d_folder(room: RoomScene, folder: Path) -> None:
    """A .r3d that was unzipped."""
    r3d(room, folder.parent / "packed.r3d")
    with zipfile.ZipFile(folder.parent / "packed.r3d") as file:
        file.extractall(folder)
    (folder.parent / "packed.r3d").unlink()


def record3d_exr(room: RoomScene, folder: Path) -> None:
    """Record3D's export "EXR + JPG sequence", intrinsics of each frame."""
    inner = folder / "EXR_RGBD"
    for name in ("rgb", "depth"):
        (inner / name).mkdir(parents=True)
    K = camera_of(room, COLOUR).K
    per_frame = [[K[0, 0], K[1, 1], K[0, 2], K[1, 2]]] * len(room.w2c)
    data = record3d_metadata(room) | {"perFrameIntrinsicCoeffs": per_frame, "K": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}
    (inner / "metadata.json").write_text(json.dumps(data))
    for i, (pixels, depth) in enumerate(zip(pictures(room, COLOUR), depth_maps(room, LIDAR), strict=True)):
        (inner / "rgb" / f"{i}.jpg").write_bytes(jpeg(pixels))
        write_exr(inner / "depth" / f"{i}.exr", depth)


def write_exr(path: Path, depth: np.ndarray, channel: str = "R") -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {channel: depth.astype(np.float32)}).write(str(path))


def polycam(room: RoomScene, folder: Path) -> None:
    """Polycam's raw export: keyframes named by time, ARKit's axes; corrected poses beside those of the phone."""
    frames = folder / "keyframes"
    for name in ("images", "cameras", "corrected_images", "corrected_cameras", "depth"):
        (frames / name).mkdir(parents=True)
    K = camera_of(room, COLOUR).K
    for i, (pixels, depth) in enumerate(zip(pictures(room, COLOUR), depth_maps(room, LIDAR), strict=True)):
        stem = str(1442008525605 + 33 * i)
        pose = c2w(room)[i] @ _OPENGL
        camera = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "width": COLOUR[0], "height": COLOUR[1]}
        entry = camera | {f"t_{r}{c}": pose[r, c] for r in range(3) for c in range(4)} | {"blur_score": 90.0}
        (frames / "corrected_cameras" / f"{stem}.json").write_text(json.dumps(entry))
        (frames / "cameras" / f"{stem}.json").write_text(json.dumps(entry | {"t_03": entry["t_03"] + 5}))
        for name in ("images", "corrected_images"):
            (frames / name / f"{stem}.jpg").write_bytes(jpeg(pixels))
        Image.fromarray(millimetres(depth)).save(frames / "depth" / f"{stem}.png")


def replica(room: RoomScene, folder: Path) -> None:
    """Replica as NICE-SLAM renders it: results/, traj.txt, 6,553.5 units a metre, one camera file for all rooms."""
    (folder / "results").mkdir(parents=True)
    for i, (pixels, depth) in enumerate(zip(pictures(room, COLOUR), depth_maps(room, COLOUR), strict=True)):
        (folder / "results" / f"frame{i:06d}.jpg").write_bytes(jpeg(pixels))
        units = np.round(np.nan_to_num(depth) * 6553.5).astype(np.uint16)
        Image.fromarray(units).save(folder / "results" / f"depth{i:06d}.png")
    np.savetxt(folder / "traj.txt", c2w(room).reshape(-1, 16))
    K = camera_of(room, COLOUR).K
    camera = {"w": COLOUR[0], "h": COLOUR[1], "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    (folder.parent / "cam_params.json").write_text(json.dumps({"camera": camera | {"scale": 6553.5}}))


def kitti(room: RoomScene, folder: Path) -> None:
    """KITTI odometry: sequences/NAME/image_2 is camera 2, the poses are camera 0's."""
    (folder / "image_2").mkdir(parents=True)
    for i, pixels in enumerate(pictures(room, COLOUR)):
        Image.fromarray(pixels).save(folder / "image_2" / f"{i:06d}.png")
    K, beside = camera_of(room, COLOUR).K, np.array([-0.06, 0.01, 0.02])
    P2 = np.column_stack([K, K @ beside])
    lines = [f"P{i}: " + " ".join(map(str, P.flatten())) for i, P in ((0, np.eye(3, 4)), (2, P2))]
    (folder / "calib.txt").write_text("\n".join(lines))
    offset = np.eye(4)
    offset[:3, 3] = beside
    of_camera_0 = np.linalg.inv(np.linalg.inv(offset) @ room.w2c)
    poses = folder.parent.parent / "poses"
    poses.mkdir()
    np.savetxt(poses / f"{folder.name}.txt", of_camera_0[:, :3].reshape(-1, 12))
    np.savetxt(folder / "times.txt", np.arange(len(room.w2c)) / 10)


def euroc(room: RoomScene, folder: Path) -> None:
    """EuRoC's ASL format: nanoseconds, the body's poses at five times the rate, the camera's place on the body."""
    cam, truth = folder / "mav0" / "cam0", folder / "mav0" / "state_groundtruth_estimate0"
    (cam / "data").mkdir(parents=True)
    truth.mkdir()
    T_BS = np.eye(4)
    T_BS[:3, :3] = Rotation.from_euler("xyz", [3, 4, 90], degrees=True).as_matrix()
    T_BS[:3, 3] = [-0.02, -0.06, 0.01]
    K = camera_of(room, COLOUR).K
    (cam / "sensor.yaml").write_text(
        "sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: "
        f"{T_BS.flatten().tolist()}\nrate_hz: 20\nresolution: {list(COLOUR)}\ncamera_model: pinhole\n"
        f"intrinsics: [{K[0, 0]}, {K[1, 1]}, {K[0, 2]}, {K[1, 2]}] #fu, fv, cu, cv\n"
        "distortion_model: radial-tangential\ndistortion_coefficients: [0.0, 0.0, 0.0, 0.0]\n"
    )
    body = c2w(room) @ np.linalg.inv(T_BS)
    rows = ["#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []"]
    start = 1403636579763555584
    for i, (pixels, pose, q) in enumerate(zip(pictures(room, COLOUR), body, quaternions(body), strict=True)):
        Image.fromarray(pixels).convert("L").save(cam / "data" / f"{start + i * 50_000_000}.png")
        for step in range(5):  # the last pose before a picture's is not the nearest
            far = [0.5 * step, 0, 0]
            time = start + i * 50_000_000 + step * 10_000_000
            rows.append(",".join(map(str, [time, *(pose[:3, 3] + far), *q[[3, 0, 1, 2]], 0])))
    (truth / "data.csv").write_text("\n".join(rows))


def tum(room: RoomScene, folder: Path) -> None:
    """TUM RGB-D: names are seconds, 5,000 units a metre, no camera file. 640x480, which the published camera is for."""
    size = (640, 480)
    times = [1305031102.1 + i / 30 for i in range(len(room.w2c))]
    for name, images in (("rgb", pictures(room, size)), ("depth", depth_maps(room, size))):
        (folder / name).mkdir(parents=True)
        for time, pixels in zip(times, images, strict=True):
            stored = pixels if name == "rgb" else np.round(np.nan_to_num(pixels) * 5000).astype(np.uint16)
            clock = time + 0.004 * (name == "depth")
            Image.fromarray(stored).save(folder / name / f"{clock:.6f}.png", compress_level=0)
        (folder / f"{name}.txt").write_text(f"# {name}\n")
    rows = [[t, *pose[:3, 3], *q] for t, pose, q in zip(times, c2w(room), quaternions(c2w(room)), strict=True)]
    np.savetxt(folder / "groundtruth.txt", rows, fmt="%.9f")


def seven_scenes(room: RoomScene, folder: Path) -> None:
    """7-Scenes: frame-000000.color.png, .depth.png (mm, 65535 is nothing), .pose.txt; no camera file."""
    folder.mkdir(parents=True)
    size = (640, 480)
    for i, (pixels, depth) in enumerate(zip(pictures(room, size), depth_maps(room, size), strict=True)):
        name = folder / f"frame-{i:06d}"
        Image.fromarray(pixels).save(f"{name}.color.png", compress_level=0)
        Image.fromarray(millimetres(depth)).save(f"{name}.depth.png", compress_level=0)
        np.savetxt(f"{name}.pose.txt", c2w(room)[i])


def instant_ngp(room: RoomScene, folder: Path) -> None:
    """transforms.json as instant-ngp has it: an angle, no size, pictures without endings, maps named beside them."""
    for name in ("train", "maps"):
        (folder / name).mkdir(parents=True)
    frames = []
    for i, (pixels, depth) in enumerate(zip(pictures(room, COLOUR), depth_maps(room, LIDAR), strict=True)):
        Image.fromarray(pixels).save(folder / "train" / f"r_{i}.png")
        np.save(folder / "maps" / f"{i}.npy", depth.astype(np.float32))
        pose = (c2w(room)[i] @ _OPENGL).tolist()
        frames.append({"file_path": f"./train/r_{i}", "transform_matrix": pose, "depth_file_path": f"maps/{i}.npy"})
    angle = 2 * np.arctan(COLOUR[0] / 2 / camera_of(room, COLOUR).K[0, 0])
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))


# name -> (writer, the scene's place below the root, options of the dataset)
WRITERS: dict[str, tuple[Callable[[RoomScene, Path], None], str, dict[str, object]]] = {
    "stray": (stray, "71de12f9", {}),
    "r3d": (r3d, "walk.r3d", {}),
    "record3d folder": (record3d_folder, "walk", {}),
    "record3d exr": (record3d_exr, "walk", {}),
    "polycam": (polycam, "walk-poly", {}),
    "replica": (replica, "room0", {}),
    "kitti": (kitti, "sequences/07", {}),
    "euroc": (euroc, "MH_01_easy", {}),
    "tum": (tum, "rgbd_dataset_freiburg1_room", {"intrinsics": None}),
    "7scenes": (seven_scenes, "seq-01", {}),
    "instant-ngp": (instant_ngp, "lego", {"metric": True}),
}
