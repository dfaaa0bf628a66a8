"""A sample is shared by every run that would make the same one, and by no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smx import plugins
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample
from smx.spec import dataset_label


def sample(folder: Path, identity: str = "abc", **options: Any) -> dict[str, Any]:
    """Uniform frames of the first built-in room."""
    dataset = plugins.load("datasets", "rooms").parse({"count": 1, "width": 64, "height": 48, **options}, "rooms")
    scene = dataset.open(None, dataset.scenes(None)[0])
    rule = plugins.load("samplers", "uniform").parse({}, "uniform")
    return make_sample(
        scene,
        sampler_name="uniform",
        sampler=rule,
        n=4,
        seed=0,
        geometry=GeometryOptions(),
        folder=folder,
        extra={"sample_set": identity},
    )


def test_the_same_sample_is_adopted(tmp_path: Path) -> None:
    """Lost otherwise: every run that needs the same frames would choose and write them again."""
    first = sample(tmp_path / "s", frames=12)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}
    assert sample(tmp_path / "s", frames=12) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()} == before


@pytest.mark.parametrize("other", [{"frames": 14}, {"frames": 12, "identity": "abd"}])
def test_a_sample_of_other_data_or_another_rule_is_set_aside_and_comes_back_when_it_is_asked_for(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    """Lost otherwise: two data sets with a scene of one name would silently share frames, or one would lose its own."""
    sample(tmp_path / "s", frames=12)
    before = contents(tmp_path / "s")
    sample(tmp_path / "s", **other)
    sample(tmp_path / "fresh", **other)
    assert contents(tmp_path / "s") == contents(tmp_path / "fresh") != before
    times = {p.stat().st_mtime_ns for p in tmp_path.glob(".s.*.aside/*")}
    sample(tmp_path / "s", frames=12)
    assert contents(tmp_path / "s") == before
    assert {p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()} == times, "it was not made again"
    sample(tmp_path / "s", **other)
    assert contents(tmp_path / "s") == contents(tmp_path / "fresh")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_options_that_make_other_scenes_have_a_folder_of_their_own() -> None:
    """Lost otherwise: rooms of another size would find the usual ones in their place, and fail."""
    assert dataset_label("rooms", {}) == dataset_label("rooms", {"count": 3, "split": "train"}) == "rooms"
    small = dataset_label("rooms", {"width": 80, "height": 60})
    assert small.startswith("rooms-")
    assert small != dataset_label("rooms", {"width": 64, "height": 48})
