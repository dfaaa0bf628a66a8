"""One scene of a gen run: choose its frames, measure them, write the sample."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smx import sampleset
from smx.atomic_io import write_atomic
from smx.datasets import Scene
from smx.datasets._prefetch import DecodedOnce
from smx.digests import inputs_digest
from smx.errors import SceneError
from smx.geometry.source import CamerasLike, GeometrySource, NoGeometry, SourceOf
from smx.geometry.view import GeometryOptions, SceneView, candidates_of
from smx.node.geometry import from_dataset
from smx.samplers import BaseSampler, Choice
from smx.samplers._common import choose


def make_sample(
    scene: Scene,
    *,
    sampler_name: str,
    sampler: BaseSampler,
    n: int,
    seed: int,
    geometry: GeometryOptions,
    folder: Path,
    extra: dict[str, Any],
    image: Literal["png", "jpg"] = "png",
    cache: Path | None = None,
    source_of: SourceOf = from_dataset,
    inputs: Mapping[str, str] | None = None,
    code: str = "",
) -> dict[str, Any]:
    """Write the sample of `scene` to `folder` and return its summary; the same one that is there is adopted.

    A sample of other data that is there is set aside, and comes back when it is asked for: `sampleset.make_room`.
    `inputs`: file -> digest of what the scene is read from (`BaseDataset.inputs`); recorded in its source.

    `code`: identity of a sampler that is not smx's own; a sample that is there has it by its `sample_set`.

    `extra` is recorded as it is (dataset, fingerprint …) and must not change from one machine to another.
    `source_of` makes the scene's geometry from it and the raw ids of its candidates.
    `cache`: file of this scene's voxels, shared by all samplers and frame counts; made if it is not there.
    Summary: `frames`, `fill` (how many), `overlap` (mean over pairs of two frames) and `coverage`, None where unknown;
    `doubt` where depth and cameras disagree; `ends_early` where a video has other than the frames its header claims:
    [there, claimed]; `warnings`: lines on what of the scene was not used or is doubtful, where there are any.
    Raises `SceneError` when the scene cannot be sampled, `UserError` for an odd n.
    """
    sampler.check_frames(n)
    source = {
        **scene.source(),
        "frames": len(scene.frame_ids),
        "fps": scene.fps,
        "width": scene.width,
        "height": scene.height,
        **({"inputs": dict(inputs)} if inputs else {}),
        **({"geometry": geometry.content} if geometry.content else {}),  # camera files or weights
    }
    there = sampleset.make_room(folder, json.loads(json.dumps({"source": source, **extra})))
    if there is not None:
        return summary(there)
    once = DecodedOnce(scene)
    needs = sampler.requires()
    warnings = list(scene.remarks())
    view = SceneView(once, geometry, _geometry(once, geometry, source_of, needs, warnings))
    if cache is not None and (known := _read_cache(cache)) is not None:
        view.adopt(known)
    if needs and len(scene.frame_ids):
        with suppress(SceneError):  # of depth; a sampler that needs it meets it again
            view.agreement()
    choice = choose(sampler, view, n, seed)
    measured = _measured(view, choice, geometry)
    cameras = _cameras(view, choice.ids, needs, warnings)
    warnings += _doubts(view, measured, known_cameras=cameras is not None)
    record = {
        "sampler": sampler_name,
        "sampler_version": sampler.version,
        **({"code": code} if code else {}),
        "options": sampler.model_dump(mode="json"),
        "seed": seed,
        "scene": scene.id,
        **extra,
        "source": source,
        "candidates": view.candidates.tolist(),
        "ids": choice.ids,
        "timestamps": _timestamps(scene, choice.ids),
        "fill": choice.fill,
        **measured,
        "notes": choice.notes,
        **({"warnings": warnings} if warnings else {}),
    }
    frames = once.take(choice.ids)
    seen = None if record["coverage"] is None else view.seen(choice.ids)
    if cameras is None:
        sampleset.write(folder, record, frames, None, None, False, image)
    else:
        sampleset.write(folder, record, frames, cameras.w2c, cameras.K, cameras.metric, image, cameras.pose_enc, seen)
    if cache is not None and (found := view.known()) is not None:
        _write_cache(cache, found)
    return summary(record)


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of a sample that a run records for each scene. A frame paired with itself says nothing."""
    source = record["source"]
    pairs = [pair for pair in record["pairs"] if pair["ids"][0] != pair["ids"][1]]
    overlaps = [pair["overlap"] for pair in pairs if pair["overlap"] is not None]
    return {
        "frames": len(record["ids"]),
        "fill": sum(record["fill"]),
        "overlap": round(float(np.mean(overlaps)), 6) if overlaps else None,
        "coverage": record["coverage"],
        **({"ends_early": [source["frames"], source["frames_declared"]]} if "frames_declared" in source else {}),
        **({"inputs": inputs_digest(source["inputs"])} if "inputs" in source else {}),
        **({"doubt": doubt} if (doubt := record["geometry"].get("doubt")) else {}),
        **({"warnings": record["warnings"]} if record.get("warnings") else {}),
    }


def _geometry(
    scene: Scene, options: GeometryOptions, source_of: SourceOf, needs: frozenset[str], warnings: list[str]
) -> GeometrySource:
    """The scene's geometry; none, which is said, where its files cannot be read and the sampler needs none."""
    try:
        return source_of(scene, candidates_of(scene.frame_ids, options.candidates))
    except SceneError as error:
        if needs:
            raise
        warnings.append(f"cameras are not used: {portable(error)}")
        return NoGeometry()


def _cameras(view: SceneView, ids: list[int], needs: frozenset[str], warnings: list[str]) -> CamerasLike | None:
    """Cameras of the chosen frames; none, which is said, where they cannot be read and the sampler needs none."""
    try:
        return view.cameras(ids)
    except SceneError as error:
        if needs:
            raise
        warnings.append(f"cameras are not used: {portable(error)}")
        return None


def portable(error: SceneError) -> str:
    """What an error says, without the folders that differ from machine to machine."""
    return re.sub(r"(?<![\w.])/(?:[^\s:/]+/)+", "", str(error))


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # not there, or damaged: it only saves work


def _write_cache(path: Path, found: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **found)  # type: ignore[arg-type]  # numpy types **kwds as bool
    write_atomic(path, buffer.getvalue())


def _timestamps(scene: Scene, ids: list[int]) -> list[float] | None:
    """Seconds of each frame; None where they are unknown."""
    times = scene.timestamps()[np.searchsorted(scene.frame_ids, ids)]
    return times.tolist() if np.isfinite(times).all() else None


def _measured(view: SceneView, choice: Choice, geometry: GeometryOptions) -> dict[str, Any]:
    """Overlap and IoU of each pair, coverage of the candidates' voxels, and the grid they were counted on.

    All null where the scene has no cameras or depth, or is flat: a sampler that needs none still works.
    """
    ids = np.asarray(choice.ids).reshape(-1, 2)
    try:
        grid = view.grid()
    except SceneError as error:
        unknown = [{"ids": pair, "overlap": None, "iou": None} for pair in ids.tolist()]
        return {
            "pairs": unknown,
            "coverage": None,
            "geometry": {**geometry.model_dump(mode="json"), "none": portable(error)},
        }
    candidates = view.candidates.tolist()
    sets = view.voxels(candidates + choice.ids)
    first = np.arange(len(candidates), len(sets), 2)
    overlap, iou = sets.overlap(first, first + 1), sets.iou(first, first + 1)
    blind = np.minimum(sets.counts[first], sets.counts[first + 1]) == 0
    pairs = [
        {"ids": pair, "overlap": None if lost else round(float(o), 6), "iou": None if lost else round(float(u), 6)}
        for pair, o, u, lost in zip(ids.tolist(), overlap, iou, blind, strict=True)
    ]
    chosen = np.arange(len(candidates), len(sets))
    return {
        "pairs": pairs,
        "coverage": round(sets.coverage(chosen, of=np.arange(len(candidates))), 6),
        "geometry": {
            **geometry.model_dump(mode="json"),
            "voxel_edge": float(grid.edge),
            "box": [grid.low.tolist(), grid.high.tolist()],
            "image_size": list(view.map_size or ()),
            "metric": view.metric(),
            **_agreement(view),
            **view.source.record(),
        },
    }


def _agreement(view: SceneView) -> dict[str, Any]:
    """How well depth and cameras agree, where both are there; and the doubt that this raises."""
    found = view.agreement()
    if found is None:
        return {}
    return {"agreement": found.record(), **({"doubt": found.doubt} if found.doubt else {})}


def _doubts(view: SceneView, measured: dict[str, Any], *, known_cameras: bool) -> list[str]:
    """What speaks against the scene's cameras and depth, or keeps them from being used."""
    if "none" not in measured["geometry"]:
        found = view.agreement()
        return [] if found is None else found.warnings()
    return [f"coverage is unknown: {measured['geometry']['none']}"] if known_cameras and view.has_depth() else []
