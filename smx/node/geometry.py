"""Geometry sources by name: what `geometry.source` of a spec means on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from smx.datasets import Scene
from smx.geometry.source import DepthSource, GeometrySource, SourceOf
from smx.geometry.view import GeometryOptions


def from_dataset(scene: Scene, candidates: np.ndarray) -> GeometrySource:
    """Cameras and depth as the dataset has them."""
    return DepthSource(scene)


def source_of(options: GeometryOptions, poses: Path | None) -> SourceOf:
    """What makes a scene's geometry. `poses`: where camera files are, for source `file`."""
    return SOURCES[options.source](options, poses)


def _from_dataset(options: GeometryOptions, poses: Path | None) -> SourceOf:
    return from_dataset


def _from_files(options: GeometryOptions, poses: Path | None) -> SourceOf:
    from smx.datasets._posed import PosedScene

    assert poses is not None

    def make(scene: Scene, candidates: np.ndarray) -> GeometrySource:
        posed = PosedScene(scene, poses, options.poses, options.metric)
        return DepthSource(posed, posed.record)

    return make


# One line for each source that works (`smx.geometry.view.WORKS_NOW`).
SOURCES: dict[str, Callable[[GeometryOptions, Path | None], SourceOf]] = {
    "dataset": _from_dataset,
    "file": _from_files,
}
