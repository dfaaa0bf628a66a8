"""Captures of phones, and recordings as they were published: where frames, depth and cameras are in their folders.

A capture is known by files that no other folder has. What is common to all (how cameras find their frames, sizes,
turned pictures) is read by `smx.datasets._poses`; here is only where things are, and what units depth has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RECORDINGS = {".r3d"}  # whole captures in one file

Camera = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels


@dataclass(frozen=True)
class Capture:
    """Globs below the scene's folder; of several, the first that matches anything counts."""

    name: str
    marks: tuple[str, ...]  # each has to match
    frames: tuple[str, ...]
    depth: tuple[str, ...] = ()
    depth_scale: float = 1000.0  # units of a metre in maps of whole numbers
    cameras: str = ""  # files of this format; "": one of the usual ones (`smx.datasets._poses`)
    intrinsics: Camera | None = None  # as published, where no file says

    def camera_files(self, base: Path, frames: Path) -> list[Path]:
        """The files its cameras are read from, the one they are named after first; [] where it has none here.

        `frames`: the folder of the pictures.
        """
        if self.name == "kitti":
            poses = next((p for p in (base / "poses.txt", _kitti_poses(base)) if p.is_file()), None)
            return [] if poses is None else [poses, base / "calib.txt"]
        if self.name == "polycam":
            corrected = "corrected_" if frames.name.startswith("corrected_") else ""
            return sorted((frames.parent / f"{corrected}cameras").glob("*.json"))
        if self.name == "euroc":
            truth = base / "mav0" / "state_groundtruth_estimate0" / "data.csv"
            return [truth, base / "mav0" / "cam0" / "sensor.yaml"] if truth.is_file() else []
        return sorted(base.glob(self.cameras)) if self.cameras else []


CAPTURES = (
    Capture("stray", ("odometry.csv", "rgb.mp4"), ("rgb.mp4",), ("depth/*.png", "depth/*.npy"), cameras="odometry.csv"),
    *(
        Capture(
            "polycam",
            (f"{below}cameras/*.json", f"{below}images/*.jpg"),
            (f"{below}corrected_images/*.jpg", f"{below}images/*.jpg"),
            (f"{below}depth/*.png",),
        )
        for below in ("keyframes/", "")
    ),
    Capture("euroc", ("mav0/cam0/sensor.yaml", "mav0/cam0/data"), ("mav0/cam0/data/*.png",)),
    Capture("kitti", ("calib.txt", "image_[0-3]/*"), tuple(f"image_{i}/*.png" for i in (2, 0, 3, 1))),
    Capture("replica", ("traj.txt", "results/frame*"), ("results/frame*",), ("results/depth*",), depth_scale=6553.5),
    Capture(
        "tum",
        ("rgb.txt", "rgb", "../rgbd_dataset_freiburg*"),
        ("rgb/*.png",),
        ("depth/*.png",),
        depth_scale=5000,
        intrinsics=(525, 525, 319.5, 239.5),  # what its makers recommend where depth is as they registered it
    ),
    Capture(
        "7scenes",
        ("frame-*.color.png", "frame-*.pose.txt"),
        ("frame-*.color.png",),
        ("frame-*.depth.png",),
        intrinsics=(585, 585, 320, 240),
    ),
)


def recognised(folder: Path) -> Capture | None:
    """The capture whose marks are all in `folder`."""
    for capture in CAPTURES:
        if all(_there(folder, mark) for mark in capture.marks):
            return capture
    return None


def matching(folder: Path, globs: tuple[str, ...]) -> list[Path]:
    """Files of the first of `globs` that has any, in the order of their names."""
    for pattern in globs:
        if found := sorted(p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith(".")):
            return found
    return []


def times_of(capture: Capture, base: Path, files: list[Path]) -> list[float] | None:
    """Seconds at which the files were taken, where their names (EuRoC, nanoseconds) or `times.txt` (KITTI) tell."""
    if capture.name == "euroc" and all(file.stem.isdigit() for file in files):
        return [int(file.stem) / 1e9 for file in files]
    if capture.name == "kitti" and (base / "times.txt").is_file():
        try:
            times = [float(word) for word in (base / "times.txt").read_text().split()]
        except ValueError:
            return None
        return times if len(times) == len(files) and times == sorted(set(times)) else None
    return None


def record3d_frames(place: Path) -> Path | None:
    """`rgbd/` or `rgb/` of an unpacked recording of Record3D, beside its metadata; None where it is none."""
    for folder in (place, place / "EXR_RGBD"):
        if any((folder / name).is_file() for name in ("metadata", "metadata.json")):
            for name in ("rgbd", "rgb"):
                if any((folder / name).glob("[0-9]*.jpg")):
                    return folder / name
    return None


def is_record3d(place: Path) -> bool:
    """Whether a file or folder is a recording of Record3D (`smx.datasets._record3d`)."""
    return place.suffix.lower() in RECORDINGS if place.is_file() else record3d_frames(place) is not None


def _kitti_poses(base: Path) -> Path:
    """`poses/00.txt` beside `sequences/00/`."""
    return base / ".." / ".." / "poses" / f"{base.resolve().name}.txt"


def _there(folder: Path, mark: str) -> bool:
    if mark.startswith("../"):
        return folder.resolve().match(mark.removeprefix("../"))
    return any(True for _ in folder.glob(mark))
