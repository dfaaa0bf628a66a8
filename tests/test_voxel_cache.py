"""Voxels are computed once per scene and shared by samplers and frame counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smx import plugins
from smx.geometry.view import GeometryOptions, SceneView
from smx.node.sampling import make_sample


def sample(folder: Path, sampler: str, cache: Path | None) -> dict[str, bytes]:
    """Write one sample of a small built-in room; returns its files."""
    dataset = plugins.load("datasets", "rooms").parse({"count": 1, "frames": 16, "width": 64, "height": 48}, "rooms")
    scene = dataset.open(None, dataset.scenes(None)[0])
    options: dict[str, Any] = {"sampler_name": sampler, "n": 6, "seed": 0, "geometry": GeometryOptions(), "extra": {}}
    rule = plugins.load("samplers", sampler).parse({}, sampler)
    make_sample(scene, sampler=rule, folder=folder, cache=cache, **options)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("sampler", plugins.names("samplers"))
def test_cached_voxels_give_the_same_sample(tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a sample set would depend on which sampler happened to run first."""
    plain = sample(tmp_path / "plain", sampler, None)
    cache = tmp_path / "cache" / "scene.npz"
    sample(tmp_path / "first", "sa", cache)
    assert cache.is_file()

    def refuse(self: SceneView, frame_id: int) -> None:
        raise AssertionError(f"frame {frame_id} was lifted again")

    if sampler != "mergeaware_uniform":  # the others look at candidates alone
        monkeypatch.setattr(SceneView, "_map", refuse)
    assert sample(tmp_path / "cached", sampler, cache) == plain


def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """Lost otherwise: a disk that filled up while caching would break every later gen of that scene."""
    cache = tmp_path / "scene.npz"
    cache.write_bytes(b"PK\x03\x04 torn")
    assert sample(tmp_path / "a", "sa", cache) == sample(tmp_path / "b", "sa", None)
    assert cache.read_bytes() != b"PK\x03\x04 torn"
