"""Geometry sources by name: what `geometry.source` of a spec means on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smx.datasets import Scene
from smx.digests import checkpoint_digest
from smx.errors import SceneError, UserError
from smx.geometry.source import DepthSource, GeometrySource, SourceOf
from smx.geometry.view import GeometryOptions


def from_dataset(scene: Scene, candidates: np.ndarray) -> GeometrySource:
    """Cameras and depth as the dataset has them."""
    return DepthSource(scene)


def source_of(options: GeometryOptions, place: Path | None, depth: Path | None = None) -> SourceOf:
    """What makes a scene's geometry.

    `place`: where camera files are, for `file` (`depth`: and the maps of the tool that made them); the weights'
    folder, for `vggt`.
    """
    if options.source == "file":
        return _from_files(options, place, depth)
    return SOURCES[options.source](options, place)


def _from_dataset(options: GeometryOptions, poses: Path | None) -> SourceOf:
    return from_dataset


def _from_files(options: GeometryOptions, poses: Path | None, depth: Path | None) -> SourceOf:
    from smx.datasets._posed import OtherTool, PosedScene

    assert poses is not None
    files = OtherTool(poses, depth)
    if options.content is not None and files.digest() != options.content:
        raise UserError(f"camera files at {poses} have changed since this run was planned", "ask for it again")

    def make(scene: Scene, candidates: np.ndarray) -> GeometrySource:
        posed = PosedScene(scene, files, options.poses, options.metric, options.depth_scale)
        return DepthSource(posed, posed.record)

    return make


def _from_vggt(options: GeometryOptions, weights: Path | None) -> SourceOf:
    """The network is loaded when the first scene looks at something, and shared by all scenes of the process."""
    assert weights is not None
    assert options.content is not None
    loaded: list[Any] = []
    loading = threading.Lock()

    def network() -> Any:
        import torch

        from smx.models._vggt.geometry_source import Network

        with loading:
            if not loaded:
                if checkpoint_digest(weights) != options.content:
                    raise SceneError(f"VGGT's weights at {weights} have changed since this run was planned")
                device = "cuda" if torch.cuda.is_available() else "cpu"
                loaded.append(Network(weights, options.points, options.precision, device))
        return loaded[0]

    def make(scene: Scene, candidates: np.ndarray) -> GeometrySource:
        from smx.models._vggt.geometry_source import VGGTSource

        return VGGTSource(network, scene, candidates, options)

    return make


# One line for each `GeometryOptions.source` that has one place.
SOURCES: dict[str, Callable[[GeometryOptions, Path | None], SourceOf]] = {
    "dataset": _from_dataset,
    "vggt": _from_vggt,
}
