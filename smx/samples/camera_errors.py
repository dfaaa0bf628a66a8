"""Cameras that a network made, against those of the dataset, where sample sets hold both for the same frames."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx import sampleset
from smx.errors import SceneError
from smx.sampleset.places import dataset_folder

if TYPE_CHECKING:
    from smx.sampleset import Sample

TRUE = "dataset"  # the geometry source whose cameras the others are held against
NUMBERS = ("scale", "rotation", "translation", "relative", "focal")

Scenes = dict[tuple[str, str], dict[str, list["Sample"]]]  # (dataset, scene) -> source -> its samples


def camera_stats(root: Path, datasets: Collection[str] = ()) -> dict[str, Any]:
    """`rows`: per geometry source and dataset, medians over scenes of scale, rotation (degrees), translation, focal.

    Frames are those that a scene's samples of both sources share, whatever sampler and count chose them.
    `scenes`: the same of each scene. `translation` is in the dataset's unit, `relative` its share of the extent of
    the camera's path, `focal` a share. `damaged`: samples that were left out, and why.
    """
    known, damaged = _by_scene(root, datasets)
    scenes = [row for place, sources in sorted(known.items()) for row in _compared(place, sources)]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in scenes:
        groups[row["source"], row["dataset"]].append(row)
    return {"rows": [_median(key, rows) for key, rows in sorted(groups.items())], "scenes": scenes, "damaged": damaged}


def _by_scene(root: Path, datasets: Collection[str]) -> tuple[Scenes, list[str]]:
    found: Scenes = defaultdict(lambda: defaultdict(list))
    damaged = []
    for folder in sampleset.samples(root):
        try:
            sample = sampleset.read(folder)
            if sample.w2c is None or sample.K is None:
                continue
        except SceneError as error:
            damaged.append(str(error))
            continue
        dataset = dataset_folder(folder)
        if not datasets or {dataset, sample.record.get("dataset")} & set(datasets):
            found[dataset, sample.scene][_source(sample)].append(sample)
    return found, damaged


def _source(sample: Sample) -> str:
    """What made the cameras: `dataset`, `vggt` or `file`."""
    return str((sample.record.get("geometry") or {}).get("source", TRUE))


def _compared(place: tuple[str, str], sources: Mapping[str, list[Sample]]) -> list[dict[str, Any]]:
    import numpy as np

    from smx.geometry.align import agreement

    if TRUE not in sources:
        return []
    true = _cameras(sources[TRUE])
    rows = []
    for name, samples in sorted(sources.items()):
        made = _cameras(samples)
        shared = sorted(made.keys() & true.keys())
        if name == TRUE or not shared:
            continue
        stacked = (np.stack([table[i][k] for i in shared]) for table in (made, true) for k in (0, 1))
        found = agreement(*stacked)
        if found is not None:
            rows.append(
                {
                    "source": name,
                    "dataset": place[0],
                    "scene": place[1],
                    "frames": found.frames,
                    "scale": found.scale,
                    "rotation": math.degrees(found.rotation),
                    "translation": found.translation,
                    "relative": found.translation / found.extent,
                    "focal": found.focal,
                }
            )
    return rows


def _cameras(samples: list[Sample]) -> dict[int, tuple[Any, Any]]:
    """Frame id -> (w2c, K), from the first sample that has it."""
    found: dict[int, tuple[Any, Any]] = {}
    for sample in samples:
        assert sample.w2c is not None
        assert sample.K is not None
        for row, frame_id in enumerate(sample.ids):
            found.setdefault(frame_id, (sample.w2c[row], sample.K[row]))
    return found


def _median(key: tuple[str, str], rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    import numpy as np

    numbers = {name: float(np.median([row[name] for row in rows])) for name in NUMBERS}
    frames = sum(row["frames"] for row in rows)
    return {"source": key[0], "dataset": key[1], "scenes": len(rows), "frames": frames, **numbers}
