"""A training whose loss is no number has failed, at that step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from smx.cli import run

SMALL = [f"--set=data_options.rooms.{pair}" for pair in ("scenes=1", "train_scenes=1", "width=80", "height=60")]
WORDS = ["train", "--model", "tiny", "--sampler", "uniform", "--frames", "2", *SMALL]
RECIPE = ["steps=6", "save_every=1", "batch=1"]


def test_a_loss_that_is_no_number_ends_the_training_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: days of steps on NaN, a run that says done, and a checkpoint of no numbers in a table."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "."]) == 0
    recipe = [f"--set=recipe.{pair}" for pair in (*RECIPE, "lr=1e30")]
    assert run([*WORDS, *recipe]) == 1
    [folder] = tmp_path.glob("runs/train/*")
    ended = json.loads(next(folder.glob("attempts/1/shards/0/exit.json")).read_text())
    assert ended["how"] == "failed"
    assert ended["kind"] == "diverged"
    assert (ended["step"], ended["loss"], len(ended["examples"])) == (3, None, 1)  # null: JSON has no NaN
    assert "training/checkpoint-2" in ended["line"]
    assert not (folder / "checkpoint").exists()
    kept = folder / "training" / "checkpoint-2"
    assert all(bool(weight.isfinite().all()) for weight in load_file(kept / "weights.safetensors").values())
    for path in (*folder.rglob("*.json"), *folder.rglob("*.jsonl")):
        assert not re.search(r"\b(NaN|Infinity)\b", re.sub(r'"(\\.|[^"\\])*"', "", path.read_text())), path
    capsys.readouterr()
    assert run(["why", folder.name]) == 0
    assert "diverged" in capsys.readouterr().out
