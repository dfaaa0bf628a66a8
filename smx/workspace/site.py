"""The site file, `experiments/site.yaml`: where things are here. Optional."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from smx.atomic_io import expanded
from smx.options import Options
from smx.yamlfile import read_yaml


class Storage(Options):
    """Big storage for what grows. Relative paths hang on the workspace."""

    runs: str | None = Field(None, description="folder for run folders; default runs/ in the workspace")
    samples: str | None = Field(None, description="folder for sample sets; default samples/ in the workspace")
    quota: str | None = Field(None, description="command that prints quotas as `quota -w` or `lfs quota` do")
    expires: str | None = Field(
        None, description="command that prints until when folders are kept; default: ws_list, where there is one"
    )


class DataPlaces(Options):
    """Where the two halves of a bench are, where they are not in one folder."""

    questions: str | None = Field(None, description="folder of the question files")
    videos: str | None = Field(None, description="folder of the scenes: videos, scans")


class Hooks(Options):
    """Shell lines to run when something happened; what happened is in their environment (SMX_TEXT and others)."""

    on_finished: str | None = Field(None, description="when everything that one command started has ended")
    on_first_failure: str | None = Field(None, description="when the first run of what one command started fails")


class Site(Options):
    """What one lab writes once about its machines and disks."""

    executor: str = Field("inline", description="default executor: inline, local or slurm")
    executors: dict[str, dict[str, Any]] = Field(default_factory=dict, description="options of each executor")
    data: dict[str, str | DataPlaces] = Field(
        default_factory=dict, description="root folder of each dataset and bench, or its questions and its videos"
    )
    checkpoints: dict[str, str] = Field(default_factory=dict, description="local folder of each hub id or variant")
    storage: Storage = Field(default_factory=Storage, description="where runs and samples are kept")
    hooks: Hooks = Field(default_factory=Hooks, description="commands to run when an experiment finishes or fails")
    shared: bool = Field(
        False, description="open the workspace to its folder's group; a folder that is setgid and group-writable is"
    )


def read(path: Path, root: Path) -> Site:
    """Read and check a site file; its relative paths hang on the workspace, `root`.

    `UserError` names a misspelt key and the closest valid one.
    """
    site = Site.parse(read_yaml(path), str(path))
    return site.model_copy(
        update={
            "data": {name: _places(root, place) for name, place in site.data.items()},
            "checkpoints": {name: _place(root, place) for name, place in site.checkpoints.items()},
        }
    )


def _places(root: Path, place: str | DataPlaces) -> str | DataPlaces:
    if isinstance(place, str):
        return _place(root, place)
    halves = {half: _place(root, path) for half, path in place.model_dump().items() if path is not None}
    return place.model_copy(update=halves)


def _place(root: Path, place: str) -> str:
    full = expanded(os.path.expandvars(place))
    return place if Path(full).is_absolute() else str(root / full)
