"""Miniatures of benches about one video: rows in the columns of their releases, a clip for each video they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from support.media import make_video


def _table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)


def _clips(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        make_video(root / name, n=16)


def vstibench(root: Path) -> None:
    """Journey9ni/vstibench: `mc_answer` is the letter, `ground_truth` its text or a number."""
    rows = []
    for i, scene in enumerate(("scene0011_00", "scene0015_00")):
        own = {"dataset": "scannet", "scene_name": scene, "video_path": f"scannet/videos/{scene}.mp4"}
        choice = {"question_type": "camera_movement_direction", "options": ["A. Forward", "B. Left"]}
        rows.append({"id": 2 * i, **own, **choice, "question": "Where?", "ground_truth": "Left", "mc_answer": "B"})
        number = {"question_type": "camera_displacement", "options": None, "mc_answer": None}
        rows.append({"id": 2 * i + 1, **own, **number, "question": "How far?", "ground_truth": "1.5"})
    _table(rows, root / "test-00000-of-00001.parquet")
    _clips(root, [f"scannet/videos/{scene}.mp4" for scene in ("scene0011_00", "scene0015_00")])


def stibench(root: Path) -> None:
    """MINT-SJTU/STI-Bench: `Candidates` is a struct of letters, some of which a question may not use."""
    rows = [
        {
            "Video": f"{name}.mp4",
            "Source": "ScanNet",
            "Task": task,
            "Question": "How high is the desk?",
            "time_start": 0.0,
            "time_end": 12.5,
            "Candidates": {"A": "0.5 m", "B": "0.7 m", "C": "1 m", "D": "2 m", "E": last},
            "Answer": "B",
            "ID": i,
        }
        for i, (name, task, last) in enumerate(
            [("desk", "Dimensional Measurement", "3 m"), ("road", "Spatial Relation", None)]
        )
    ]
    _table(rows, root / "qa.parquet")
    _clips(root, ["video/desk.mp4", "video/road.mp4"])


def revsi(root: Path) -> None:
    """3dlg-hcvc/ReVSI: a set of questions and clips for each number of frames."""
    choice: dict[str, Any] = {
        "question_type": "object_rel_distance_farthest",
        "options": ["A. chair", "B. sofa"],
        "ground_truth": "A",
    }
    number: dict[str, Any] = {"question_type": "object_counting_multiple", "options": None, "ground_truth": "4"}
    rows = [
        {"id": 10 * i + j, "dataset": "scannetpp", "scene_id": scene, "num_frames": "all", "question": "?", **own}
        for i, scene in enumerate(("0a7cc12c0e", "1b75758486"))
        for j, own in enumerate((choice, number))
    ]
    _table(rows, root / "all_frame" / "test-00000-of-00001.parquet")
    _clips(root, [f"all_frame/{scene}.mp4" for scene in ("0a7cc12c0e", "1b75758486")])


def vsi_super_recall(root: Path) -> None:
    """nyu-visionx/VSI-SUPER-Recall."""
    rows = [
        {
            "id": i,
            "video_path": f"{length}/video_001.mp4",
            "type": length,
            "question": "In which order was the bear seen?",
            "options": ["A. Desk, Bed", "B. Bed, Desk"],
            "answer": "B",
        }
        for i, length in enumerate(("10mins", "30mins"))
    ]
    _table(rows, root / "test-00000-of-00001.parquet")
    _clips(root, ["10mins/video_001.mp4", "30mins/video_001.mp4"])


def vsi_super_count(root: Path) -> None:
    """nyu-visionx/VSI-SUPER-Count, with a row of the streaming setting."""
    rows = [
        {"id": i, "video_path": f"{at}/001.mp4", "split": split, "question": "How many chairs?", "answer": "12"}
        for i, (at, split) in enumerate([("10mins", "10mins"), ("30mins", "30mins"), ("10mins", "10mins_streaming")])
    ]
    _table(rows, root / "test-00000-of-00001.parquet")
    _clips(root, ["10mins/001.mp4", "30mins/001.mp4"])


WRITERS: dict[str, Callable[[Path], None]] = {
    "vstibench": vstibench,
    "stibench": stibench,
    "revsi": revsi,
    "vsi_super_recall": vsi_super_recall,
    "vsi_super_count": vsi_super_count,
}
