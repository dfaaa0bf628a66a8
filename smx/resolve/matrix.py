"""Experiment matrices: `experiments/*.yaml` into requests, one per run.

description: does merge-aware sampling help?
common: {bench: rooms}
groups:
  main:
    grid: {model: [tiny, tiny-prope], sampler: [uniform, sa], frames: [8, 16], seed: [0, 1, 2]}
    exclude: [{model: tiny, frames: 16}]
  extra:
    list: [{model: chance}, {model: frequency}]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smx.dotted import nest
from smx.errors import UserError, nearest, unknown
from smx.options import Options
from smx.resolve import MODEL_OPTIONS, PLACES
from smx.spec import SPECS, Variant
from smx.workspace.site import Site
from smx.yamlfile import read_yaml

Values = list[Any]  # named here: inside Group, `list` is a field


class Group(Options):
    """Runs that belong together: a grid, a list, or both, minus what is excluded."""

    kind: Literal["gen", "train", "eval"] = "eval"
    common: dict[str, Any] = Field(default_factory=dict, description="keys every run of the group shares")
    grid: dict[str, Values] = Field(default_factory=dict, description="every combination of these values")
    list: tuple[dict[str, Any], ...] = Field((), description="runs written out, beside the grid")
    exclude: tuple[dict[str, Any], ...] = Field((), description="drop runs that match all keys of an entry")
    train: dict[str, Any] | None = Field(
        None, description="train each model first with these keys (data, recipe …) and evaluate the result"
    )


class Experiment(Options):
    """One file under `experiments/`."""

    description: str = Field("", description="one line for smx list experiments")
    common: dict[str, Any] = Field(default_factory=dict, description="keys every run shares")
    groups: dict[str, Group] = Field(description="named groups of runs; smx run FILE --group NAME")


def read(path: Path) -> Experiment:
    """Read and check a matrix. `UserError` names file, line, and the closest valid key."""
    experiment = Experiment.parse(read_yaml(path), str(path))
    for name, group in experiment.groups.items():
        for keys in (experiment.common, group.common, group.grid, *group.list, *group.exclude):
            _check_keys(keys, group.kind, f"{path}: group {name!r}")
        if group.train is not None:
            if group.kind != "eval":
                raise UserError(f"{path}: group {name!r}: only a group of kind eval can train first")
            _check_keys(group.train, "train", f"{path}: group {name!r}: train")
    return experiment


def requests(experiment: Experiment, groups: tuple[str, ...] = ()) -> Iterator[tuple[Group, dict[str, Any]]]:
    """(group, request) of every run, in file order. `UserError` when a named group is missing or nothing is left."""
    for name in groups:
        if name not in experiment.groups:
            raise unknown("group", name, experiment.groups)
    count = 0
    for name in groups or tuple(experiment.groups):
        group = experiment.groups[name]
        for row in _rows(group):
            shared = {**experiment.common, **group.common}
            request = nest({**shared, **row})
            if any(_matches(request, nest(entry)) for entry in group.exclude):
                continue
            count += 1
            yield group, request
    if not count:
        raise UserError(
            f"the matrix has no runs ({', '.join(groups) or 'all groups'})",
            "a group needs `grid:` or `list:`, and `exclude:` must leave something",
        )


def schema() -> dict[str, Any]:
    """JSON Schema of everything written by hand, for editors."""
    written = {"experiment": Experiment, "variant": Variant, "site": Site, **SPECS}
    return {name: cls.model_json_schema() for name, cls in written.items()}


def _rows(group: Group) -> Iterator[dict[str, Any]]:
    if group.grid:
        for combination in itertools.product(*group.grid.values()):
            yield dict(zip(group.grid, combination, strict=True))
    yield from group.list


def _matches(request: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(request.get(key) == value for key, value in entry.items())


def _check_keys(keys: Mapping[str, Any], kind: str, where: str) -> None:
    own = (MODEL_OPTIONS,) if kind == "eval" else ()
    valid = [k for k in (*SPECS[kind].model_fields, *PLACES, *own) if k not in ("kind", "variant", "imported")]
    for key in keys:
        if key.split(".")[0] not in valid:
            raise UserError(f"{where}: unknown key {key!r}", nearest(key, valid, "valid keys"))
