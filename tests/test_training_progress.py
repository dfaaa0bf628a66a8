"""What `status`, `watch`, `show` and `why` say of a training at work: its step, its loss, and the time left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx

from smx.monitor.training_progress import TrainingProgress, training_progress
from smx.registry.rows import AttemptRow, RunRow, ShardRow
from smx.registry.store import Registry
from smx.runfolder import METRICS, RunFolder, now
from smx.spec import build, kept

MARK = "ab" * 32
SPEC = {"model": "tiny", "variant": {"base": "tiny"}, "data": ["rooms"]}


def training(lab: Path, **recipe: Any) -> RunFolder:
    """A run's folder that holds no more than what it was asked for."""
    folder = lab / "runs/train/tiny-rooms-abababab"
    folder.mkdir(parents=True)
    spec = kept(build("train", {**SPEC, "recipe": recipe}))
    (folder / "spec.json").write_text(json.dumps({"fingerprint": MARK, "kind": "train", "spec": spec}))
    return RunFolder(folder)


def write(folder: RunFolder, steps: range, *, seconds: float = 5.0, loss: float | None = 1.9234) -> None:
    with (folder.path / METRICS).open("a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, "loss": loss, "seconds": seconds}) + "\n")


def torn(folder: RunFolder, text: str) -> None:
    with (folder.path / METRICS).open("a") as file:
        file.write(text)


def test_the_newest_whole_line_tells_whatever_stopped_the_writing(tmp_path: Path) -> None:
    """Lost otherwise: a status that dies of half a line, or shows a step that was done again since."""
    folder = training(tmp_path, steps=2400)
    assert training_progress(folder) is None
    write(folder, range(1, 401), seconds=60.0)  # before it was stopped, and went back
    write(folder, range(301, 311))
    torn(folder, '{"step": 311, "lo')
    found = training_progress(folder)
    assert found == TrainingProgress(310, 2400, 1.9234, 2090 * 60.0)  # the median of the last 50 steps
    assert found.words() == "step 310/2,400 loss 1.92"
    torn(folder, "\n")
    write(folder, range(2400, 2401), loss=None)
    ended = training_progress(folder)
    assert ended is not None
    assert (ended.words(), ended.left) == ("step 2,400/2,400 loss not finite", 0.0)


def test_epochs_are_steps_once_the_data_are_known(tmp_path: Path) -> None:
    """Lost otherwise: a training by epochs never says how far it is."""
    folder = training(tmp_path, epochs=2.0, batch=8)
    write(folder, range(1, 4))
    unknown = training_progress(folder)
    assert unknown is not None
    assert (unknown.words(), unknown.left) == ("step 3 loss 1.92", None)
    (folder.path / "data.json").write_text(json.dumps({"examples": [f"rooms:{n}" for n in range(100)]}))
    assert training_progress(folder) == TrainingProgress(3, 25, 1.9234, 110.0)


def test_a_running_training_says_its_step_loss_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: hours of "0/10 items", and a log to be found for the loss."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    folder = training(tmp_path, steps=2400)
    write(folder, range(1, 311))
    with Registry.open(tmp_path / "registry.db") as registry:
        text = json.dumps(folder.spec["spec"])
        registry.add_run(RunRow(MARK, "train", "tiny-rooms", "train/tiny-rooms-abababab", text, state="running"))
        registry.put_attempt(AttemptRow(MARK, 1, "slurm", "running", 10, done=1, started="2026-02-13T03:00:00.000Z"))
        registry.put_shard(ShardRow(MARK, 1, 0, "running", "n007", 1, 0, now()))
    capsys.readouterr()
    assert smx("status", "--no-sync") == 0
    said = capsys.readouterr().out
    assert "step 310/2,400 loss 1.92, 2 h 54 min left" in said
    assert "1 running, the last of them done in about 2 h 54 min" in said
    assert max(map(len, said.splitlines())) <= 100
    [row] = data(capsys, "status", "--no-sync")["running"]
    assert row["training"] == {"step": 310, "steps": 2400, "loss": 1.9234, "left": 2090 * 5.0}
    assert row["left"] == 2090 * 5.0
