"""Write built-in scenes to disk, in the layouts real data comes in, so that every loader can be exercised.

`write_frames`: the layout that the dataset `frames` reads. `write_vsibench`: a miniature VSI-Bench.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smx import video
from smx.rooms import RoomScene, questions, render

SOURCES = ("scannet", "scannetpp", "arkitscenes")  # the datasets VSI-Bench takes its videos from


def write_frames(scene: RoomScene, folder: Path, *, depth: bool = True) -> Path:
    """Write `video.mp4`, `cameras.json` and `depth/0000.png` … (uint16 millimetres) into `folder`; returns it.

    `cameras.json` holds w2c (OpenCV axes, metres), K in pixels of the video, and the objects of the scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maps: list[np.ndarray] = []

    def frames() -> Any:
        for frame in render(scene, range(len(scene.w2c))):
            maps.append(np.round(frame.depth * 1000).astype(np.uint16))
            yield frame.rgb

    video.write(folder / "video.mp4", frames(), scene.fps)
    if depth:
        _write_depth(maps, folder / "depth")
    (folder / "cameras.json").write_text(json.dumps(_cameras(scene)), encoding="utf-8")
    return folder


def write_vsibench(
    folder: Path, scenes: Sequence[RoomScene], *, table: Literal["parquet", "jsonl"] = "parquet"
) -> Path:
    """Write `test.parquet` (or `test.jsonl`) and `<dataset>/<scene_name>.mp4`; returns the table's path.

    Scenes go round the three datasets of VSI-Bench in turn, and ids count up from 0 as they do there.
    """
    rows: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        source = SOURCES[index % len(SOURCES)]
        (folder / source).mkdir(parents=True, exist_ok=True)
        frames = (frame.rgb for frame in render(scene, range(len(scene.w2c))))
        video.write(folder / source / f"{scene.name}.mp4", frames, scene.fps)
        for row in questions(scene):
            rows.append({**dataclasses.asdict(row), "id": len(rows), "dataset": source})
    path = folder / f"test.{table}"
    if table == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        _write_parquet(rows, path)
    return path


def _write_depth(maps: Sequence[np.ndarray], folder: Path) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for number, values in enumerate(maps):
        Image.fromarray(values).save(folder / f"{number:04d}.png")


def _cameras(scene: RoomScene) -> dict[str, Any]:
    return {
        "generator": f"smx rooms {scene.name}",
        "width": scene.width,
        "height": scene.height,
        "K": scene.K.tolist(),
        "depth_unit": "mm (uint16 PNG, 0=invalid)",
        "convention": "OpenCV x-right y-down z-forward; world z-up metres; w2c 4x4",
        "rooms": [dataclasses.asdict(room) for room in scene.rooms],
        "objects": [dataclasses.asdict(piece) for piece in scene.pieces],
        "w2c": scene.w2c.tolist(),
    }


def _write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    text = ("dataset", "scene_name", "question_type", "question", "ground_truth")
    fields = {"id": pa.int64(), **dict.fromkeys(text, pa.string()), "options": pa.list_(pa.string())}
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(list(fields.items()))), path)
