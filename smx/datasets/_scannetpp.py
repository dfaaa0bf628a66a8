"""ScanNet++'s layout: `data/<scene>/iphone/` with video, LiDAR depth and three kinds of poses, and `dslr/`."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smx.datasets._depth_stream import DepthStream
from smx.datasets._files import IMAGES, numbered, stem
from smx.datasets._frame_reader import ImageMedia, Media, VideoMedia, read_depth
from smx.datasets._posed_scan import Rig, RigScene, resized_K
from smx.datasets._poses import dropped_poses
from smx.datasets._scan_folders import ReadFiles, children
from smx.errors import SceneError
from smx.geometry.phone_poses import read_iphone
from smx.geometry.poses import Poses, read_colmap, read_nerfstudio

PoseFile = Literal["iphone", "colmap", "nerfstudio"]
Camera = Literal["iphone", "dslr"]
LOOKED_FOR = "looked for <scene>/iphone/rgb.mkv (or rgb.mp4, or rgb/frame_000000.jpg), in the root or its folder data"
FPS = 60.0
_VIDEOS = ("rgb.mkv", "rgb.mp4")
_UNDISTORTED = ("undistorted_images", "resized_undistorted_images", "image_undistorted")
# What ScanNet++ did to the world after turning COLMAP's cameras to OpenGL's axes; its files do not declare it.
_APPLIED = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]], dtype=np.float64)


def find(root: Path, camera: Camera) -> dict[str, Path]:
    """Scene -> its folder. `root` is one scene, or holds some."""
    if (root / camera).is_dir():
        return {root.resolve().name: root}
    found: dict[str, Path] = {}
    for child in children([root, root / "data"]):
        if (child / camera).is_dir():
            found.setdefault(child.name, child)
    return found


def open_scene(scene_id: str, folder: Path, camera: Camera, poses: PoseFile) -> RigScene:
    """Open one scene. `SceneError` where there is nothing to see, or only through a fisheye."""
    return DslrScene(scene_id, folder / "dslr") if camera == "dslr" else IphoneScene(scene_id, folder / "iphone", poses)


def files(folder: Path) -> ReadFiles:
    """What opening the scene in `folder` may read."""
    iphone, dslr = folder / "iphone", folder / "dslr"
    colmap = (f"colmap/{name}.txt" for name in ("cameras", "images", "rigs", "frames"))
    whole = [iphone / name for name in ("pose_intrinsic_imu.json", *colmap, "nerfstudio/transforms.json")]
    whole.append(dslr / "nerfstudio" / "transforms_undistorted.json")
    places = [iphone / "rgb", iphone / "depth", *(dslr / name for name in _UNDISTORTED)]
    many = [file for place in places for file in _images(place)]
    return ReadFiles([iphone / name for name in (*_VIDEOS, "depth.bin")], whole, many)


class IphoneScene(RigScene):
    """The walk with the phone. Frame ids are the numbers of `frame_000000`, which are places in the video."""

    def __init__(self, scene_id: str, folder: Path, poses: PoseFile) -> None:
        super().__init__(scene_id, _iphone_frames(folder))
        self._folder, self._poses = folder, poses

    def _read_rig(self) -> Rig | None:
        if self._poses == "iphone":
            path, note = self._folder / "pose_intrinsic_imu.json", {}
        else:
            name = "colmap/images.txt" if self._poses == "colmap" else "nerfstudio/transforms.json"
            path, note = self._folder / name, {"distortion": "left out"}
        if not path.is_file():
            return None
        read = {
            "iphone": lambda: read_iphone(path),
            "colmap": lambda: read_colmap(path.parent, distortion="leave-out", metric=True),
            "nerfstudio": lambda: read_nerfstudio(path, applied=_APPLIED, distortion="leave-out", metric=True),
        }[self._poses]()
        numbers = read.numbers if read.numbers is not None else _numbers(read, path)
        file = path.relative_to(self._folder).as_posix()
        note |= {"format": read.format, "file": file, "matched_by": "number"}
        return _joined(read, numbers, self, path, note)

    def _read_depth(self, position: int) -> tuple[np.ndarray, None, Path] | None:
        frame_id = int(self.frame_ids[position])
        if self._stream is not None:
            metres = self._stream.read(frame_id)
            return None if metres is None else (metres, None, self._stream.path)
        path = self._depth_files.get(frame_id)
        return None if path is None else (read_depth(path, 1000), None, path)

    @cached_property
    def _stream(self) -> DepthStream | None:
        path = self._folder / "depth.bin"
        return DepthStream(path) if path.is_file() else None

    @cached_property
    def _depth_files(self) -> dict[int, Path]:
        found = _images(self._folder / "depth")
        order = numbered(found) if found else None
        return dict(zip(order.numbers, order.files, strict=True)) if order else {}


class DslrScene(RigScene):
    """The photographs, once they are undistorted. They have no depth."""

    def __init__(self, scene_id: str, folder: Path) -> None:
        self._transforms = folder / "nerfstudio" / "transforms_undistorted.json"
        found = next((images for name in _UNDISTORTED if (images := _images(folder / name))), [])
        if not found or not self._transforms.is_file():
            raise SceneError(
                f"{folder}: fisheye pictures; undistort them with the ScanNet++ toolkit (it makes {_UNDISTORTED[0]}/"
                " and nerfstudio/transforms_undistorted.json), or set the option camera: iphone"
            )
        super().__init__(scene_id, ImageMedia(numbered(found), None))

    def _read_rig(self) -> Rig:
        read = read_nerfstudio(self._transforms, applied=_APPLIED, metric=True)
        note = {"format": "nerfstudio", "file": self._transforms.name, "matched_by": "number"}
        return _joined(read, _numbers(read, self._transforms), self, self._transforms, note)

    def _read_depth(self, position: int) -> None:
        return None


def _iphone_frames(folder: Path) -> Media:
    video = next((folder / name for name in _VIDEOS if (folder / name).is_file()), None)
    if video is not None:
        return VideoMedia(video)
    images = _images(folder / "rgb")
    if not images:
        raise SceneError(f"{folder}: an empty scene, neither {' nor '.join(_VIDEOS)} nor pictures in rgb/")
    return ImageMedia(numbered(images), FPS)


def _joined(read: Poses, numbers: np.ndarray, scene: RigScene, path: Path, note: dict[str, Any]) -> Rig:
    """Cameras of all frames: those that the file does not name are lost."""
    assert read.K is not None
    assert read.size is not None
    order = np.argsort(numbers, kind="stable")
    rows = order[np.minimum(np.searchsorted(numbers[order], scene.frame_ids), len(order) - 1)]
    known = numbers[rows] == scene.frame_ids
    if not known.any():
        first, last = scene.frame_ids[[0, -1]]
        raise SceneError(f"{path}: frames {numbers.min()} to {numbers.max()}, the scene has {first} to {last}")
    w2c = np.where(known[:, None, None], read.w2c[rows], np.nan)
    K = resized_K(read.K[rows], read.size, scene.stored_size, path)
    return Rig(w2c, K, read.metric, note, dropped_poses(read.dropped, path.parent))


def _numbers(read: Poses, path: Path) -> np.ndarray:
    """Frame numbers in the names of a file's pictures. `SceneError` where one has none, or comes twice."""
    assert read.names is not None
    numbers: dict[int, str] = {}
    for name in read.names:
        digits = re.findall(r"\d+", stem(name))
        if not digits or int(digits[-1]) in numbers:
            raise SceneError(f"{path}: {name!r} " + ("comes twice" if digits else "has no frame number"))
        numbers[int(digits[-1])] = name
    return np.array(list(numbers), dtype=np.int64)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith("."))
