"""ScanNet's two layouts: a scan as one `.sens` file, or exported to `color/ depth/ pose/ intrinsic/`."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from smx.datasets._files import IMAGES, Numbered, numbered
from smx.datasets._frame_reader import ImageMedia, read_depth
from smx.datasets._posed_scan import Rig, RigScene, resized_K
from smx.datasets._poses import dropped_poses
from smx.datasets._scan_folders import ReadFiles, children
from smx.datasets._sens import SensMedia
from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry.poses import read_intrinsics, read_matrices

if TYPE_CHECKING:
    from smx.datasets import Scene

Prefer = Literal["auto", "exported", "sens"]
LOOKED_FOR = (
    "looked for <scene>/color/0.jpg with depth/, pose/ and intrinsic/, or <scene>/<scene>.sens,"
    " in the root or its folders scans and scans_test"
)
FPS = 30.0
COLOUR_SIZE = (1296, 968)  # of the camera; `intrinsic_color.txt` is for it even where the pictures were made smaller
_INTRINSICS = {
    kind: (f"intrinsic/intrinsic_{kind}.txt", f"intrinsics/intrinsic_{kind}.txt", f"intrinsics_{kind}.txt")
    for kind in ("color", "depth")
}


def find(root: Path) -> dict[str, Path]:
    """Scene -> its folder, or its `.sens` where that lies alone. `root` is one scene, or holds some."""
    if _is_scene(root):
        return {root.resolve().name: root}
    found: dict[str, Path] = {}
    for child in children([root, root / "scans", root / "scans_test"]):
        if child.suffix == ".sens" or _is_scene(child):
            found.setdefault(child.stem if child.is_file() else child.name, child)
    return found


def open_scene(scene_id: str, place: Path, prefer: Prefer) -> Scene:
    """Open one scene. `SceneError` where it has no frame, or not what `prefer` asks for."""
    sens = _sens_of(place)
    exported = place.is_dir() and (place / "color").is_dir()
    if prefer == "sens" or not exported:
        if sens is None:
            raise SceneError(f"{place}: no .sens file here" + ("; the option prefer: exported" if exported else ""))
        return SensScene(scene_id, SensMedia(sens))
    return ExportedScene(scene_id, place)


def files(place: Path) -> ReadFiles:
    """What opening the scan at `place` may read."""
    sens = _sens_of(place)
    ends = [sens] if sens is not None else []
    if not place.is_dir():
        return ReadFiles(ends)
    whole = [place / name for names in _INTRINSICS.values() for name in names]
    many = [file for name in ("color", "depth", "pose") for file in _listed(place / name)]
    return ReadFiles(ends, [*whole, place / f"{place.name}.txt"], many)


class SensScene(RigScene):
    """One `.sens`."""

    _media: SensMedia

    def _read_rig(self) -> Rig:
        media = self._media
        dropped: list[str] = []
        w2c = parse.inverted(media.c2w, lambda i: f"{media.path}: pose of frame {i}", dropped)
        K = np.tile(media.header.K_colour, (len(w2c), 1, 1))
        note = {"format": "sens", "file": media.path.name, "matched_by": "number"}
        return Rig(w2c, K, note=note, remarks=dropped_poses(dropped, media.path.parent))

    def _read_depth(self, position: int) -> tuple[np.ndarray, np.ndarray, Path]:
        return self._media.depth(position), self._media.header.K_depth.copy(), self._media.path


class ExportedScene(RigScene):
    """A scan exported to folders; frame ids are the numbers in the names, which may skip some."""

    def __init__(self, scene_id: str, folder: Path) -> None:
        images = [file for file in _listed(folder / "color") if file.suffix.lower() in IMAGES]
        if not images:
            raise SceneError(f"{folder / 'color'}: an empty scene, no picture in this folder")
        super().__init__(scene_id, ImageMedia(numbered(images), FPS))
        self._folder = folder

    def _read_rig(self) -> Rig | None:
        texts = [file for file in _listed(self._folder / "pose") if re.fullmatch(r"\d+", file.stem)]
        if not texts:
            return None
        order = numbered(texts)
        at = np.searchsorted(np.array(order.numbers), self.frame_ids)
        rows = np.minimum(at, len(texts) - 1)
        known = np.array(order.numbers)[rows] == self.frame_ids
        if not known.any():
            raise SceneError(
                f"{self._folder / 'pose'}: numbered {order.numbers[0]} to {order.numbers[-1]},"
                f" the frames {self.frame_ids[0]} to {self.frame_ids[-1]}"
            )
        wanted = rows[known].tolist()
        read = read_matrices([order.files[row] for row in wanted], [order.numbers[row] for row in wanted], "posetxt")
        w2c = np.full((len(self.frame_ids), 4, 4), np.nan)
        w2c[known] = read.w2c
        K = np.tile(self._colour_K, (len(w2c), 1, 1))
        note = {"format": "posetxt", "file": "pose", "matched_by": "number"}
        return Rig(w2c, K, note=note, remarks=dropped_poses(read.dropped, self._folder))

    @cached_property
    def _colour_K(self) -> np.ndarray:
        path = _first(self._folder, "color")
        K, _ = read_intrinsics(path)
        sizes = dict.fromkeys([self.stored_size, self._camera_size, COLOUR_SIZE])
        size = next((size for size in sizes if _belongs(K, size)), None)
        if size is None:
            tried = " or ".join(f"{width}x{height}" for width, height in sizes)
            raise SceneError(f"{path}: cx {K[0, 2]:g}, cy {K[1, 2]:g} is not the middle of a {tried} picture")
        return resized_K(K, size, self.stored_size, path)

    @property
    def _camera_size(self) -> tuple[int, int]:
        """What `<scene>.txt`, which comes with every scan, says of the colour camera."""
        path = self._folder / f"{self._folder.name}.txt"
        text = path.read_text(errors="replace") if path.is_file() else ""
        said = dict(re.findall(r"^(color\w+) *= *(\d+) *$", text, re.M))
        return int(said.get("colorWidth", COLOUR_SIZE[0])), int(said.get("colorHeight", COLOUR_SIZE[1]))

    def _read_depth(self, position: int) -> tuple[np.ndarray, np.ndarray, Path] | None:
        path = self._depth_files.get(int(self.frame_ids[position]))
        if path is None:
            return None
        metres, K = read_depth(path, 1000), self._depth_K
        size = (metres.shape[1], metres.shape[0])
        if not _belongs(K, size):
            raise SceneError(f"{path}: {size[0]}x{size[1]}, not the size its intrinsics are for (cx {K[0, 2]:g})")
        return metres, K.copy(), path

    @cached_property
    def _depth_K(self) -> np.ndarray:
        return read_intrinsics(_first(self._folder, "depth"))[0]

    @cached_property
    def _depth_files(self) -> dict[int, Path]:
        found = [file for file in _listed(self._folder / "depth") if file.suffix == ".png"]
        order = numbered(found) if found else Numbered((), ())
        return dict(zip(order.numbers, order.files, strict=True))


def _belongs(K: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the principal point is near the middle of a picture of `size`: which size an unlabelled K is for."""
    return bool(abs(2 * K[0, 2] / size[0] - 1) < 0.15 and abs(2 * K[1, 2] / size[1] - 1) < 0.15)


def _first(folder: Path, kind: str) -> Path:
    found = next((folder / name for name in _INTRINSICS[kind] if (folder / name).is_file()), None)
    if found is None:
        raise SceneError(f"{folder / _INTRINSICS[kind][0]}: no such file, and poses without intrinsics are no cameras")
    return found


def _sens_of(place: Path) -> Path | None:
    if place.is_file():
        return place
    found = sorted(place.glob("*.sens"))
    own = place / f"{place.name}.sens"
    return own if own in found else found[0] if found else None


def _is_scene(place: Path) -> bool:
    return place.is_dir() and ((place / "color").is_dir() or _sens_of(place) is not None)


def _listed(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not file.name.startswith(".")) if folder.is_dir() else []
