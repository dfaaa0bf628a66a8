"""Checkpoints of a training: verified before they are read, whole or not there, and what ends a training early."""

from __future__ import annotations

import json
import math
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.training import same, task, weights

from smx.errors import UserError, no_space
from smx.node.stopping import Abandoned, Preempted, StepStop
from smx.node.training import checkpoint, guards
from smx.node.training.guards import Diverged, is_spike
from smx.node.training.loop import Training
from smx.node.training.metrics import Metrics
from smx.spec import digest

FILES = ("weights.safetensors", "moments.safetensors", "state.json", "manifest.json")
STEPS: dict[str, Any] = {"steps": 5, "batch": 2, "save_every": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Any]]:
    """(a training folder as it was after step 4 of 5, the weights after steps 2, 4 and 5)."""
    folder = tmp_path_factory.mktemp("whole")
    training = Training(task(folder, **STEPS))
    after = {}

    class Keep:
        phase = staticmethod(lambda name: None)
        step = staticmethod(lambda number, took: None)

        @staticmethod
        def saved(state: Any) -> None:
            after[state.step] = weights(training.task.trained)
            if state.step == 4:
                shutil.copytree(folder, folder.parent / "at4")

    training.hooks = Keep()  # type: ignore[assignment]
    training.run()
    assert sorted(after) == [2, 4, 5]
    assert [path.name for path in checkpoint.saved(folder)] == ["checkpoint-4", "checkpoint-5"]
    return folder.parent / "at4", after


def gone(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("harm", [gone, empty, halved, flipped])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_never_read(
    name: str, harm: Callable[[Path], None], trained: tuple[Path, dict[int, Any]], tmp_path: Path
) -> None:
    """Lost otherwise: training goes on with other weights or without its moments, and nobody is told."""
    at4, after = trained
    folder = tmp_path / "training"
    shutil.copytree(at4, folder)
    harm(folder / "checkpoint-4" / name)
    told: list[str] = []
    assert checkpoint.newest(folder, told.append) == folder / "checkpoint-2"
    assert str(folder / "checkpoint-4" / name) in told[0]
    harm(folder / "checkpoint-2" / name)
    with pytest.raises(UserError, match=f"checkpoint-4/{name}") as refusal:
        checkpoint.newest(folder, told.append)
    assert f"rm -r {folder}" in refusal.value.hint
    assert after


@pytest.mark.parametrize("harmed", ["", "moments.safetensors"])
def test_going_on_from_a_checkpoint_ends_with_the_undisturbed_bits(
    harmed: str, trained: tuple[Path, dict[int, Any]], tmp_path: Path
) -> None:
    """Lost otherwise: how often a training was stopped decides what it learns."""
    at4, after = trained
    shutil.copytree(at4, tmp_path / "training")
    if harmed:
        gone(tmp_path / "training" / "checkpoint-4" / harmed)
    training = Training(task(tmp_path / "training", micro=1, **STEPS))
    assert training.resume() == (2 if harmed else 4)
    assert same(weights(training.task.trained), after[training.state.step])
    training = Training(task(tmp_path / "training", **STEPS))
    training.resume()
    training.run()
    assert same(weights(training.task.trained), after[5])
    assert len(training.state.losses) == 5


def test_a_checkpoint_of_other_data_or_weights_is_refused(trained: tuple[Path, dict[int, Any]], tmp_path: Path) -> None:
    """Lost otherwise: a frozen part goes on as a trained one, or half the data as all of it."""
    shutil.copytree(trained[0], tmp_path / "training")
    other = Training(task(tmp_path / "training", train={"llm": 1e-3}, **STEPS))
    with pytest.raises(UserError, match="other trained weights"):
        other.resume()
    path = tmp_path / "training" / "checkpoint-4" / "manifest.json"
    manifest = {k: v for k, v in json.loads(path.read_text()).items() if k != "digest"} | {"data": "e" * 64}
    path.write_text(json.dumps({**manifest, "digest": digest(manifest)}))
    with pytest.raises(UserError, match="another data"):
        Training(task(tmp_path / "training", **STEPS)).resume()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(
    share: float, trained: tuple[Path, dict[int, Any]], tmp_path: Path
) -> None:
    """Lost otherwise: half a checkpoint in the place of a whole one, and a failure that no one can read."""
    folder = tmp_path / "training"
    shutil.copytree(trained[0], folder)
    training = Training(task(folder, **STEPS))
    training.resume()
    largest = (folder / "checkpoint-4" / "moments.safetensors").stat().st_size
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * largest), limits[1]))
    try:
        with pytest.raises(OSError, match=r"space|large") as error:
            training.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert no_space(error.value)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]


def test_too_little_space_is_said_before_the_first_step(tmp_path: Path) -> None:
    """Lost otherwise: a day of training ends at its first checkpoint."""
    with pytest.raises(OSError, match="are free") as error:
        checkpoint.require_space(tmp_path, 1 << 60, 1 << 60)
    assert no_space(error.value)


def test_a_loss_that_is_no_number_changes_nothing(tmp_path: Path) -> None:
    """Lost otherwise: the step's examples are unknown, and the weights behind it are no numbers."""
    asked = task(tmp_path / "training", **STEPS)
    training = Training(asked, metrics=Metrics(tmp_path / "metrics.jsonl"))
    gradient, before = training.gradient, {}

    def spoiled(examples: Any, tally: Any) -> Any:
        loss = gradient(examples, tally)
        if training.state.step == 2:
            before.update(weights(asked.trained))
            next(iter(asked.trained.values())).grad.fill_(math.nan)  # type: ignore[union-attr]
        return loss

    training.gradient = spoiled  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"gradient norm nan at step 3; .* training/checkpoint-2") as error:
        training.run()
    training.metrics.close()
    assert error.value.details["examples"] == [asked.ids[number] for number in training._numbers(3)]
    assert same(weights(asked.trained), before)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[2]["grad_norm"] is None


@pytest.mark.parametrize("rule", ["off", "stop", "skip"])
def test_a_spike_does_what_the_recipe_says(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: one bad batch throws weeks of training off its course."""
    monkeypatch.setattr(guards, "WINDOW", 3)
    monkeypatch.setattr(guards, "SIGMAS", -100.0)  # every loss is one
    training = Training(task(tmp_path, on_spike=rule, **STEPS))
    if rule == "stop":
        with pytest.raises(Diverged, match="step 4 lies more than 6 σ"):
            training.run()
        return
    training.run()
    assert training.state.skipped == ([4, 5] if rule == "skip" else [])


def test_a_spike_is_judged_by_many_steps() -> None:
    """Lost otherwise: the first steps, whose losses fall, are all spikes."""
    calm = [1.0, 1.1] * 64
    assert not is_spike(100.0, calm[:-1])
    assert is_spike(1.36, calm)
    assert not is_spike(1.34, calm)


@pytest.mark.parametrize("when", ["between", "within"])
def test_a_stop_saves_the_last_whole_step(when: str, tmp_path: Path) -> None:
    """Lost otherwise: everything since the last checkpoint is done again, each time the scheduler needs the node."""
    stop = StepStop()
    asked = task(tmp_path, steps=5, batch=2)
    training = Training(asked)
    gradient = training.gradient

    def asking(examples: Any, tally: Any) -> Any:
        if training.state.step == 2:
            stop.asked = Preempted
            if when == "within":  # as the alarm does where a step takes longer than the grace time allows
                raise Abandoned
        return gradient(examples, tally)

    training.gradient = asking  # type: ignore[method-assign]
    with pytest.raises(Preempted):
        training.run(stop)
    assert [path.name for path in checkpoint.saved(tmp_path)] == [f"checkpoint-{3 if when == 'between' else 2}"]
