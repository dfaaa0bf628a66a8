"""Statistics of sample sets: do merged frames see the same thing, how much of the scene is covered, and the
trend with the frame count. Reads `sample.json` files and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smx import plugins, sampleset
from smx.errors import SceneError, UserError, unknown
from smx.sampleset.places import dataset_folder, roots

_GEOMETRY = ("source", "candidates", "voxel_size", "causal", "content")  # what sets samples of one sampler apart
_FOLDER = "folder"  # key added to a record: the folder it lies in, see `Group.dataset`
USUAL_MIN_OVERLAP = 0.5  # threshold for samplers that have none of their own


class Group(NamedTuple):
    """What a row is about. `settings` is canonical JSON of options, geometry and code; seeds are pooled.

    `dataset`: the folder that samples of one dataset and root lie in.
    """

    sampler: str
    settings: str
    dataset: str
    frames: int


def stats(
    root: Path,
    samplers: Collection[str] = (),
    frames: Collection[int] = (),
    datasets: Collection[str] = (),
) -> dict[str, Any]:
    """Rows per sampler (and its settings), dataset and frame count; fits over the frame count; damaged samples.

    Empty filters keep everything. Rows of a dataset are compared over the scenes that all of them share; where they
    share none, each is over its own. A row: `made` (scenes that have a sample), `scenes` (those it is over), `shared`,
    `samples` (scenes x seeds), `fill` (share of frames),
    `overlap` (mean over pairs), `overlap_p10`, `below` (share of pairs below `min_overlap`), `coverage` (mean),
    `shared_with_sa` (mean of |S ∩ S_sa| / n where `sa` chose n frames of the same scene); None where nothing
    is known. Pairs of a frame with itself (scenes shorter than n) are left out of the overlap. `roots`: of datasets
    that are there from several, dataset -> root.
    Raises `UserError` when a filter leaves nothing.
    """
    records, damaged = _read_all(root)
    by_sa = {_cell(record): set(record["ids"]) for record in records if record["sampler"] == "sa"}
    groups: dict[Group, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        group = Group(record["sampler"], _settings(record), record[_FOLDER], len(record["ids"]))
        if (
            (not samplers or group.sampler in samplers)
            and (not frames or group.frames in frames)
            and (not datasets or {group.dataset, record["dataset"]} & set(datasets))
        ):
            groups[group].append(record)
    if records and not groups:
        raise _nothing_left(records, samplers, frames, datasets)
    made = {group: {record["scene"] for record in members} for group, members in groups.items()}
    shared = {
        name: set.intersection(*(scenes for group, scenes in made.items() if group.dataset == name))
        for name in {group.dataset for group in groups}
    }
    ordered = {
        group: [record for record in members if record["scene"] in (shared[group.dataset] or made[group])]
        for group, members in sorted(groups.items())
    }
    counts = {group: {"made": len(made[group]), "shared": bool(shared[group.dataset])} for group in groups}
    return {
        "rows": [{**_row(group, members, by_sa), **counts[group]} for group, members in ordered.items()],
        "fits": _fits(dict(sorted(groups.items()))),
        "damaged": damaged,
        "roots": _several(
            root, {record[_FOLDER]: record["dataset"] for members in groups.values() for record in members}
        ),
    }


def _several(root: Path, datasets: Mapping[str, str]) -> dict[str, str]:
    """Folder -> root, of the datasets that have several of them. `datasets`: folder -> what its samples record."""
    known = roots(root)
    return {
        folder: known.get(folder, "unknown, made by an older smx")
        for folder, dataset in sorted(datasets.items())
        if list(datasets.values()).count(dataset) > 1
    }


def unshared(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each dataset whose rows are not all over all of their scenes."""
    lines = []
    for dataset, own in _by_dataset(rows).items():
        most, over = max(row["made"] for row in own), min(row["scenes"] for row in own)
        if not all(row["shared"] for row in own):
            lines.append(f"{dataset}: no scene is in all rows, so each is over its own: not to be compared")
        elif most > over:
            lines.append(f"{dataset}: over the {over} scene{'s' * (over > 1)} that all rows share, of up to {most}")
    return lines


def _by_dataset(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["dataset"], []).append(row)
    return found


def _row(group: Group, members: list[Mapping[str, Any]], by_sa: Mapping[tuple[str, ...], set[int]]) -> dict[str, Any]:
    import numpy as np

    overlaps = np.array([value for record in members for value in _overlaps(record)])
    coverages = [record["coverage"] for record in members if record["coverage"] is not None]
    shared = [
        len(set(record["ids"]) & by_sa[_cell(record)]) / group.frames for record in members if _cell(record) in by_sa
    ]
    least = float(members[0]["options"].get("min_overlap", USUAL_MIN_OVERLAP))
    known = len(overlaps) > 0
    return {
        "sampler": group.sampler,
        "settings": json.loads(group.settings),
        "dataset": group.dataset,
        "frames": group.frames,
        "scenes": len({record["scene"] for record in members}),
        "samples": len(members),
        "fill": sum(sum(record["fill"]) for record in members) / (group.frames * len(members)),
        "pairs": len(overlaps),
        "overlap": float(overlaps.mean()) if known else None,
        "overlap_p10": float(np.percentile(overlaps, 10)) if known else None,
        "min_overlap": least,
        "below": float((overlaps < least).mean()) if known else None,
        "coverage": float(np.mean(coverages)) if coverages else None,
        "shared_with_sa": float(np.mean(shared)) if shared else None,
    }


def _fits(groups: Mapping[Group, list[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Mean pair overlap against n, per sampler, settings and dataset, over the scenes that exist at every n."""
    series: dict[tuple[str, str, str], dict[int, list[Mapping[str, Any]]]] = defaultdict(dict)
    for group, members in groups.items():
        series[group[:3]][group.frames] = members
    found = []
    for (sampler, settings, dataset), by_frames in series.items():
        shared = set.intersection(*({record["scene"] for record in members} for members in by_frames.values()))
        points = [
            (n, sum(values) / len(values))
            for n, members in sorted(by_frames.items())
            if (values := [v for record in members if record["scene"] in shared for v in _overlaps(record)])
        ]
        if len(points) > 1:
            found.append(
                {
                    "sampler": sampler,
                    "settings": json.loads(settings),
                    "dataset": dataset,
                    "scenes": len(shared),
                    "points": [list(point) for point in points],
                    **fit(points),
                }
            )
    return found


def fit(points: Iterable[tuple[int, float]]) -> dict[str, Any]:
    """Least squares of overlap against n: `linear` a + b·n and `reciprocal` 1 − c/n, each with R².

    A line through two points always fits, so its R² is None until there are three.
    """
    import numpy as np

    n, y = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    slope, intercept = np.polyfit(n, y, 1)
    c = float(np.dot(1 / n, 1 - y) / np.dot(1 / n, 1 / n))
    return {
        "linear": {
            "a": float(intercept),
            "b": float(slope),
            "r2": r_squared(y, intercept + slope * n) if len(n) > 2 else None,
        },
        "reciprocal": {"c": c, "r2": r_squared(y, 1 - c / n)},
    }


def r_squared(y: Any, predicted: Any) -> float | None:
    """1 − residual / total sum of squares; below 0 where the mean fits better; None for constant y."""
    total = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - predicted) ** 2).sum()) / total if total > 1e-15 else None


def label(row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    """The sampler's name, with those settings that set it apart from its other rows."""
    others = [other["settings"] for other in rows if other["sampler"] == row["sampler"]]
    apart = [f"{k}={_short(v)}" for k, v in row["settings"].items() if any(other.get(k) != v for other in others)]
    return f"{row['sampler']} ({', '.join(apart)})" if apart else str(row["sampler"])


def _short(value: Any) -> Any:
    """Of a digest, eight digits."""
    return value[:8] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value


def _read_all(root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Every record under `root` that has what statistics need, and why the others were left out."""
    records, damaged = [], []
    for folder in sampleset.samples(root):
        try:
            record = sampleset.read_record(folder)
        except SceneError as error:
            damaged.append(str(error))
            continue
        lacking = {"sampler", "options", "dataset", "scene", "ids", "fill", "pairs", "coverage"} - record.keys()
        if lacking:
            damaged.append(f"the sample at {folder} is damaged (no {sorted(lacking)[0]!r} in sample.json)")
        else:
            records.append({**record, _FOLDER: dataset_folder(folder)})
    return records, damaged


def _overlaps(record: Mapping[str, Any]) -> list[float]:
    return [
        float(pair["overlap"])
        for pair in record["pairs"]
        if pair["overlap"] is not None and pair["ids"][0] != pair["ids"][1]
    ]


def _settings(record: Mapping[str, Any]) -> str:
    code = {"code": record["code"].partition("@")[2][:8]} if "code" in record else {}
    return json.dumps({**record["options"], **_geometry(record), **code}, sort_keys=True)


def _geometry(record: Mapping[str, Any]) -> dict[str, Any]:
    asked = record.get("geometry") or {}
    return {name: asked.get(name) for name in _GEOMETRY if name in asked}


def _cell(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What two samples must share to be compared frame by frame."""
    geometry = json.dumps(_geometry(record), sort_keys=True)
    return record[_FOLDER], record["scene"], str(len(record["ids"])), geometry


def _nothing_left(
    records: list[dict[str, Any]], samplers: Collection[str], frames: Collection[int], datasets: Collection[str]
) -> UserError:
    made = {record["sampler"] for record in records}
    for name in samplers:
        if name not in made and name not in plugins.names("samplers"):
            return unknown("sampler", name, {*made, *plugins.names("samplers")})
    known = {record[key] for record in records for key in ("dataset", _FOLDER)}
    for name in datasets:
        if name not in known:
            return unknown("dataset", name, known, "only datasets with samples are listed")
    there = sorted({f"{r['sampler']} {len(r['ids'])} frames on {r[_FOLDER]}" for r in records})
    command = f"smx gen --sampler {','.join(samplers) or 'sa'} --frames {','.join(map(str, frames)) or '16'}"
    return UserError("no sample fits these filters", f"there are: {'; '.join(there)}\n{command} makes some")
