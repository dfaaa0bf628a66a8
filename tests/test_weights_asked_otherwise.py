"""Weights asked as another model than was trained: refused by folder and by name alike, allowed when told, marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_decoding import SMALL
from test_models import tiny

from smx.errors import UserError
from smx.models.spatial_mllm import Model as Spatial
from smx.resolve import Resolver
from smx.run import Run
from smx.workspace import Workspace


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    return Resolver(Workspace(tmp_path / "lab", "--workspace"))


def by_folder(tmp_path: Path, resolver: Resolver) -> str:
    tiny().save(tmp_path / "weights")
    return str(tmp_path / "weights")


def by_name(tmp_path: Path, resolver: Resolver) -> str:
    made = resolver.train({"model": "tiny", "frames": 2, "data": ["rooms"]})[-1]
    resolver.trained = {made.title: made}
    return made.title


def asked(resolver: Resolver, checkpoint: str, **request: Any) -> Run:
    return resolver.eval({**SMALL, "bench": "rooms", "model": "tiny-prope", "checkpoint": checkpoint, **request})[-1]


@pytest.mark.parametrize("named", [by_folder, by_name])
def test_poses_that_the_training_had_not_are_refused_unless_told(
    tmp_path: Path, resolver: Resolver, named: Any
) -> None:
    """Lost otherwise: a table's `prope` whose weights were never trained with poses, because a folder was named."""
    checkpoint = named(tmp_path, resolver)
    with pytest.raises(
        UserError, match="was trained with pose none, this variant would run it with pose prope"
    ) as caught:
        asked(resolver, checkpoint)
    assert "--allow-position-mismatch" in (caught.value.hint or "")
    run = asked(resolver, checkpoint, allow_position_mismatch=True)
    assert run.labels["pose_untrained"]
    assert any("was trained with pose none" in line and "allows it" in line for line in resolver.said)
    assert "pose_untrained" not in asked(resolver, checkpoint, model="tiny").labels


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"features": "2d"}, "features fused, this variant would run it with features 2d"),
        ({"connector": "spatial_merge", "features": "3d", "tubelets": "repeat"}, "connector mlp_add"),
    ],
)
def test_features_and_connector_are_compared_too(now: dict[str, str], words: str) -> None:
    """Lost otherwise: a connector's weights read as another's."""
    said = Spatial.parse(now, "m").training_mismatch(Spatial().model_dump(mode="json"))
    assert all(word in said for word in words.split(", ")), said


def test_training_poses_from_weights_without_any_is_said(tmp_path: Path, resolver: Resolver) -> None:
    """It is how one starts; whoever meant to go on from pose weights sees it."""
    resolver.train({"model": "tiny-prope", "frames": 2, "data": ["rooms"], "checkpoint": by_folder(tmp_path, resolver)})
    assert any("never saw poses" in line for line in resolver.said)
