"""A training of the tiny model on noise, without a workspace: what the loop needs and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smx.models import Query, SceneInput, TrainableRunner
from smx.models.tiny import Model as Tiny
from smx.node.training.loop import Task, Training
from smx.node.training.precision import Base
from smx.spec import Recipe

PARTS = {"llm": 1e-3, "merger": 1e-3, "vision": 1e-3}
ANSWERS = ("3", "about two hundred and forty", "A", "the sofa is behind the table", "7.5", "yes")
ABOUT = {"fingerprint": "f" * 64, "variant": {"base": "tiny"}, "data": "d" * 64}


def task(folder: Path, *, dtype: str = "float32", steps: int = 4, scenes: int = 2, **recipe: Any) -> Task:
    """Scenes of noise with three questions each; answers differ in length."""
    torch.set_num_threads(1)
    full = Recipe(**{"batch": 4, "steps": steps, "train": PARTS, "weight_decay": 0.1, **recipe})
    base = Base(Tiny(), None, None, 0, full.train)
    runner, trained = base.load("cpu", dtype)
    examples = [example for number in range(scenes) for example in _examples(runner, number)]
    part_of = {id(weight): part for part, weights in runner.parts().items() for weight in weights}
    return Task(
        runner=runner,
        trained=trained,
        parts={name: part_of[id(weight)] for name, weight in trained.items()},
        recipe=full,
        dtype=dtype,
        seed=0,
        steps=steps,
        ids=[f"e{number}" for number in range(len(examples))],
        sizes=[3] * scenes,
        read=lambda numbers: [examples[number] for number in numbers],
        folder=folder,
        about=ABOUT,
    )


def losses(folder: Path, **options: Any) -> list[float]:
    """Of every step of a whole training."""
    training = Training(task(folder, **options))
    training.resume()
    training.run()
    return training.state.losses


def weights(trained: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A copy of them."""
    return {name: weight.detach().clone() for name, weight in trained.items()}


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    """To the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _examples(runner: TrainableRunner, number: int) -> Sequence[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    scene = SceneInput(f"room{number}", frames, np.arange(2) * 0.5)
    answers = ANSWERS[3 * (number % 2) : 3 * (number % 2) + 3]
    return [runner.example(scene, Query(str(k), f"Question {k}?", "n"), answer) for k, answer in enumerate(answers)]
