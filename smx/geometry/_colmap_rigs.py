"""Poses of images that a COLMAP model of 3.12 or later composes: frames (rigs in the world) x rigs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry._colmap_files import file_of, lines_of
from smx.geometry.cameras import quaternion_to_rotation

_POSE = 7  # QW QX QY QZ TX TY TZ


def rig_poses(folder: Path) -> dict[int, np.ndarray]:
    """Image id -> w2c [4, 4]: the sensor's pose in its rig after the rig's pose in the world.

    Empty where there is no file of frames or of rigs. `SceneError` naming file and place where one is damaged.
    """
    if file_of(folder, "frames") is None or file_of(folder, "rigs") is None:
        return {}
    sensors = _sensors(folder)
    poses: dict[int, np.ndarray] = {}
    for where, line in lines_of(folder, "frames"):
        fields = line.split()
        head = parse.floats(" ".join(fields[: 3 + _POSE]), 3 + _POSE, where, "FRAME_ID RIG_ID pose NUM_DATA_IDS")
        data = fields[3 + _POSE :]
        if len(data) != 3 * int(head[-1]):
            raise SceneError(f"{where}: {head[-1]:g} times SENSOR_TYPE SENSOR_ID DATA_ID is expected after the pose")
        for kind, sensor, image in zip(data[::3], data[1::3], data[2::3], strict=True):
            if kind != "CAMERA":
                continue
            key = (int(head[1]), int(sensor))
            if key not in sensors:
                raise SceneError(f"{where}: rig {key[0]} has no camera {key[1]} with a pose in the rigs")
            poses[int(image)] = sensors[key] @ _matrix(head[2:-1])
    return poses


def _sensors(folder: Path) -> dict[tuple[int, int], np.ndarray]:
    """(rig, camera) -> the camera's pose in the rig, sensor from rig [4, 4]."""
    sensors: dict[tuple[int, int], np.ndarray] = {}
    for where, line in lines_of(folder, "rigs"):
        fields = line.split()
        try:
            rig, count = int(fields[0]), int(fields[1])
            rest = fields[2:]
            if count and rest[0] == "CAMERA":
                sensors[rig, int(rest[1])] = np.eye(4)  # the sensor that the rig's own axes are
            rest = rest[2:]
            while rest:
                kind, sensor, has_pose = rest[0], int(rest[1]), int(rest[2])
                pose, rest = rest[3 : 3 + _POSE * has_pose], rest[3 + _POSE * has_pose :]
                if kind == "CAMERA" and has_pose:
                    sensors[rig, sensor] = _matrix(parse.floats(" ".join(pose), _POSE, where, "QW QX QY QZ TX TY TZ"))
        except (IndexError, ValueError):
            raise SceneError(f"{where}: no rig (RIG_ID NUM_SENSORS REF_SENSOR_TYPE REF_SENSOR_ID SENSORS)") from None
    return sensors


def _matrix(wxyz_and_translation: list[float]) -> np.ndarray:
    w, x, y, z, *translation = wxyz_and_translation
    pose = np.eye(4)
    pose[:3, :3] = quaternion_to_rotation(np.array([x, y, z, w]))
    pose[:3, 3] = translation
    return pose
