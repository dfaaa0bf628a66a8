"""A scene of any dataset with its cameras read from a file: poses of SLAM, of a network, of another tool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smx.datasets import Cameras, Scene
from smx.datasets._files import DEPTHS, PoseFormat, SceneFiles, numbered
from smx.datasets._frame_reader import read_depth
from smx.datasets._posed_scan import resized_K
from smx.datasets._poses import (
    _PLACES,
    _match_order,
    _match_times,
    _read,
    dropped_poses,
    match_depth,
    match_headers,
    match_numbers,
    pose_files,
    stated_intrinsics,
)
from smx.datasets._scan_folders import ReadFiles, digest_of, inputs_of
from smx.datasets._turned_cameras import upright, upright_depth
from smx.digests import files_digest, whole_digest
from smx.errors import SceneError, UserError
from smx.geometry._colmap_files import NAMES as COLMAP_FILES
from smx.geometry.poses import Poses

_ENDINGS = {".log": "open3d", ".tum": "tum", ".txt": "tum", ".json": "nerfstudio"}
LOOKED_FOR = "a folder SCENE/ with a camera file in it, or a file SCENE.txt (TUM), SCENE.log (Open3D) or SCENE.json"


@dataclass(frozen=True)
class OtherTool:
    """What another tool (SLAM, a network) made of scenes: where its camera files are, and its depth maps."""

    poses: Path  # a file, or a folder with one per scene
    depth: Path | None = None  # a folder of maps, or with one such folder per scene

    def digest(self) -> str:
        """Identity of all files, hex; names and contents (of maps, names and sizes), no path.

        `UserError` where there is no camera file, or no map.
        """
        of_poses = digest(self.poses)
        return of_poses if self.depth is None else f"{of_poses}+{_depth_digest(self.depth)}"


def _depth_digest(root: Path) -> str:
    maps = sorted(p for p in root.rglob("*") if p.suffix.lower() in DEPTHS and p.is_file()) if root.is_dir() else []
    if not maps:
        raise UserError(f"no depth map under {root}", f"--depth takes a folder of {', '.join(sorted(DEPTHS))}")
    return digest_of({".": inputs_of(ReadFiles(many=maps), root)})


def digest(root: Path) -> str:
    """Identity of every camera file under `root` (a file or a folder), hex; names and contents, no path.

    `UserError` where there is none.
    """
    if not root.exists():
        raise UserError(f"there is nothing at {root}", f"--poses takes {LOOKED_FOR}")
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if _is_camera_file(p))
    if not files:
        raise UserError(f"no camera file under {root}", f"--poses takes {LOOKED_FOR}")
    if root.is_file():
        return f"{root.suffix}{whole_digest(root)}"
    return digest_of({".": inputs_of(ReadFiles(whole=files), root)})


def _is_camera_file(path: Path) -> bool:
    of_colmap = path.suffix == ".bin" and path.stem in COLMAP_FILES  # its points are no cameras
    return (path.suffix in _ENDINGS or of_colmap) and path.is_file()


def of_one_scene(root: Path) -> bool:
    """Whether `root` is the camera file (or the folder of one camera model) of a single scene."""
    fixed = [name for names in _PLACES.values() for name in names if "*" not in name]
    return root.is_file() or any((root / name).is_file() for name in fixed) or any(root.glob("*.pose.txt"))


class PosedScene(Scene):
    """Frames and depth of `scene`, cameras from the files of that scene under `root`.

    `metric`: whether translations are metres; None: as the format has it (COLMAP and nerfstudio: no). Intrinsics
    come from the camera file, else from a file beside it, else from the dataset. Depth is the other tool's where it
    is given, in the unit of its poses (floats; whole numbers are thousandths, unless `depth_scale` says otherwise).
    Raises `SceneError` where there are no poses of the scene, or they do not belong to its frames.
    """

    def __init__(
        self,
        scene: Scene,
        files: OtherTool | Path,
        format: PoseFormat,
        metric: bool | None,
        depth_scale: float | None = None,
    ) -> None:
        made = OtherTool(files) if isinstance(files, Path) else files
        root = made.poses
        self._scene, self._depth_scale = scene, depth_scale
        self.id, self.frame_ids, self.fps = scene.id, scene.frame_ids, scene.fps
        self.width, self.height = scene.width, scene.height
        layout, name, cameras = _find(root, scene.id, format)
        read = _read(name, cameras, size=(scene.width, scene.height))
        rows, matched_by = _match(read, self._frames, layout, cameras[0])
        self._w2c = np.full((len(rows), 4, 4), np.nan)
        self._w2c[rows >= 0] = read.w2c[rows[rows >= 0]]
        if not np.isfinite(self._w2c).all(axis=(1, 2)).any():
            raise SceneError(f"{cameras[0]}: no frame of scene {scene.id!r} has a pose here that is not inf or NaN")
        self._w2c, self._K = self._upright(read, rows, layout, cameras[0])
        self._metric = read.metric if metric is None else metric
        file = cameras[0].parent if name == "posetxt" else cameras[0]
        self.record: dict[str, Any] = {
            "reference_frame": "world of the camera file",
            "cameras": {
                "format": name,
                "file": file.relative_to(root).as_posix() if root.is_dir() else file.suffix,
                "matched_by": matched_by,
                "sha256": files_digest(cameras, cameras[0].parent),
                **({"dropped": len(read.dropped)} if read.dropped else {}),
            },
        }
        self._maps = None if made.depth is None else self._depth_of(made.depth, read, rows)
        if self._maps is not None:
            self.record["depth"] = {"files": len(self._maps)}
        self._dropped = dropped_poses(read.dropped, root)

    def remarks(self) -> list[str]:
        """Poses of the file that were not taken; and what the dataset's scene says."""
        return [*self._dropped, *self._scene.remarks()]

    def timestamps(self) -> np.ndarray:
        """Of the dataset's scene."""
        return self._scene.timestamps()

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """By the dataset's scene."""
        return self._scene.decode(ids)

    def cameras(self, ids: Sequence[int]) -> Cameras:
        """From the file; NaN for frames it has no pose of."""
        at = np.searchsorted(self.frame_ids, np.asarray(ids, dtype=np.int64))
        return Cameras(self._w2c[at], self._K[at], self._metric)

    def clock(self) -> np.ndarray | None:
        """Of the dataset's scene."""
        return self._scene.clock()

    def depth_map(self, frame_id: int) -> np.ndarray | None:
        """The other tool's where it is given, else the dataset's."""
        if self._maps is None:
            return self._scene.depth_map(frame_id)
        at = int(np.searchsorted(self.frame_ids, frame_id))
        path = self._maps.get(at)
        if path is None:
            return None
        turn = int(self._scene.turns()[at])
        return upright_depth(read_depth(path, self._depth_scale), None, turn, (self.width, self.height))[0]

    def _depth_of(self, root: Path, read: Poses, rows: np.ndarray) -> dict[int, Path]:
        """Position of a frame -> its map: by time, name or number; else map k is of the frame that has pose k."""
        folder = root / self.id if (root / self.id).is_dir() else root
        order = numbered(p for p in folder.iterdir() if p.suffix.lower() in DEPTHS and not p.name.startswith("."))
        if not order.files:
            raise SceneError(f"{folder}: no depth map of scene {self.id!r} ({', '.join(sorted(DEPTHS))})")
        of_frames = np.isin(np.array(order.numbers), self.frame_ids).all() and not order.by_place
        if not of_frames and order.times is None and len(order.files) == len(read.w2c):
            return {at: order.files[row] for at, row in enumerate(rows.tolist()) if row >= 0}
        return match_depth(order, self._frames, SceneFiles(folder, None, (), ()))

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The dataset's; with the file's intrinsics where the dataset has none.

        `SceneError` where it is in metres and the poses are not, so that they do not fit.
        """
        found = self._scene.depth(frame_id) if self._maps is None else None
        if found is None and (metres := self.depth_map(frame_id)) is not None:
            K, size = self.cameras([frame_id]).K[0], (metres.shape[1], metres.shape[0])
            found = metres, resized_K(K, (self.width, self.height), size, Path(self.record["cameras"]["file"]))
        if found is not None and self._maps is None and not self._metric:
            raise SceneError(
                f"scene {self.id!r}: depth is in metres, the poses of {self.record['cameras']['file']} have no scale;"
                " geometry.metric=true says that they are metres, too"
            )
        return found

    def intrinsics(self, ids: Sequence[int]) -> np.ndarray:
        """Those of `cameras`."""
        return self.cameras(ids).K

    def source(self) -> dict[str, Any]:
        """Of the dataset's scene."""
        return self._scene.source()

    @property
    def _frames(self) -> _Frames:
        return _Frames(self.frame_ids, self.width, self.height, self.fps, self._scene.clock(), self._scene.turns())

    def _upright(self, read: Poses, rows: np.ndarray, layout: SceneFiles, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """(w2c, K in pixels of the frames), turned with those frames that a tag turned."""
        K = None if read.K is None else read.K[np.maximum(rows, 0)]
        w2c, K = upright(self._w2c, K, read.size, self._frames, file)
        if K is not None:
            return w2c, K
        found = stated_intrinsics(layout, self._frames, None)
        if found is None:
            found = self._scene.intrinsics(self.frame_ids.tolist())
        if found is None:
            raise SceneError(
                f"{file}: poses without intrinsics, and dataset and scene {self.id!r} have none;"
                " put a camera_intrinsic.json beside the poses"
            )
        return w2c, found


@dataclass
class _Frames:
    """A scene as `smx.datasets._frame_reader.Frames`."""

    frame_ids: np.ndarray
    width: int
    height: int
    fps: float | None
    times: np.ndarray | None
    turns: np.ndarray


def _find(root: Path, scene: str, format: PoseFormat) -> tuple[SceneFiles, str, list[Path]]:
    """(where intrinsics may lie, format, the camera files) of a scene. `root`: of all scenes, or of this one alone."""
    if root.is_file():
        return _beside(root), *_one_file(root, format)
    folder = root if of_one_scene(root) else root / scene
    if folder.is_dir() and (found := pose_files(_beside(folder), format)):
        return _beside(folder), *found
    for ending in _ENDINGS:
        if (file := root / f"{scene}{ending}").is_file():
            return _beside(file), *_one_file(file, format)
    raise SceneError(f"{root}: no poses of scene {scene!r}; looked for {LOOKED_FOR}")


def _beside(place: Path) -> SceneFiles:
    return SceneFiles(place if place.is_dir() else place.parent, None, (), ())


def _one_file(file: Path, format: PoseFormat) -> tuple[str, list[Path]]:
    if format != "auto":
        return format, [file]
    name = _ENDINGS.get(file.suffix)
    if name is None:
        raise SceneError(f"{file}: no camera file by its ending; say geometry.poses=tum (or another format)")
    if name == "nerfstudio" and _keys(file) & {"w2c"}:
        name = "cameras_json"
    return name, [file]


def _keys(file: Path) -> set[str]:
    try:
        data = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return set()  # its reader says what is wrong with it
    return set(data) if isinstance(data, dict) else set()


def _match(read: Poses, frames: _Frames, layout: SceneFiles, file: Path) -> tuple[np.ndarray, str]:
    """([N] row of each frame's pose, -1 where it has none; how they were matched)."""
    if read.numbers is not None and read.format == "open3d":
        return match_headers(frames.frame_ids, read.numbers, file)
    if read.numbers is not None:
        return match_numbers(frames.frame_ids, read.numbers, layout, file), "number"
    if read.names is not None:
        order = numbered(map(Path, read.names))
        row_of = {path: row for row, path in enumerate(map(Path, read.names))}
        if order.by_place:
            _match_order(len(read.names), frames, file)
            return np.array([row_of[path] for path in order.files]), "order of the names"
        rows = match_numbers(frames.frame_ids, np.array(order.numbers, dtype=np.int64), layout, file)
        back = np.array([row_of[path] for path in order.files])
        return np.where(rows >= 0, back[rows], -1), "number in the name"
    if read.times is None:
        return _match_order(len(read.w2c), frames, file), "order"
    if frames.times is not None and _counts_frames(read.times, frames):
        return match_numbers(frames.frame_ids, read.times.astype(np.int64), layout, file), "number"
    return _match_times(read.times, frames, file)


def _counts_frames(times: np.ndarray, frames: _Frames) -> bool:
    """Whether the times are frame numbers: all of frames there are, and over more seconds than the clip has."""
    assert frames.times is not None
    span = frames.times[-1] - frames.times[0]
    return bool(np.isin(times, frames.frame_ids).all() and times.max() - times.min() > span + 1)
