"""DataFrames of what a workspace holds. pandas is imported when one is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx import sampleset
from smx.api.access import Access
from smx.dotted import flat
from smx.errors import SceneError, UserError, unknown
from smx.monitor import items as item_views
from smx.registry.rows import CellScore, RunRow, excluded_attempts
from smx.runfolder import RunFolder
from smx.samples.lookup import find_sets
from smx.sampleset.places import dataset_folder
from smx.spec import KINDS
from smx.states import RunState

if TYPE_CHECKING:
    import pandas as pd

_FILTERS = ("kind", "model", "sampler", "frames", "bench", "dataset", "state", "tag", "since")
_SCORE_FILTERS = (*_FILTERS[1:], "scorer", "metric", "task", "fingerprint")
_ABOUT = ("run", "state", "items", "done", "failed", "created", "updated", "fingerprint", "untrained")
_AXES = ("kind", "model", "sampler", "frames", "bench", "dataset", "seed")  # of every spec, or of most
_CHOICES: dict[str, tuple[str, ...]] = {"kind": KINDS, "state": tuple(RunState)}
_HIDDEN = ("labels", "kind", "spec")  # of score rows: said by other columns
_GEN = "smx gen --sampler mergeaware_sa --frames 16"
_SAMPLE_COLUMNS = [
    "set",
    "dataset",
    "scene",
    "sampler",
    "n",
    "seed",
    "frames",
    "pairs",
    "overlap",
    "coverage",
    "filled",
]


def runs_frame(access: Access, filters: Mapping[str, Any]) -> pd.DataFrame:
    """As `Lab.runs`."""
    with access.registry() as registry:
        rows = registry.runs(**_checked(filters, _FILTERS))
    specs = [flat(json.loads(row.spec)) for row in rows]
    made = [{**_about(row), **spec} for row, spec in zip(rows, specs, strict=True)]
    return frame(made) if made else frame([], [*_ABOUT, *_AXES])  # a column that is asked for is there, and empty


def scores_frame(access: Access, filters: Mapping[str, Any], *, imported: bool = False) -> pd.DataFrame:
    """As `Lab.scores`."""
    with access.registry() as registry:
        rows = registry.scores(**_checked(filters, _SCORE_FILTERS), origin=None if imported else "run")
        names = {row.fingerprint: row.title for row in registry.runs()}
    table = frame(rows, CellScore._fields)
    table.insert(0, "run", table["fingerprint"].map(names))
    table = table.rename(columns={"variant": "model"}).drop(columns=[c for c in _HIDDEN if c in table])
    return table.astype(dict.fromkeys(("doubtful", "blind", "imported", "untrained"), bool)) if len(table) else table


def items_frame(access: Access, fingerprint: str, where: str | Sequence[str] = ()) -> pd.DataFrame:
    """As `Lab.items`."""
    with access.registry() as registry:
        row = registry.run(fingerprint)
        assert row is not None
        excluded = excluded_attempts(registry.attempts(fingerprint))
    folder = RunFolder(access.workspace.runs / row.folder)
    words = [where] if isinstance(where, str) and where else list(where)
    table = frame(item_views.items(folder, excluded, words))
    if "score" not in table:
        return table
    for name in (folder.result() or {}).get("scores") or ():
        scorer = name.split("@")[0]
        verdicts = {entry["item"]: entry for entry in item_views.items(folder, excluded, (), scorer)}
        for column in ("score", "parsed"):
            table[f"{column}_{scorer}"] = [verdicts[item].get(column) for item in table["item"]]
    return table.drop(columns="scorer")


def samples_frame(access: Access, sampler: str | None, frames: int | None, dataset: str | None) -> pd.DataFrame:
    """As `Lab.samples`."""
    root = access.workspace.samples
    sets = find_sets(root, f"{sampler}/{frames}") if sampler and frames else [root]
    rows = [row for folder in sets for row in _samples_below(access, folder, sampler, frames, dataset)]
    if not rows and (sampler or frames or dataset):
        what = f"{sampler or 'any sampler'} at {frames or 'any'} frames"
        raise UserError(f"no sample of {what} is under {root}", _GEN)
    return frame(rows, _SAMPLE_COLUMNS)


def frame(rows: Sequence[Any], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A DataFrame. `UserError` where pandas is missing."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise UserError("a DataFrame needs pandas, which is not installed", "pip install pandas") from error
    return pandas.DataFrame(rows, columns=None if columns is None else list(columns))


def _samples_below(
    access: Access, folder: Path, sampler: str | None, frames: int | None, dataset: str | None
) -> Iterator[dict[str, Any]]:
    for sample in sampleset.samples(folder):
        try:
            record = sampleset.read_record(sample)
        except SceneError as error:
            access.listener.say(f"left out: {error}")
            continue
        place = dataset_folder(sample)
        if sampler not in (None, record.get("sampler")) or dataset not in (None, place, record.get("dataset")):
            continue
        ids, pairs = record.get("ids", []), record.get("pairs", [])
        if frames is not None and len(ids) != frames:
            continue
        overlaps = [p["overlap"] for p in pairs if p["overlap"] is not None and p["ids"][0] != p["ids"][1]]
        root = access.workspace.samples
        whole = sample.relative_to(root) if sample.is_relative_to(root) else sample
        yield {
            "set": "/".join(whole.parts[:2]),
            "dataset": place,
            **{key: record.get(key) for key in ("scene", "sampler", "seed", "coverage")},
            **{"n": len(ids), "frames": ids, "pairs": [tuple(pair["ids"]) for pair in pairs]},
            "overlap": sum(overlaps) / len(overlaps) if overlaps else None,
            "filled": sum(record.get("fill", [])),
        }


def _checked(filters: Mapping[str, Any], valid: Sequence[str]) -> dict[str, Any]:
    for key, value in filters.items():
        if key not in valid:
            raise unknown("filter", key, valid)
        choices = _CHOICES.get(key, ())
        for choice in listed(value) if choices else ():
            if choice not in choices:
                raise unknown(key, str(choice), choices)
    given = {key: plain(value) for key, value in filters.items() if value is not None}
    return {("variant" if key == "model" else key): value for key, value in given.items()}


def _about(row: RunRow) -> dict[str, Any]:
    return {name: getattr(row, "title" if name == "run" else name) for name in _ABOUT}


def plain(value: Any) -> Any:
    """What a notebook has at hand (a numpy array or number, a pandas column) as Python has it; all else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def listed(value: Any) -> list[Any]:
    """Several values, or one as a list."""
    value = plain(value)
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
