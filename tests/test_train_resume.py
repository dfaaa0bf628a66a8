"""A killed training ends with the weights and losses of one that was left alone."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from support.processes import Audit, Smx, items_begun, smx, the_run, tree

from smx.cli import run as run_smx
from smx.node.training.data import Reader

SMALL = ("scenes=1", "train_scenes=1", "frames=16", "width=80", "height=60")
RECIPE = ("steps=6", "save_every=2", "batch=1")
WORDS = [
    *("train", "--model", "tiny", "--sampler", "uniform", "--frames", "2"),
    *(f"--set=data_options.rooms.{pair}" for pair in SMALL),
    *(f"--set=recipe.{pair}" for pair in RECIPE),
]
PARTS = [f"part-{number:02d}-of-06" for number in range(1, 7)]


def test_a_training_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Lost otherwise: what a killed training ends with is another model, and nobody sees it."""
    calm, rough, probe = tmp_path / "calm", tmp_path / "rough", tmp_path / "probe"
    smx(calm, *WORDS)

    audit = Audit(tmp_path / "audit")
    assert killed_after(rough, audit, 4)[1:] == PARTS[:3]  # after the one scene
    training = the_run(rough, "train").path / "training"
    half_written(training / "checkpoint-2", training / "checkpoint-5")
    assert killed_after(rough, audit, 2)[0] in PARTS[2:]
    smx(rough, *WORDS, "--set=recipe.micro=1", "--set=recipe.save_every=9", probe=probe)

    begun = items_begun(probe)
    assert begun == PARTS[-len(begun) :]
    assert 1 <= len(begun) <= 4
    ours, theirs = the_run(rough, "train"), the_run(calm, "train")
    mine, undisturbed = ours.result(), theirs.result()
    assert mine is not None
    assert undisturbed is not None
    assert len(undisturbed["losses"]) == 6
    assert mine["losses"] == undisturbed["losses"]
    weights = tree(ours.path / "checkpoint")
    assert any(name.endswith(".safetensors") for name in weights)
    assert weights == tree(theirs.path / "checkpoint")


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_training_that_is_asked_to_stop_repeats_no_step(number: signal.Signals, tmp_path: Path) -> None:
    """Lost otherwise: every time limit and every preemption costs the steps since the last checkpoint."""
    space, audit = tmp_path / "space", Audit(tmp_path / "audit")
    words = [*WORDS, "--set=recipe.save_every=100"]
    process = Smx(space, *words, probe=audit.path)
    assert audit.follow(process, items=4)[1:] == PARTS[:3]
    process.send(number)
    process.end()
    run = the_run(space, "train")
    assert run.saved_step() >= 2
    smx(space, *words)
    steps = [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 7))


def test_a_read_that_hangs_ends_the_training_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: a dead file server holds GPUs for days, and the log says nothing."""
    monkeypatch.chdir(tmp_path)
    assert run_smx(["init", "."]) == 0
    read = Reader.__call__

    def hanging(self: Reader, numbers: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            threading.Event().wait(60)
        return read(self, numbers)

    calls: list[int] = []
    monkeypatch.setattr(Reader, "__call__", hanging)
    monkeypatch.setattr(Reader, "complete", lambda self: False)
    assert run_smx([*WORDS, "--set=recipe.stalled_after=0.2"]) == 1
    [ended] = [json.loads(path.read_text()) for path in tmp_path.glob("runs/train/*/attempts/1/shards/0/exit.json")]
    assert (ended["how"], ended["kind"]) == ("failed", "stalled")
    assert "rank 0 is at step 2, phase read" in ended["line"]
    assert "ended.get()" in capsys.readouterr().err  # the stacks


def killed_after(space: Path, audit: Audit, begun: int) -> list[str]:
    """Kill a training as soon as so many items have begun; returns these."""
    process = Smx(space, *WORDS, probe=audit.path)
    found = audit.follow(process, items=begun)
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL, process.said
    return found


def half_written(like: Path, checkpoint: Path) -> None:
    """What a kill leaves of a checkpoint that was being written."""
    if checkpoint.exists():
        shutil.rmtree(checkpoint)
    shutil.copytree(like, checkpoint)
    for path in checkpoint.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
