"""Find a scene's camera file and give every frame its camera."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smx.datasets._files import Numbered, PoseFormat, SceneFiles, numbered, stem
from smx.datasets._frame_reader import Frames
from smx.datasets._turned_cameras import upright
from smx.errors import SceneError
from smx.geometry import capture_poses, poses
from smx.geometry._colmap_files import NAMES, file_of
from smx.geometry.lenses import Distortion, Lens

# Tried in this order by `auto`; the first file that is there counts.
_PLACES: dict[str, tuple[str, ...]] = {
    "cameras_json": ("cameras.json",),
    "nerfstudio": ("transforms.json", "nerfstudio/transforms.json"),
    "colmap": tuple(
        f"{folder}images{ending}"
        for folder in ("", "colmap/", "sparse/0/", "sparse/", "colmap/sparse/0/", "colmap/sparse/")
        for ending in (".txt", ".bin")
    ),
    "posetxt": ("*.pose.txt", "pose/*.txt", "poses/*.txt"),
    "open3d": ("trajectory.log", "*.log"),
    "tum": ("groundtruth.txt", "trajectory.txt", "traj.txt", "poses.txt", "*.tum"),
}
_INTRINSICS = (
    "camera_intrinsic.json",
    "intrinsic.json",
    "intrinsics.json",
    "intrinsic/intrinsic_color.txt",
    "intrinsic.txt",
    "intrinsics.txt",
    "camera-intrinsics.txt",
    "camera_matrix.csv",  # Stray Scanner
    "calibration.txt",  # ETH3D SLAM
    "cam_params.json",  # Replica, of one scene or
    "../cam_params.json",  # of all
)
# Wider than the jitter of a 30 Hz camera's clock; poses that are rarer may be half their own interval away.
_NEAR_SECONDS = 0.02


@dataclass(frozen=True)
class Joined:
    """A camera for every frame of the scene."""

    w2c: np.ndarray  # [N, 4, 4], NaN where lost
    K: np.ndarray | None  # [N, 3, 3] pixels of the frame as decoded; None where no file has intrinsics
    metric: bool
    format: str
    file: str  # relative to the scene
    matched_by: str
    dropped: tuple[str, ...] = ()  # poses of the file that were not taken, and why
    lenses: tuple[Lens | None, ...] | None = None  # of each frame, where its picture is to be undistorted


def pose_files(layout: SceneFiles, format: PoseFormat) -> tuple[str, list[Path]] | None:
    """(format, its files), or None where there is none. An explicit format that is absent is a `SceneError`."""
    if layout.base is None or format == "none":
        if format in ("auto", "none"):
            return None
        raise SceneError(f"{layout.video}: a video on its own has no camera file; give the folder that holds both")
    capture = layout.capture
    if capture is not None and format in ("auto", capture.name):
        own = capture.camera_files(layout.base, layout.frames_folder or layout.base)
        if own:
            return capture.name, own
    wanted = list(_PLACES) if format == "auto" else [format] if format in _PLACES else []
    folders = list(dict.fromkeys([layout.base, layout.frames_folder or layout.base]))
    for name in wanted:
        for pattern in _PLACES[name]:
            for folder in folders:
                if found := sorted(p for p in folder.glob(pattern) if p.is_file()):
                    return name, found if name == "posetxt" else found[:1]
    if format == "auto":
        return None
    places = ", ".join(_PLACES.get(format, ("the folders that such a capture has",)))
    raise SceneError(f"{layout.base}: no cameras of format {format!r}; looked for {places}")


def beside(layout: SceneFiles, format: PoseFormat) -> tuple[list[Path], list[Path]]:
    """Every file that `join` and `stated_intrinsics` read (and the depth camera's), and those of one pose each."""
    if layout.base is None:
        return [], []
    name, files = pose_files(layout, format) or ("none", [])
    if name == "colmap":
        files = [*files, *(file for other in NAMES if (file := file_of(files[0].parent, other)) is not None)]
        files = list(dict.fromkeys(files))
    if layout.capture is not None and layout.capture.name == "kitti":
        files = [*files, layout.base / "times.txt"]
    others = [_intrinsics_file(layout), layout.base / "intrinsic" / "intrinsic_depth.txt"]
    each = files if name in _OF_MANY else []
    return [file for file in (*files, *others) if file is not None and file not in each], each


def join(
    layout: SceneFiles,
    media: Frames,
    format: PoseFormat,
    intrinsics: Sequence[float] | None,
    distortion: Distortion = "refuse",
) -> Joined | None:
    """Read the cameras and match them with the frames. `SceneError` where they do not belong together."""
    found = pose_files(layout, format)
    if found is None:
        return None
    assert layout.base is not None
    name, files = found
    read = _read(name, files, distortion, (media.width, media.height), layout.frames_folder)
    rows, matched_by = _match(read, media, layout, files[0])
    w2c = np.full((len(media.frame_ids), 4, 4), np.nan)
    w2c[rows >= 0] = read.w2c[rows[rows >= 0]]
    if not np.isfinite(w2c).all(axis=(1, 2)).any():
        raise SceneError(f"{files[0]}: no pose of any frame is known (inf, NaN, or of other frames)")
    if intrinsics is not None or read.K is None:
        w2c, _ = upright(w2c, None, None, media, files[0])
        K = stated_intrinsics(layout, media, intrinsics)
    else:
        # a frame without a pose gets the first camera's K, which is all that is known of it
        w2c, K = upright(w2c, read.K[np.maximum(rows, 0)], read.size, media, files[0])
    file = below(layout.base, files[0].parent if name in _OF_MANY else files[0])
    lenses = None if read.lenses is None else tuple(read.lenses[max(row, 0)] for row in rows.tolist())
    if lenses is not None and (media.turns != 0).any():
        raise SceneError(f"{files[0]}: pictures that a tag turns are not undistorted; distortion: leave-out, or refuse")
    return Joined(w2c, K, read.metric, read.format, file, matched_by, read.dropped, lenses)


def dropped_poses(dropped: Sequence[str], base: Path) -> list[str]:
    """What to say of poses that were not taken: how many, and the first of them, without `base`."""
    if not dropped:
        return []
    first = relative(dropped[0], base)
    return [f"{len(dropped)} pose{'s' if len(dropped) > 1 else ''} not taken: {first}"]


def below(base: Path, path: Path) -> str:
    """A path as seen from `base`, which it may lie beside."""
    return Path(os.path.relpath(path, base)).as_posix()


def relative(message: str, base: Path) -> str:
    """A message without the folder that differs from machine to machine."""
    folder = base if base.is_dir() else base.parent
    return message.replace(f"{folder}/", "")


def stated_intrinsics(layout: SceneFiles, media: Frames, intrinsics: Sequence[float] | None) -> np.ndarray | None:
    """[N, 3, 3] in pixels of the frames, from the option (fx, fy, cx, cy) or a file of their own."""
    n = len(media.frame_ids)
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        return np.tile(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), (n, 1, 1))
    path = _intrinsics_file(layout)
    if path is None:
        published = None if layout.capture is None else layout.capture.intrinsics
        return None if published is None else stated_intrinsics(layout, media, published)
    K, size = poses.read_intrinsics(path)
    return upright(np.tile(np.eye(4), (n, 1, 1)), np.tile(K, (n, 1, 1)), size, media, path)[1]


def match_depth(depth: Numbered, media: Frames, layout: SceneFiles) -> dict[int, Path]:
    """Position of a frame -> its depth map: by time where both have times, by name where both have one, by number."""
    if depth.times is not None and media.times is not None:
        nearest = _nearest(np.array(depth.times), media.times)
        return {at: depth.files[row] for at, row in enumerate(nearest.tolist()) if row >= 0}
    place = {stem(file.name): at for at, file in enumerate(layout.order.files)}
    if layout.depth_of:
        return {place[name]: file for name, file in layout.depth_of.items() if name in place}
    if place and all(stem(file.name) in place for file in depth.files):
        return {place[stem(file.name)]: file for file in depth.files}
    if depth.by_place:
        _match_order(len(depth.files), media, depth.files[0].parent, "depth maps")
    rows = match_numbers(media.frame_ids, np.array(depth.numbers), layout, depth.files[0].parent)
    return {at: depth.files[row] for at, row in enumerate(rows.tolist()) if row >= 0}


_OF_MANY = ("posetxt", "polycam")  # formats of one file a pose


def _read(
    name: str,
    files: list[Path],
    distortion: Distortion = "refuse",
    size: tuple[int, int] | None = None,
    frames: Path | None = None,
) -> poses.Poses:
    """`size`: of the pictures, for formats that need not say it. `frames`: their folder; KITTI's names a camera."""
    if name == "posetxt":
        order = numbered(file for file in files if re.search(r"\d", file.name))
        return poses.read_matrices(list(order.files), list(order.numbers), "posetxt")
    if name == "colmap":
        return poses.read_colmap(files[0].parent, distortion=distortion)
    if name == "nerfstudio":
        return poses.read_nerfstudio(files[0], distortion=distortion, size=size)
    if name == "polycam":
        return capture_poses.read_polycam(files)
    if name == "kitti" and frames is not None:
        return capture_poses.read_kitti(files[0], files[1], int(frames.name[-1]))
    if name == "euroc":
        return capture_poses.read_euroc(files[0], files[1], distortion)
    readers: dict[str, Callable[[Path], poses.Poses]] = {
        "tum": poses.read_tum,
        "open3d": poses.read_open3d_log,
        "cameras_json": poses.read_cameras_json,
        "stray": capture_poses.read_stray,
    }
    return readers[name](files[0])


# --- which pose belongs to which frame ----------------------------------------------------------------------


def _match(read: poses.Poses, media: Frames, layout: SceneFiles, file: Path) -> tuple[np.ndarray, str]:
    """([N] row of each frame's pose, -1 where it has none; how they were matched)."""
    if read.numbers is not None and read.format == "open3d":
        return match_headers(media.frame_ids, read.numbers, file)
    if read.numbers is not None:
        return match_numbers(media.frame_ids, read.numbers, layout, file), "number"
    if read.names is not None:
        return _match_names(read.names, media, layout, file), "name"
    if read.times is not None:
        return _match_times(read.times, media, file)
    return _match_order(len(read.w2c), media, file), "order"


def match_headers(frame_ids: np.ndarray, numbers: np.ndarray, file: Path) -> tuple[np.ndarray, str]:
    """Rows of an Open3D log, whose headers have `numbers`: frame numbers, or else places in the frames' order.

    As many poses as frames, numbered from 0 or from 1, are those of all frames in the order of their headers.
    """
    order = np.argsort(numbers, kind="stable")
    at = np.minimum(np.searchsorted(numbers[order], frame_ids), len(order) - 1)
    rows = np.where(numbers[order][at] == frame_ids, order[at], -1)
    if np.isin(numbers, frame_ids).all():
        return rows, "number"
    counted = len(numbers) == len(frame_ids) and bool((np.diff(numbers[order]) == 1).all()) and numbers.min() in (0, 1)
    if not counted:
        raise SceneError(
            f"{file}: its headers name frames {numbers.min()} to {numbers.max()} ({len(numbers)} of them),"
            f" the frames are {frame_ids[0]} to {frame_ids[-1]} ({len(frame_ids)} of them)"
        )
    return order, "order"


def match_numbers(frame_ids: np.ndarray, numbers: np.ndarray, layout: SceneFiles, file: Path) -> np.ndarray:
    """[N] index into `numbers` of each frame id, -1 where it is not there.

    The frames of a video have no names: files numbered from 1, or every tenth, must be as many as its frames.
    Among images, a numbering shifted by a constant is an error.
    """
    order = np.argsort(numbers, kind="stable")
    at = np.searchsorted(numbers[order], frame_ids)
    rows = order[np.minimum(at, len(order) - 1)]
    known = numbers[rows] == frame_ids
    if known.all():
        if layout.video is not None and len(numbers) != len(frame_ids):
            raise SceneError(f"{file}: {len(numbers)} of these for the {len(frame_ids)} frames of {layout.video.name}")
        return rows
    if layout.video is not None:
        if len(numbers) != len(frame_ids):
            raise SceneError(f"{file}: {len(numbers)} of these for the {len(frame_ids)} frames of {layout.video.name}")
        return order
    shifted = len(numbers) == len(frame_ids) and len(set((numbers[order] - frame_ids).tolist())) == 1
    if shifted or not known.any():
        raise SceneError(
            f"{file}: numbered {numbers.min()} to {numbers.max()}, the frames {frame_ids[0]} to {frame_ids[-1]}"
        )
    return np.where(known, rows, -1)


def _match_names(names: Sequence[str], media: Frames, layout: SceneFiles, file: Path) -> np.ndarray:
    if layout.video is not None:
        order = numbered(Path(name) for name in names)
        place = {path: row for row, path in enumerate(map(Path, names))}
        _match_order(len(names), media, file)
        return np.array([place[path] for path in order.files])
    rows = {stem(name): row for row, name in enumerate(names)}
    if len(rows) < len(names):
        raise SceneError(f"{file}: the same image name twice")
    matched = np.array([rows.get(stem(path.name), -1) for path in layout.order.files])
    if (matched < 0).all():
        raise SceneError(f"{file}: none of its images ({names[0]!r} …) is among the frames")
    return matched


def _match_times(times: np.ndarray, media: Frames, file: Path) -> tuple[np.ndarray, str]:
    """The nearest pose in time; by frame number where that is what the column holds, by order where neither fits."""
    if media.times is not None:
        # a container's clock may start anywhere, and poses be counted from it or from the first frame
        tried = [_nearest(times, clock) for clock in (media.times, media.times - media.times[0])]
        rows = max(tried, key=lambda rows: int((rows >= 0).sum()))
        if (rows >= 0).any():
            return rows, "time"
    elif np.isin(times, media.frame_ids).all():
        row_of = {int(time): row for row, time in enumerate(times)}
        return np.array([row_of.get(int(i), -1) for i in media.frame_ids]), "number"
    return _match_order(len(times), media, file), "order"


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[len(wanted)] index into `times` of the nearest one, -1 where none is near."""
    order = np.argsort(times, kind="stable")
    known = times[order]
    right = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(wanted - known[left] <= known[right] - wanted, left, right)
    interval = float(np.median(np.diff(known))) if len(known) > 1 else 0.0
    near = np.abs(known[nearest] - wanted) <= max(_NEAR_SECONDS, 0.505 * interval)
    return np.where(near, order[nearest], -1)


def _match_order(count: int, media: Frames, file: Path, what: str = "poses") -> np.ndarray:
    if count != len(media.frame_ids):
        raise SceneError(f"{file}: {count} {what} for {len(media.frame_ids)} frames")
    return np.arange(count)


# --- intrinsics ---------------------------------------------------------------------------------------------


def _intrinsics_file(layout: SceneFiles) -> Path | None:
    if layout.base is None:
        return None
    return next((layout.base / name for name in _INTRINSICS if (layout.base / name).is_file()), None)
