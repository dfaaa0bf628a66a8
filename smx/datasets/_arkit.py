"""ARKitScenes' layouts, `raw/` and `3dod/`: pictures, depth and intrinsics named by time, one trajectory file."""

from __future__ import annotations

import csv
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from smx.datasets._files import IMAGES, Numbered
from smx.datasets._frame_reader import ImageMedia, read_depth
from smx.datasets._posed_scan import Rig, RigScene, resized_K
from smx.datasets._poses import dropped_poses
from smx.datasets._scan_folders import ReadFiles, children, inputs_of
from smx.errors import SceneError
from smx.geometry.phone_poses import read_pincam, read_traj
from smx.geometry.poses import Poses

Camera = Literal["lowres_wide", "vga_wide"]
LOOKED_FOR = (
    "looked for <id>/lowres_wide/<id>_<time>.png or <id>/<id>_frames/…, in the root, raw/ or 3dod/,"
    " and in their Training/ and Validation/"
)
# Names of one moment differ by a millisecond from folder to folder; the next picture is 16 ms away.
_SAME_MOMENT = 0.005
_TURNS = {"Up": 0, "Left": 1, "Down": 2, "Right": 3}  # where the sky is in a picture -> clockwise turns upright


def find(root: Path, camera: Camera) -> dict[str, Path]:
    """Scene -> the folder that holds its pictures' folders. `root` is one scene, or holds some."""
    if (root / camera).is_dir():
        return {root.resolve().name.removesuffix("_frames"): root}
    splits = [top / split for top in (root, root / "raw", root / "3dod") for split in ("", "Training", "Validation")]
    found: dict[str, Path] = {}
    for child in children(splits):
        for folder in (child, child / f"{child.name}_frames"):
            if (folder / camera).is_dir():
                found.setdefault(child.name, folder)
    return found


def only_videos(root: Path, found: dict[str, Path]) -> dict[str, str]:
    """Walks of which there is a video and no pictures: id -> the video's name."""
    splits = [top / split for top in (root, root / "raw", root / "3dod") for split in ("", "Training", "Validation")]
    others = [child for child in children(splits) if child.name not in found and child.is_dir()]
    return {place.name: videos[0].name for place in others if (videos := sorted(place.glob("*.mov")))}


def files(folder: Path) -> ReadFiles:
    """What opening the walk in `folder` may read, but for `metadata.csv`."""
    cameras = ("lowres_wide", "vga_wide")
    places = [*cameras, *(f"{name}_intrinsics" for name in cameras), "lowres_depth"]
    many = [file for name in places for file in _listed(folder / name)]
    return ReadFiles(whole=[folder / "lowres_wide.traj"], many=many)


def inputs(scene: str, folder: Path, root: Path) -> dict[str, str]:
    """File -> digest of one walk, and where `metadata.csv` says that its sky is."""
    sky = sky_directions(root, folder).get(scene)
    return inputs_of(files(folder), folder) | ({} if sky is None else {"metadata.csv: sky_direction": sky})


class ArkitScene(RigScene):
    """One walk. Frame ids are places in the order of time; a frame has the pose nearest to it in time."""

    def __init__(self, scene_id: str, folder: Path, camera: Camera, upright: bool, root: Path) -> None:
        pictures = _timed(folder / camera, IMAGES)
        if not pictures.files:
            raise SceneError(f"{folder / camera}: an empty scene, no <id>_<time>.png in this folder")
        self._folder, self._camera = folder, camera
        self.sky, self.sky_from = "Up", "not asked for"
        if upright:
            self.sky, self.sky_from = self._find_sky(scene_id, root)
        super().__init__(scene_id, ImageMedia(pictures, None), _TURNS[self.sky])

    def _find_sky(self, scene_id: str, root: Path) -> tuple[str, str]:
        """Where the sky is in the stored pictures, and who says so."""
        said = sky_directions(root, self._folder).get(scene_id, "")
        if said in _TURNS:
            return said, "metadata.csv"
        if self._trajectory is None:
            return "Up", "nothing known"
        # the world's z points up; seen by the camera, x is right and y is down
        x, y, _ = np.nanmedian(self._trajectory.w2c[:, :3, 2], axis=0)
        if abs(x) > abs(y):
            return ("Right" if x > 0 else "Left"), "trajectory"
        return ("Down" if y > 0 else "Up"), "trajectory"

    @cached_property
    def _trajectory(self) -> Poses | None:
        path = self._folder / "lowres_wide.traj"
        return read_traj(path) if path.is_file() else None

    def _read_rig(self) -> Rig | None:
        read = self._trajectory
        if read is None:
            return None
        assert read.times is not None
        interval = float(np.median(np.diff(np.sort(read.times)))) if len(read.times) > 1 else 0.0
        assert self._media.times is not None
        rows = nearest(read.times, self._media.times, max(0.02, 0.505 * interval))
        folder = self._folder / f"{self._camera}_intrinsics"
        pincams = _timed(folder, {".pincam"})
        if not pincams.files:
            raise SceneError(f"{folder}: no .pincam file, and poses without intrinsics are no cameras")
        assert pincams.times is not None
        cams = nearest(np.array(pincams.times), self._media.times, 0.05)
        w2c = np.where((rows >= 0)[:, None, None] & (cams >= 0)[:, None, None], read.w2c[rows], np.nan)
        K = np.stack([self._K(pincams.files[max(row, 0)]) for row in cams.tolist()])
        note = {"format": "traj", "file": "lowres_wide.traj", "matched_by": "time", "sky": self.sky}
        remarks = dropped_poses(read.dropped, folder.parent)
        return Rig(w2c, K, note={**note, "sky_from": self.sky_from}, remarks=remarks)

    def _K(self, path: Path) -> np.ndarray:
        K, size = read_pincam(path)
        return resized_K(K, size, self.stored_size, path)

    def _read_depth(self, position: int) -> tuple[np.ndarray, None, Path] | None:
        maps = self._depth_maps
        if not maps.files:
            return None
        assert self._media.times is not None
        row = int(nearest(np.array(maps.times), self._media.times[[position]], _SAME_MOMENT)[0])
        return None if row < 0 else (read_depth(maps.files[row], 1000), None, maps.files[row])

    @cached_property
    def _depth_maps(self) -> Numbered:
        return _timed(self._folder / "lowres_depth", {".png"})


def nearest(times: np.ndarray, wanted: np.ndarray, within: float) -> np.ndarray:
    """[len(wanted)] index into `times` of the nearest one, the earlier of two; -1 where none is `within` seconds."""
    order = np.argsort(times, kind="stable")
    known = times[order]
    right = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    left = np.maximum(right - 1, 0)
    at = np.where(wanted - known[left] <= known[right] - wanted, left, right)
    # times have three decimals: half a millisecond of slack keeps a limit from cutting through rounding
    return np.where(np.abs(known[at] - wanted) <= within + 5e-4, order[at], -1)


def sky_directions(root: Path, folder: Path) -> dict[str, str]:
    """Video id -> sky_direction of the nearest `metadata.csv` from the scene's folder up to the root."""
    places = [place for place in folder.parents if place == root or root in place.parents]
    for place in dict.fromkeys([*places, root, root / "raw", root / "3dod"]):
        path = place / "metadata.csv"
        if path.is_file():
            return _read_metadata(path, path.stat().st_mtime_ns)
    return {}


@lru_cache(maxsize=8)
def _read_metadata(path: Path, mtime_ns: int) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"video_id", "sky_direction"} <= rows[0].keys():
        raise SceneError(f"{path}: no columns video_id and sky_direction")
    return {row["video_id"]: (row["sky_direction"] or "").strip().capitalize() for row in rows}


def _timed(folder: Path, suffixes: set[str]) -> Numbered:
    """Files `<id>_<seconds>.<suffix>` by time, numbered from 0. `SceneError` where two are of one time."""
    found: dict[float, Path] = {}
    for file in _listed(folder):
        time = re.fullmatch(r".*?_?(\d+\.\d+)", file.stem)
        if file.suffix.lower() not in suffixes or time is None:
            continue
        if float(time[1]) in found:
            raise SceneError(f"{file}: timestamp {time[1]} again, as {found[float(time[1])].name}")
        found[float(time[1])] = file
    times = sorted(found)
    return Numbered(tuple(found[time] for time in times), tuple(range(len(times))), tuple(times))


def _listed(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not file.name.startswith(".")) if folder.is_dir() else []
