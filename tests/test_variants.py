"""The variants that ship: each can be read, says what it is, and stands for what its name says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smx import plugins
from smx.cli import run
from smx.spec import Variant
from smx.yamlfile import read_yaml

FILES = {path.stem: path for path in (Path(__file__).parent.parent / "experiments/models").glob("*.yaml")}
NAMES = """qwen2_5vl qwen3vl spatialmllm spatialmllm-index spatialmllm-2d spatialmllm-3d spatialmllm-cat
spatialmllm-camera spatialmllm-repeat spatialmllm-base
prope prope-hw no-time gta cape geo-alibi tiny tiny-prope chance frequency"""
POSED = {
    "prope": "prope",
    "prope-hw": "prope",
    "gta": "gta",
    "cape": "cape",
    "geo-alibi": "geo_alibi",
    "qwen3vl-prope": "prope",
}


def variant(name: str) -> Variant:
    return Variant.parse(read_yaml(FILES[name]), name)


def test_all_variants_of_the_notes_ship() -> None:
    """A table of the notes has a row for each of them."""
    assert set(NAMES.split()) <= set(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_variant_is_read_described_and_drawn(name: str) -> None:
    """Lost otherwise: a shipped name that fails when it is typed."""
    found = variant(name)
    assert found.base in plugins.names("models")
    assert found.description
    assert found.stand_in is None or found.stand_in in FILES
    options = found.options()
    assert options.pipeline()
    assert options.wants_cameras() == (name in POSED or name == "tiny-prope")
    if name in POSED:
        assert options.pose.kind == POSED[name]
        assert found.stand_in == "tiny-prope"


def test_names_say_what_they_change() -> None:
    """Each differs from spatialmllm in one thing only, but for what is known of the checkpoint's training."""
    base = variant("spatialmllm").resolved()
    training = ("trained_stride", "allow_position_mismatch")

    def changed(name: str) -> dict[str, Any]:
        found = variant(name).resolved().items()
        return {key: value for key, value in found if value != base[key] and key not in training}

    assert changed("spatialmllm-2d") == {"features": "2d"}
    assert changed("spatialmllm-3d") == {"features": "3d"}
    assert changed("spatialmllm-cat") == {"features": "cat"}
    assert changed("spatialmllm-camera") == {"features": "camera"}
    assert changed("spatialmllm-repeat") == {"tubelets": "repeat"}
    assert changed("no-time").keys() == {"rope"}
    assert changed("prope").keys() == changed("gta").keys() == changed("cape").keys() == {"pose"}
    assert changed("prope-hw").keys() == {"pose", "rope"}
    assert changed("spatialmllm-index").keys() == {"rope"}
    assert variant("spatialmllm-index").options().trained_stride == 1
    assert [variant(n).options().stride_word() for n in ("spatialmllm", "spatialmllm-index", "no-time")] == [2, 1, 0]


def test_the_drawing_names_what_a_reader_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """What is frozen, which positions, which dims carry poses, how many tokens a frame becomes."""
    assert run(["list", "models", "prope"]) == 0
    said = capsys.readouterr().out
    for words in (
        "encoder, frozen; its merger, trained",
        "VGGT's aggregator, frozen",
        "temporal stride 2; text goes on after the largest position",
        "32 of 128 dims of a head (pairs t 12-15, h 34-39, w 58-63) of q, k, v, output",
        "relative to the first camera, mean distance to it 1",
        "195.5 per frame at 640x480; 16 frames: 3,128",
        "dims': 'auto'",
    ):
        assert words in said, words
    assert run(["list", "models", "prope-hw", "--json"]) == 0
    stages = {each["stage"]: each["words"] for each in json.loads(capsys.readouterr().out)["pipeline"]}
    assert "no time" in stages["positions"]
    assert "pairs t 0-15" in stages["poses"]


@pytest.mark.parametrize("command", ["eval", "train"])
def test_cameras_missing_for_a_pose_variant_is_one_message(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the queue, with the variant, what it needs and the dataset that has none; nothing is made."""
    from smx.datasets.rooms import Dataset

    monkeypatch.chdir(tmp_path)
    assert run(["init", "."]) == 0
    monkeypatch.setattr(Dataset, "has_cameras", False)
    no_cameras = "scene {} has no cameras".format
    monkeypatch.setattr("smx.resolve.preflight.lacks", lambda scene, needs: no_cameras(repr(scene.id)) if needs else "")
    named = ["--bench", "rooms"] if command == "eval" else ["--data", "rooms"]
    capsys.readouterr()
    assert run([command, "--model", "tiny-prope", *named, "--frames", "4"]) == 2
    said = capsys.readouterr().err
    assert "model 'tiny-prope' needs the cameras of its frames (w2c and K), and dataset 'rooms' has none" in said
    assert not list(tmp_path.glob("runs/*/*"))
    assert run([command, "--model", "tiny", *named, "--frames", "4", "--dry-run"]) == 0


def test_a_pose_variant_answers_with_a_local_checkpoint(
    fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`smx eval --model prope-hw --checkpoint FOLDER --bench rooms`, as a new user types it."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "."]) == 0
    checkpoint = str(fixtures / "golden/spatial_mllm_tiny")
    some = ["--set", "bench_options.scenes=1", "--set", "max_new_tokens=2", "--frames", "4"]
    assert run(["eval", "--model", "prope-hw", "--checkpoint", checkpoint, "--bench", "rooms", *some]) == 0
    said = capsys.readouterr()
    assert "done      eval  prope-hw-rooms" in said.out + said.err
