"""What lies in a folder: scenes, their images, videos and depth maps, and the numbers in file names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from smx.datasets._captures import RECORDINGS, Capture, is_record3d, matching, recognised, times_of
from smx.errors import SceneError

VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".gif", ".wmv", ".flv", ".3gp"}
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
IMAGE_FOLDERS = ("image", "images", "rgb", "color", "frames")
DEPTH_FOLDERS = ("depth", "depths")
DEPTHS = {".png", ".npy", ".exr", ".tif", ".tiff"}
_NO_PART = {".md", ".jsonl", ".parquet"}  # of a scene: notes, and questions about it
LOOKED_FOR = (
    f"a scene is a video, a folder with one video, or a folder of images (in itself or in {', '.join(IMAGE_FOLDERS)})"
)

Prefer = Literal["auto", "images", "video"]
PoseFormat = Literal[
    "auto",
    "none",
    "tum",
    "open3d",
    "colmap",
    "nerfstudio",
    "posetxt",
    "cameras_json",
    "stray",
    "polycam",
    "euroc",
    "kitti",
]


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
    unread: tuple[str, ...] = ()  # what lies beside the frames and is of no format that is read
    capture: Capture | None = None  # whose layout this is
    depth_of: Mapping[str, Path] = field(default_factory=dict)  # stem of an image -> its map, where a file says so

    @property
    def frames_folder(self) -> Path | None:
        return self.images[0].parent if self.images else self.base

    @property
    def order(self) -> Numbered:
        """The images by number or time."""
        times = None if self.capture is None or self.base is None else times_of(self.capture, self.base, [*self.images])
        return numbered(self.images) if times is None else _by_time([*self.images], times)


def find_scenes(root: Path, prefer: Prefer, only: str | None = None) -> tuple[dict[str, Path], dict[str, str]]:
    """(scene id -> its folder or video, name -> why it was skipped). `root` is one scene, or a folder of them.

    A folder with nothing but one video is called as it would be with a second one in it: after the video.

    With `only`, the other scenes of a folder are not even looked at.
    """
    try:
        video = look(root, prefer).video
        own = root.stem if root.is_file() else root.resolve().name
        return {video.stem if video is not None and _is_alone(video, root) else own: root}, {}
    except NoScene as reason:
        if root.is_file():
            return {}, {root.name: reason.reason}
    scenes: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    for child in sorted(root.iterdir()):
        name = child.stem if child.is_file() else child.name
        if child.name.startswith(".") or (child.is_file() and child.suffix.lower() not in VIDEOS | RECORDINGS):
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


def _is_alone(video: Path, root: Path) -> bool:
    """Whether nothing that could be of its scene lies beside a video."""
    visible = [] if root == video else [path for path in root.iterdir() if not path.name.startswith(".")]
    return all(path == video or (path.is_file() and path.suffix.lower() in _NO_PART) for path in visible)


def look(path: Path, prefer: Prefer) -> SceneFiles:
    """The layout of one scene. Raises `NoScene` with the reason."""
    if is_record3d(path):
        if prefer == "video":
            raise NoScene("a recording of pictures, and prefer is 'video'")
        return SceneFiles(path, None, (), ())
    if path.is_file():
        if path.suffix.lower() not in VIDEOS or prefer == "images":
            raise NoScene("not a video" if prefer != "images" else "a video, and prefer is 'images'")
        return SceneFiles(None, path, (), ())
    if not path.is_dir():
        raise NoScene("no such file or folder")
    capture = recognised(path)
    if capture is not None and (frames := matching(path, capture.frames)):
        video = frames[0] if frames[0].suffix in VIDEOS else None
        if prefer == "auto" or (prefer == "video") == (video is not None):
            depth = tuple(matching(path, capture.depth))
            return SceneFiles(path, video, () if video else tuple(frames), depth, capture=capture)
    named, maps_of = _named_in_transforms(path)
    images = (_images(path) or tuple(named)) if prefer != "video" else ()
    videos = _with_suffix(path, VIDEOS) if prefer != "images" and not images else []
    if not images and len(videos) != 1:
        hollow = [name for name in IMAGE_FOLDERS if (path / name).is_dir() and not endings(path / name)]
        hollow = [] if videos else hollow
        if hollow:
            raise NoScene(f"an empty scene, no image in {hollow[0]}/", hollow=True)
        raise NoScene(f"{len(videos)} videos in it" if videos else f"no images and no video in it{_others(path)}")
    maps = next((found for name in DEPTH_FOLDERS if (found := _depth_maps(path / name))), [])
    if not maps and images:
        maps = [file for file in _with_suffix(images[0].parent, DEPTHS) if _is_depth(file)]
    if maps_of and images:
        maps = list(maps_of.values())
    unread = () if maps else _unread_depth(path)
    depth_of = maps_of if images else {}
    return SceneFiles(path, videos[0] if videos else None, images, tuple(maps), unread, depth_of=depth_of)


def _named_in_transforms(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """(pictures, image stem -> depth map) that `transforms.json` names, those that are there.

    Pictures may lie in any folder and be named without their ending (NeRF-synthetic, instant-ngp).
    """
    try:
        frames = json.loads((folder / "transforms.json").read_text(encoding="utf-8", errors="replace"))["frames"]
        named = [(str(frame["file_path"]), str(frame.get("depth_file_path") or "")) for frame in frames]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [], {}  # its reader says what is wrong with it
    pictures, maps = [], {}
    for name, depth in named:
        picture = folder / name
        if picture.suffix.lower() not in IMAGES:
            picture = next((p for ending in sorted(IMAGES) if (p := folder / f"{name}{ending}").is_file()), picture)
        if picture.is_file():
            pictures.append(picture)
        if depth and (folder / depth).is_file():
            maps[stem(name) if Path(name).suffix else name.rpartition("/")[2]] = folder / depth
    return pictures, maps


def _unread_depth(folder: Path) -> tuple[str, ...]:
    """What is in folders of depth, where none of it is read."""
    return tuple(
        f"{name}/ has {what}, and depth is read from {', '.join(sorted(DEPTHS))}"
        for name in DEPTH_FOLDERS
        if (what := endings(folder / name))
    )


def _others(folder: Path) -> str:
    """What is there of pictures that are not read."""
    places = [folder, *(folder / name for name in IMAGE_FOLDERS)]
    seen = [what for place in places if (what := endings(place, {".heic", ".heif", ".tif", ".tiff", ".ppm", ".pgm"}))]
    return f" ({', '.join(seen)}: not read; convert to .png or .jpg)" if seen else ""


def endings(folder: Path, of: set[str] | None = None) -> str:
    """How many files of which endings are in a folder: `12 .exr, 3 .npy`; "" where there are none (`of` those)."""
    if not folder.is_dir():
        return ""
    counts = Counter(p.suffix.lower() for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return ", ".join(
        f"{count} {suffix}" for suffix, count in counts.most_common() if suffix and suffix in (of or counts)
    )


def _images(folder: Path) -> tuple[Path, ...]:
    places = [folder, *(folder / name for name in IMAGE_FOLDERS)]
    found = {
        place: files for place in places if (files := [f for f in _with_suffix(place, IMAGES) if not _is_depth(f)])
    }
    if len(found) > 1:
        where = ", ".join("itself" if place == folder else place.name for place in found)
        raise NoScene(f"images in several places ({where})")
    return tuple(*found.values()) if found else ()


def _depth_maps(folder: Path) -> list[Path]:
    """Maps of the commonest ending alone: a folder may hold pictures of them as well."""
    files = _with_suffix(folder, DEPTHS)
    common = Counter(file.suffix.lower() for file in files).most_common(1)
    return [file for file in files if file.suffix.lower() == common[0][0]]


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
    by_place: bool = False  # numbers are places in the order: those of another folder need not be the same files


def numbered(files: Iterable[Path]) -> Numbered:
    """Order files by the numbers in their names, read as numbers, not as text.

    The one number in which names differ is the frame's (`frame_000123.png` -> 123). Where they differ in several
    (`2024-01-05_12-00-50.png`), all count, the first most; the last one is the frame's if it rises with that order,
    else frames are numbered from 0. Names that end in decimal seconds (`1305031102.175304.png`,
    `41048190_3415.050.png`) are ordered by time and numbered from 0, names without any number alphabetically from 0.
    Two files of one number, or numbered and unnumbered files together, are a `SceneError` naming them.
    """
    listed = sorted(files)
    seconds = [re.fullmatch(r"(?:.*[^\d.])?(\d+\.\d+)", file.stem) for file in listed]
    if listed and all(seconds):
        return _by_time(listed, [float(match[1]) for match in seconds if match])
    numbers_of = {file: tuple(map(int, re.findall(r"\d+", stem(file.name)))) for file in listed}
    without = [file for file, numbers in numbers_of.items() if not numbers]
    if without and len(without) < len(listed):
        raise SceneError(f"{without[0]}: no frame number in this name, while others have one")
    if without or not listed:
        return Numbered(tuple(listed), tuple(range(len(listed))), by_place=True)
    if len({len(numbers) for numbers in numbers_of.values()}) > 1:
        return _by_number({file: numbers[-1] for file, numbers in numbers_of.items()})
    differ = [at for at, column in enumerate(zip(*numbers_of.values(), strict=True)) if len(set(column)) > 1]
    if len(differ) <= 1:
        at = differ[0] if differ else -1
        return _by_number({file: numbers[at] for file, numbers in numbers_of.items()})
    order = sorted(listed, key=lambda file: numbers_of[file])
    for first, second in pairwise(order):
        if numbers_of[first] == numbers_of[second]:
            raise SceneError(f"{second}: frame number {numbers_of[second][-1]} again, as {first.name}")
    if all(numbers_of[first][-1] < numbers_of[second][-1] for first, second in pairwise(order)):
        return _by_number({file: numbers_of[file][-1] for file in order})
    return Numbered(tuple(order), tuple(range(len(order))), by_place=True)


def _by_time(files: list[Path], seconds: list[float]) -> Numbered:
    pairs = sorted(zip(seconds, files, strict=True))
    for (a, first), (b, second) in pairwise(pairs):
        if a == b:
            timestamp = re.findall(r"\d+\.\d+", second.stem)[-1]
            raise SceneError(f"{second}: timestamp {timestamp} again, as {first.name}")
    times = tuple(time for time, _ in pairs)
    return Numbered(tuple(file for _, file in pairs), tuple(range(len(pairs))), times, by_place=True)


def _by_number(numbers: dict[Path, int]) -> Numbered:
    pairs = sorted((number, file) for file, number in numbers.items())
    for (a, first), (b, second) in pairwise(pairs):
        if a == b:
            raise SceneError(f"{second}: frame number {b} again, as {first.name}")
    if pairs[-1][0] >= 1 << 63:
        raise SceneError(f"{pairs[-1][1]}: the number in this name is too large")
    return Numbered(tuple(file for _, file in pairs), tuple(number for number, _ in pairs))


def stem(name: str) -> str:
    """A file name without folders and endings: `./images/frame-000001.color.png` -> `frame-000001`."""
    base = re.split(r"[/\\]", name)[-1]
    if "." in base and not re.fullmatch(r"\d+\.\d+", base):
        base = base.rpartition(".")[0]
    return re.sub(r"\.(color|rgb|depth|pose)$", "", base)
