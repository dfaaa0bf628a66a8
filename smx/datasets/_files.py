"""What lies in a folder: scenes, their images, videos and depth maps, and the numbers in file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from smx.errors import SceneError

VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"}
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
IMAGE_FOLDERS = ("image", "images", "rgb", "color", "frames")
DEPTH_FOLDERS = ("depth", "depths")
LOOKED_FOR = (
    f"a scene is a video, a folder with one video, or a folder of images (in itself or in {', '.join(IMAGE_FOLDERS)})"
)

Prefer = Literal["auto", "images", "video"]
PoseFormat = Literal["auto", "none", "tum", "open3d", "colmap", "nerfstudio", "posetxt", "cameras_json"]


class NoScene(Exception):
    """Why a path is no scene; `hollow` where it was meant as one: its folder of images is there, and empty."""

    def __init__(self, reason: str, hollow: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hollow = reason, hollow


@dataclass(frozen=True)
class SceneFiles:
    """One scene's files. Either `video` or `images` gives the frames."""

    base: Path | None  # folder of everything beside the frames; None for a video on its own
    video: Path | None
    images: tuple[Path, ...]
    depth: tuple[Path, ...]

    @property
    def frames_folder(self) -> Path | None:
        return self.images[0].parent if self.images else self.base


def find_scenes(root: Path, prefer: Prefer, only: str | None = None) -> tuple[dict[str, Path], dict[str, str]]:
    """(scene id -> its folder or video, name -> why it was skipped). `root` is one scene, or a folder of them.

    With `only`, the other scenes of a folder are not even looked at.
    """
    try:
        look(root, prefer)
        return {root.stem if root.is_file() else root.resolve().name: root}, {}
    except NoScene as reason:
        if root.is_file():
            return {}, {root.name: reason.reason}
    scenes: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    for child in sorted(root.iterdir()):
        name = child.stem if child.is_file() else child.name
        if child.name.startswith(".") or (child.is_file() and child.suffix.lower() not in VIDEOS):
            continue
        if only not in (None, name):
            continue
        try:
            look(child, prefer)
        except NoScene as reason:
            if not reason.hollow:
                skipped[child.name] = reason.reason
                continue
        if not (name.isprintable() and "\\" not in name and len(name.encode()) <= 200):
            skipped[child.name] = "its name cannot name a folder of samples"
        elif name in scenes:
            skipped[child.name] = f"{scenes[name].name} has the same scene name"
        else:
            scenes[name] = child
    return scenes, skipped


def look(path: Path, prefer: Prefer) -> SceneFiles:
    """The layout of one scene. Raises `NoScene` with the reason."""
    if path.is_file():
        if path.suffix.lower() not in VIDEOS or prefer == "images":
            raise NoScene("not a video" if prefer != "images" else "a video, and prefer is 'images'")
        return SceneFiles(None, path, (), ())
    if not path.is_dir():
        raise NoScene("no such file or folder")
    images = _images(path) if prefer != "video" else ()
    videos = _with_suffix(path, VIDEOS) if prefer != "images" and not images else []
    if not images and len(videos) != 1:
        hollow = [name for name in IMAGE_FOLDERS if (path / name).is_dir()] if not videos else []
        if hollow:
            raise NoScene(f"an empty scene, no image in {hollow[0]}/", hollow=True)
        raise NoScene(f"{len(videos)} videos in it" if videos else "no images and no video in it")
    depth = next((found for name in DEPTH_FOLDERS if (found := _with_suffix(path / name, {".png"}))), [])
    if not depth and images:
        depth = [file for file in _with_suffix(images[0].parent, {".png"}) if _is_depth(file)]
    return SceneFiles(path, videos[0] if videos else None, tuple(images), tuple(depth))


def _images(folder: Path) -> tuple[Path, ...]:
    places = [folder, *(folder / name for name in IMAGE_FOLDERS)]
    found = {
        place: files for place in places if (files := [f for f in _with_suffix(place, IMAGES) if not _is_depth(f)])
    }
    if len(found) > 1:
        where = ", ".join("itself" if place == folder else place.name for place in found)
        raise NoScene(f"images in several places ({where})")
    return tuple(*found.values()) if found else ()


def _is_depth(file: Path) -> bool:
    return file.stem.lower().endswith(".depth")  # 7-Scenes keeps frame-000000.depth.png beside the colour


def _with_suffix(folder: Path, suffixes: set[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()
    )


# --- numbers in names ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbered:
    """Files in order. `numbers` rise but may leave gaps; `times` where the names are timestamps."""

    files: tuple[Path, ...]
    numbers: tuple[int, ...]
    times: tuple[float, ...] | None = None


def numbered(files: Iterable[Path]) -> Numbered:
    """Order files by the last number in their names (`frame_000123.png` -> 123), read as a number, not as text.

    Names that are decimal timestamps (`1305031102.175304.png`) are ordered by time and numbered from 0, and
    names without any number alphabetically from 0. Two files of one number, or numbered and unnumbered files
    together, are a `SceneError` naming them.
    """
    listed = sorted(files)
    if listed and all(re.fullmatch(r"\d+\.\d+", file.stem) for file in listed):
        listed.sort(key=lambda file: float(file.stem))
        for one, two in pairwise(listed):
            if float(one.stem) == float(two.stem):
                raise SceneError(f"{two}: timestamp {two.stem} again, as {one.name}")
        return Numbered(tuple(listed), tuple(range(len(listed))), tuple(float(file.stem) for file in listed))
    numbers = {file: _last_number(file) for file in listed}
    without = [file for file, number in numbers.items() if number is None]
    if without and len(without) < len(listed):
        raise SceneError(f"{without[0]}: no frame number in this name, while others have one")
    if without:
        return Numbered(tuple(listed), tuple(range(len(listed))))
    pairs = sorted((number, file) for file, number in numbers.items() if number is not None)
    for (a, first), (b, second) in pairwise(pairs):
        if a == b:
            raise SceneError(f"{second}: frame number {b} again, as {first.name}")
    return Numbered(tuple(file for _, file in pairs), tuple(number for number, _ in pairs))


def stem(name: str) -> str:
    """A file name without folders and endings: `./images/frame-000001.color.png` -> `frame-000001`."""
    base = re.split(r"[/\\]", name)[-1]
    if "." in base and not re.fullmatch(r"\d+\.\d+", base):
        base = base.rpartition(".")[0]
    return re.sub(r"\.(color|rgb|depth|pose)$", "", base)


def _last_number(file: Path) -> int | None:
    digits = re.findall(r"\d+", stem(file.name))
    if not digits:
        return None
    number = int(digits[-1])
    if number >= 1 << 63:
        raise SceneError(f"{file}: the number in this name is too large")
    return number
