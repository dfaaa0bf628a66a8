"""A flat request, split: what a spec is made of, and what only says where things are or what this call allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from smx.atomic_io import expanded
from smx.digests import checkpoint_digest
from smx.errors import UserError
from smx.geometry.view import GeometryOptions
from smx.resolve.hub_cache import cached
from smx.spec import SPECS

VGGT = "facebook/VGGT-1B"  # under this id the site file may say where its weights are


@dataclass(frozen=True)
class Roots:
    """Values of a request that are no part of a spec. None where they are not given."""

    root: str | None = None  # of the dataset or the bench
    checkpoint: str | None = None  # a folder, or the title of a train run
    poses: str | None = None  # camera files
    depth: str | None = None  # depth maps of the tool that made them
    vggt: str | None = None  # weights of VGGT
    allow_position_mismatch: str | None = None  # whatever it says, it was asked for
    strict: str | None = None  # as that
    all_scenes: str | None = None  # as that; of gen

    @property
    def any(self) -> bool:
        """Whether the request says where anything is."""
        return any(vars(self).values())

    def at(self, root: Path | None) -> Roots:
        """The same, with data at `root`."""
        return replace(self, root=None if root is None else str(root))


PLACES = tuple(field.name for field in fields(Roots))
MODEL_OPTIONS = "model_options"  # key of a request: options of the variant that may be set for a run (`per_run`)


def from_workspace(request: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A request of a YAML file: its relative paths hang on the workspace, whatever folder it is read from.

    A checkpoint is a path where it begins with a dot or its folder is there, else the name of a train run or a hub id.
    """
    changed = dict(request)
    for key in ("root", "poses", "depth", "vggt", "checkpoint"):
        if not isinstance(value := changed.get(key), str):
            continue
        path = root / expanded(value)
        if key != "checkpoint" or value.startswith(".") or path.is_dir():
            changed[key] = str(path)
    if isinstance(bench := changed.get("bench"), str) and Path(bench).suffix and (root / expanded(bench)).is_file():
        changed["bench"] = str(root / expanded(bench))
    if isinstance(train := changed.get("train"), Mapping):
        changed["train"] = from_workspace(train, root)
    return changed


def split(request: Mapping[str, Any], checkpoints: Mapping[str, str]) -> tuple[dict[str, Any], Roots]:
    """(what a spec is made of, the rest). `checkpoints`: name -> folder, as the site file has them.

    Camera files and VGGT's weights are known by what is in them: their digest becomes part of what is asked for.
    """
    values = {k: v for k, v in request.items() if k not in PLACES and v is not None}
    places = Roots(**{k: expanded(str(request[k])) for k in PLACES if request.get(k) is not None})
    geometry = values.get("geometry", {})
    if isinstance(geometry, Mapping) and (geometry or places.poses or places.depth):
        values["geometry"] = geometry = _with_poses(geometry, places.poses, places.depth)
    if isinstance(geometry, Mapping) and geometry.get("source") == "vggt":
        folder = _vggt(geometry, places.vggt or checkpoints.get(VGGT) or _in_cache(VGGT))
        values["geometry"] = {**geometry, "content": checkpoint_digest(folder)}
        return values, replace(places, vggt=str(folder))
    if places.vggt is not None:
        raise UserError(f"weights of VGGT ({places.vggt}) are given", "--set geometry.source=vggt reads them")
    return values, places


def check_types(kind: str, values: Mapping[str, Any]) -> None:
    """Keys and types before any name is looked up. A variant's options come from its file, but for `MODEL_OPTIONS`."""
    if "variant" in values or MODEL_OPTIONS in values:
        raise not_run_by_run()
    if "imported" in values:
        raise UserError("'imported' is not set: the name of the sampler tells", "smx samples import DIR --as NAME")
    SPECS[kind].parse(dict(values), f"{kind} spec")


def not_run_by_run() -> UserError:
    """For options of a variant that decide what a model computes: a table names variants, so each has its file."""
    return UserError(
        "a variant's options are not set run by run", "copy its file in experiments/models under a name of its own"
    )


def _with_poses(geometry: Mapping[str, Any], poses: str | None, depth: str | None) -> dict[str, Any]:
    if depth and not poses:
        raise UserError(
            f"depth maps ({depth}) are given without the cameras they were made with",
            "--poses FILE beside --depth DIR; depth beside a dataset's frames is found by itself",
        )
    source = geometry.get("source", "file" if poses else "dataset")
    if poses and source != "file":
        raise UserError(f"camera files ({poses}) are given, and geometry.source is {source!r}", "leave one of them out")
    if source != "file":
        return dict(geometry)
    from smx.datasets._posed import LOOKED_FOR, OtherTool

    if not poses:
        raise UserError("geometry.source is 'file', but where are the files?", f"--poses takes {LOOKED_FOR}")
    files = OtherTool(Path(poses).expanduser(), Path(depth).expanduser() if depth else None)
    return {**geometry, "source": "file", "content": files.digest()}


def _in_cache(repo: str) -> str | None:
    snapshot = cached(repo)
    return str(snapshot.folder) if snapshot else None


def _vggt(geometry: Mapping[str, Any], found: str | None) -> Path:
    """The folder of VGGT's weights, checked: they hold what this geometry reads."""
    from smx.models._vggt.checkpoint import check

    if not found:
        raise UserError(
            "geometry.source is 'vggt', but where are its weights?",
            f"--vggt DIR, or in experiments/site.yaml:  checkpoints: {{{VGGT}: DIR}}",
        )
    folder = Path(found).expanduser().resolve()
    wanted = GeometryOptions.parse(dict(geometry), "geometry")
    check(folder, ("aggregator", "camera_head", wanted.points))
    return folder
