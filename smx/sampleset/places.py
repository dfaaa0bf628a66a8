"""Which folder of a sample set holds the samples of one root: scenes of two roots may have the same names.

    samples/.roots/<folder>             the root whose scenes are there: {"root": path, "id": 16 hex digits}
    samples/<sampler>/<n>f-<fp8>/frames/           scenes of the root that was there first
    samples/<sampler>/<n>f-<fp8>/frames-<id8>/     scenes of another one

Whoever reads finds a sample by the files it was made from, wherever it lies: a root may have been moved, and older
samples lie where their dataset alone says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smx.atomic_io import claim, read_whole
from smx.digests import inputs_digest
from smx.errors import SceneError
from smx.sampleset import read_record

ROOTS = ".roots"  # in the folder of all sample sets


def of_data(place: Path, dataset: str, scene: str, data: str) -> Path | None:
    """Where the sample is that was made from files of this digest, if it is anywhere.

    `place`: of the sample set. `dataset`: what samples of it record, `spec.dataset_label`. `data`: as in `Item`.
    """
    for name in (dataset, *sorted(other.name for other in place.glob(f"{dataset}-*"))):
        record = _record(folder := place / name / scene)
        if record is not None and _is(record, dataset, data):
            return folder
    return None


def claimed(samples: Path, dataset: str, root: Path, data: Mapping[str, str]) -> str:
    """Name of the folder for scenes under `root`: `dataset`, if no other root has it, else with eight digits more.

    `data`: scene -> digest of its files. Where older samples lie that no root has claimed, a root whose scenes they
    are not leaves them alone. The same root has the same folder in all sample sets of `samples`.
    """
    identity = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    own = f"{dataset}-{identity[:8]}"
    for name in (dataset, own):
        if name == dataset and _claimant(samples, name) is None and _holds_others(samples, name, data):
            continue
        if _claim(samples, name, root, identity):
            return name
    return own


def roots(samples: Path) -> dict[str, str]:
    """Folder of a dataset in the sample sets -> the root whose scenes are there, for those that are known."""
    claims = {path.name: read_whole(path) for path in sorted((samples / ROOTS).glob("[!.]*"))}
    return {name: str(record["root"]) for name, record in claims.items() if record and "root" in record}


def dataset_folder(sample: Path) -> str:
    """Name of the folder that a sample lies in: of its dataset and root."""
    below_set = (place for place in sample.parents if re.fullmatch(r"\d+f-[0-9a-f]+", place.parent.name))
    return next(below_set, sample.parent).name


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return read_record(folder)
    except SceneError:
        return None


def _is(record: Mapping[str, Any], dataset: str, data: str) -> bool:
    inputs = (record.get("source") or {}).get("inputs") or {}
    return record.get("dataset", dataset) == dataset and inputs_digest(inputs) == data


def _holds_others(samples: Path, dataset: str, data: Mapping[str, str]) -> bool:
    """Whether a scene of one of these names lies there that was made from other files."""
    return any(
        (record := _record(place / scene)) is not None and not _is(record, dataset, digest)
        for place in _folders(samples, dataset)
        for scene, digest in data.items()
    )


def _folders(samples: Path, dataset: str) -> Iterable[Path]:
    return (place for place in samples.glob(f"*/*f-*/{dataset}") if place.is_dir())


def _claim(samples: Path, name: str, root: Path, identity: str) -> bool:
    """Whether the scenes of this root are in the folder of this name, or may be from now on."""
    place = samples / ROOTS / name
    return claim(place, {"root": str(root), "id": identity}) or _claimant(samples, name) == identity


def _claimant(samples: Path, name: str) -> str | None:
    record = read_whole(samples / ROOTS / name)
    return None if record is None else str(record.get("id"))
