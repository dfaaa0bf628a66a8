"""Frames that another tool chose, as `smx samples import` keeps them: sample sets that no sampler of smx made.

They lie where gen puts its own, `samples/<name>/<n>f-<identity8>/<dataset>/<scene>/`. What is in them is no part of
a set's name, since scenes are added to it; a run that looks at some of them has their digest among its inputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from smx import sampleset
from smx.errors import SceneError, UserError

KIND = "presampled"  # the `source.kind` of such a sample


def identity(name: str, n: int) -> str:
    """Identity of the set of `n` frames a scene that is called `name`: 64 hex digits."""
    return hashlib.sha256(f"{KIND}\0{name}\0{n}".encode()).hexdigest()


def names(samples: Path) -> list[str]:
    """What the sets under `samples` are called, sorted."""
    there = sorted(place.name for place in samples.iterdir()) if samples.is_dir() else []
    return [name for name in there if counts(samples, name)]


def counts(samples: Path, name: str) -> list[int]:
    """Frame counts with which `name` was imported, rising; none where nothing is called so."""
    if not name or "/" in name or name.startswith("."):
        return []
    found = [place.name.partition("f-") for place in (samples / name).glob("*f-*") if place.is_dir()]
    return sorted(int(n) for n, _, set_digest in found if n.isdigit() and set_digest == identity(name, int(n))[:8])


def folder(samples: Path, name: str, n: int, dataset: str, scene: str) -> Path:
    """Where a scene's sample is, or would be.

    A dataset that joins others calls its scenes <dataset>/<scene>, which is how the published sets of VSI-Bench lie:
    such a scene is also found under the dataset it was taken from.
    """
    set_digest = identity(name, n)[:8]
    place = sampleset.folder(samples, name, n, set_digest, dataset, scene)
    first, slash, rest = scene.partition("/")
    if slash and not place.is_dir():
        own = sampleset.folder(samples, name, n, set_digest, first, rest)
        return own if own.is_dir() else place
    return place


def records(
    samples: Path, name: str, n: int, dataset: str, scenes: Collection[str]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(scene -> `sha256` of its pictures and `timestamps`, for those that are there; the others), both sorted.

    `UserError` where `name` has other frame counts, or none of the scenes.
    """
    there = counts(samples, name)
    if n not in there:
        nearest = min(there, key=lambda count: abs(count - n))
        raise UserError(
            f"{name!r} was imported with {' and '.join(map(str, there))} frames a scene, not {n}", f"--frames {nearest}"
        )
    found = {}
    for scene in sorted(scenes):
        try:
            record = sampleset.read_record(folder(samples, name, n, dataset, scene))
            found[scene] = {"sha256": record["source"]["sha256"], "timestamps": record["timestamps"]}
        except (SceneError, KeyError, TypeError):
            continue  # missing or damaged, which its questions are told
    if not found:
        place = sampleset.set_folder(samples, name, n, identity(name, n)[:8])
        others = [path.relative_to(place).as_posix() for path in sampleset.samples(place)]
        raise UserError(
            f"none of the {len(scenes)} scenes of dataset {dataset!r} (e.g. {min(scenes)}) is among the "
            f"{len(others)} scenes imported as {name!r} with {n} frames (e.g. {others[0] if others else 'none'})",
            f"smx samples import DIR --as {name} --dataset {dataset}, where they are of that dataset",
        )
    return found, sorted(set(scenes) - found.keys())


def digest(found: Mapping[str, Mapping[str, Any]], *, times: bool) -> str:
    """Identity of `found` (what `records` returned), with their `times` where those are read: 64 hex digits."""
    content = {scene: {**known, "timestamps": known["timestamps"] if times else None} for scene, known in found.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
