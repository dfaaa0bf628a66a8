"""Frames that another tool chose and saved: read into the workspace, to look at and to hold against smx's own.

The layout is that of Spatial-MLLM's samplers, `sa_sampling_16f/<dataset>/<scene>/*.png`, pictures and nothing else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from smx import external_frames, plugins, sampleset
from smx.atomic_io import write_atomic
from smx.datasets._files import IMAGES, Numbered, numbered
from smx.datasets._frame_reader import ImageMedia
from smx.digests import files_digest
from smx.errors import SceneError, UserError

LAYOUT = "a folder NAME_16f/<dataset>/<scene>/*.png is looked for, with the frame number in each picture's name"


def bring_in(
    source: Path, samples: Path, name: str | None, dataset: str | None, fps: float | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Copy every scene below `source` into sample sets, one for each frame count; what is there already is kept.

    `name`: what the sampler is called, else taken from the folder's name; a sampler of smx's own is refused.
    `dataset`: the one that scenes are of; else the first folder below `source` names it. Frame ids are the numbers
    in the names, times are ids / `fps`, and unknown without it: names may hold positions as well as frame numbers.
    A second import may add times. Overlap, coverage and cameras are unknown. Returns `sets` (folders), `scenes` done
    and `failed` {scene: why}. Raises `UserError` where there is nothing to read.
    """
    called = default_name(source) if name is None else name
    if "," in called:
        raise UserError(f"{called!r} holds a comma, which separates names in --sampler", "--as ANOTHER")
    if called in (*plugins.names("samplers"), "none"):
        raise UserError(
            f"{called!r} is a sampler of smx: frames of another tool must not be taken for its own",
            f"--as {called}-published",
        )
    if fps is not None and not math.isfinite(fps):
        raise UserError(f"--fps {fps:g} is no rate: every frame would be of the same moment", "for example: --fps 30")
    scenes = dict(_scenes(source))
    if not scenes:
        alone = "; those in the folder itself have no scene" if _pictures(source) else ""
        raise UserError(f"no folder with pictures under {source}{alone}", LAYOUT)
    done, failed, sets = 0, {}, set[Path]()
    for (first, rest), folder in sorted(scenes.items()):
        label, scene = (dataset, f"{first}/{rest}".strip("/")) if dataset else (first, rest)
        if not scene:
            label, scene = "frames", first
        try:
            sets.add(_copied(folder, samples, called, label, scene, fps))
            done += 1
        except SceneError as error:
            failed[f"{label}/{scene}"] = str(error)
            say(str(error))
    return {"sets": sorted(str(place) for place in sets), "scenes": done, "failed": failed}


def default_name(source: Path) -> str:
    """`sa_sampling_16f` -> `sa_sampling`."""
    return re.sub(r"_\d+f(?=_|$)", "", source.resolve().name)


def _copied(folder: Path, samples: Path, name: str, dataset: str, scene: str, fps: float | None) -> Path:
    """Write one scene's sample; the set it is in. `SceneError` where its pictures are no sample."""
    order = numbered(_pictures(folder))
    n = len(order.files)
    if n % 2:
        raise SceneError(f"{folder}: {n} pictures cannot be paired")
    identity = external_frames.identity(name, n)
    target = sampleset.folder(samples, name, n, identity[:8], dataset, scene)
    media = ImageMedia(order, None)
    record = _record(order, media, folder, name, dataset, scene, fps, identity)
    if sampleset.is_complete(target):
        _adopt(target, record)
    else:
        sampleset.write(target, record, media.decode(order.numbers), None, None, False)
    place = sampleset.set_folder(samples, name, n, identity[:8])
    sampleset.record_done(place, dataset, scene, {"frames": n, "fill": 0, "overlap": None, "coverage": None})
    return place


def _adopt(target: Path, record: dict[str, Any]) -> None:
    """Keep the sample that is there; its times are added where they were unknown. `SceneError` where it is another."""
    there = sampleset.read(target).record
    if there["source"] != record["source"]:
        raise SceneError(f"{target} holds other pictures; move it away and these take its place")
    if record["timestamps"] in (None, there["timestamps"]):
        return
    if there["timestamps"] is not None:
        raise SceneError(f"{target} has other times; move it away, or name this set another way: --as NAME")
    known = {**there, "timestamps": record["timestamps"], "notes": record["notes"]}
    write_atomic(target / sampleset.RECORD, (json.dumps(known, indent=1, ensure_ascii=False) + "\n").encode())


def _record(
    order: Numbered,
    media: ImageMedia,
    folder: Path,
    name: str,
    dataset: str,
    scene: str,
    fps: float | None,
    identity: str,
) -> dict[str, Any]:
    times = "times are unknown" if fps is None else f"times are ids / {fps:g}"
    ids = list(order.numbers)
    return {
        "sampler": name,
        "sampler_version": 0,
        "options": {},
        "seed": 0,
        "scene": scene,
        "sample_set": identity,
        "dataset": dataset,
        "source": {
            "kind": external_frames.KIND,
            "file": folder.name,
            "sha256": files_digest(order.files, folder),
            "width": media.width,
            "height": media.height,
        },
        "candidates": [],
        "ids": ids,
        "timestamps": None if fps is None else [i / fps for i in ids],
        "fill": [False] * len(ids),
        "pairs": [{"ids": ids[k : k + 2], "overlap": None, "iou": None} for k in range(0, len(ids), 2)],
        "coverage": None,
        "geometry": {"none": "chosen by another tool"},
        "notes": [f"read from pictures that another tool saved; ids are the numbers in their names, {times}"],
    }


def _scenes(source: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """((first folder, rest of the path), folder) of every folder with pictures below `source`."""
    if not source.is_dir():
        raise UserError(f"{source} is not a folder", LAYOUT)
    for folder in sorted(path for path in source.rglob("*") if path.is_dir()):
        first, *rest = folder.relative_to(source).parts
        if not any(part.startswith(".") for part in (first, *rest)) and _pictures(folder):
            yield (first, "/".join(rest)), folder


def _pictures(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix.lower() in IMAGES and not p.name.startswith(".") and p.is_file()]
