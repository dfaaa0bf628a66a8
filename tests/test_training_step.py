"""A step of training: its objective however it is cut, its precision and rates; transformers' Trainer as oracle."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import losses, task, weights
from torch import Tensor

from smx.node.training.loop import Training
from smx.node.training.objective import Tally, answer_tokens, share
from smx.node.training.optimizer import rate_factor
from smx.spec import Recipe

EIGHT: dict[str, Any] = {"batch": 8, "scenes": 4}


def tally(examples: list[Any]) -> Tally:
    return Tally(len(examples), sum(map(answer_tokens, examples)), 0)


def first_gradient(folder: Path, ranks: int = 1, **recipe: Any) -> tuple[float, Tensor]:
    """(loss, gradient of all trained weights) of the first step, cut as `recipe` and `ranks` say."""
    training = Training(task(folder, **EIGHT, **recipe))
    numbers = training._numbers(1)
    everything = tally(training.task.read(numbers))
    parts = [share(numbers, rank, ranks) for rank in range(ranks)]
    loss = sum(float(training.gradient(training.task.read(part), everything)) for part in parts)
    grads = [weight.grad for weight in training.task.trained.values() if weight.grad is not None]
    return loss, torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("objective", ["example", "token"])
def test_how_a_step_is_cut_changes_neither_its_loss_nor_its_gradient(objective: str, tmp_path: Path) -> None:
    """Lost otherwise: the same recipe learns something else on a smaller GPU, or on two."""
    loss, whole = first_gradient(tmp_path, micro=8, loss=objective)
    cuts: list[dict[str, Any]] = [{"micro": 4}, {"micro": 2}, {"micro": 1}, {"micro_tokens": 100}]
    for cut in [*cuts, {"micro": 2, "ranks": 2}]:
        other_loss, other = first_gradient(tmp_path, loss=objective, **cut)
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert float((other - whole).norm() / whole.norm()) < 1e-5


def test_each_objective_is_the_mean_it_says(tmp_path: Path) -> None:
    """Lost otherwise: long answers outweigh short ones, or the other way round, and no number shows it."""
    training = Training(task(tmp_path, **EIGHT))
    examples = training.task.read(training._numbers(1))
    alone = []
    with torch.no_grad():
        for example in examples:
            logits = training.module.logits(  # type: ignore[operator]
                example["input_ids"][None],
                example["position_ids"][:, None],
                pixel_values=example["pixel_values"],
                grid_thw=example["grid_thw"],
            )[0]
            labels = example["labels"]
            chosen = [(k, int(label)) for k, label in enumerate(labels) if label != -100]
            alone.append([-float(logits[k - 1].log_softmax(-1)[label]) for k, label in chosen])
    means = {
        "example": sum(sum(each) / len(each) for each in alone) / len(alone),
        "token": sum(map(sum, alone)) / sum(map(len, alone)),
    }
    assert means["example"] != pytest.approx(means["token"], rel=1e-3)
    for objective, expected in means.items():
        loss, _ = first_gradient(tmp_path, loss=objective)
        assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", ["example", "token"])
def test_curves_of_different_cuts_stay_together(objective: str, tmp_path: Path) -> None:
    """Lost otherwise: two attempts of one run, on other machines, are two trainings."""
    whole = losses(tmp_path / "a", steps=20, micro=4, loss=objective)
    assert losses(tmp_path / "b", steps=20, micro=1, loss=objective) == pytest.approx(whole, abs=1e-4)
    assert whole[-1] < whole[0]


def test_the_trainer_of_transformers_takes_the_same_steps(tmp_path: Path) -> None:
    """Lost otherwise: which weights decay, the schedule or the clipping is subtly not what papers mean by AdamW."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    ours = losses(tmp_path / "ours", steps=20, micro=1, warmup=0.1)
    other = Training(task(tmp_path / "theirs", steps=20))
    order = [number for step in range(1, 21) for number in other._numbers(step)]
    seen: list[float] = []

    class Oracle(Trainer):  # type: ignore[misc]  # transformers is not typed
        def training_step(self, *arguments: Any, **options: Any) -> Tensor:
            loss: Tensor = super().training_step(*arguments, **options)
            seen.append(float(loss))
            return loss

    arguments = TrainingArguments(
        **{"output_dir": str(tmp_path), "max_steps": 20, "per_device_train_batch_size": 1, "use_cpu": True},
        **{"gradient_accumulation_steps": 4, "learning_rate": 1e-3, "weight_decay": 0.1, "warmup_steps": 2},
        **{"lr_scheduler_type": "cosine", "max_grad_norm": 1.0, "save_strategy": "no", "report_to": []},
        **{"remove_unused_columns": False, "label_names": ["labels"], "disable_tqdm": True, "log_level": "error"},
        **{"train_sampling_strategy": "sequential", "dataloader_pin_memory": False},
    )
    trainer = Oracle(
        model=other.module,
        args=arguments,
        train_dataset=other.task.read(order),
        data_collator=other.task.runner.collate,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    each = iter(seen)
    theirs = [sum(islice(each, 4)) for _ in range(20)]
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_in_bfloat16_the_weights_move_as_in_float32(tmp_path: Path) -> None:
    """Lost otherwise: at the published rate 98 of 100 weights never change, and the run says done."""
    recipe: dict[str, Any] = {"steps": 40, "batch": 2, "train": {"llm": 7e-6, "merger": 7e-6, "vision": 7e-6}}
    exact = losses(tmp_path / "exact", **recipe)
    training = Training(task(tmp_path / "half", dtype="bfloat16", **recipe))
    before = weights(training.task.trained)
    training.run()
    after = training.task.trained
    assert training.state.losses[-1] == pytest.approx(exact[-1], abs=0.02)
    changed = sum(int((after[name] != before[name]).sum()) for name in before)
    assert changed >= 0.99 * sum(weight.numel() for weight in before.values())
    for file in ("weights", "moments"):
        kept = load_file(tmp_path / "half" / "checkpoint-40" / f"{file}.safetensors")
        assert {tensor.dtype for tensor in kept.values()} == {torch.float32}


def test_only_named_parts_change_and_each_has_its_rate(tmp_path: Path) -> None:
    """Lost otherwise: a frozen encoder drifts, or the connector learns at the language model's rate."""
    training = Training(task(tmp_path, train={"llm": 1e-3, "merger": 1e-4}, warmup=0.5, schedule="linear"))
    module = training.module
    before = weights(dict(module.named_parameters()))
    rates = []
    step = training.metrics.add
    training.metrics.add = lambda line: (rates.append(line["lr"]), step(line))[1]  # type: ignore[method-assign,func-returns-value]
    training.run()
    changed = {name for name, weight in module.named_parameters() if not torch.equal(weight, before[name])}
    vision = {name for name in before if ".visual." in name and ".merger." not in name}
    assert changed == before.keys() - vision
    factors = [0.0, 0.5, 1.0, 0.5]
    assert rates == [{"llm": pytest.approx(1e-3 * f), "merger": pytest.approx(1e-4 * f)} for f in factors]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_rates_are_those_of_transformers(schedule: str) -> None:
    """Lost otherwise: a paper's schedule is followed in name only."""
    from transformers import get_scheduler

    recipe = Recipe(schedule=schedule, warmup=0.12)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=6, num_training_steps=50)
    for step in range(1, 51):
        assert rate_factor(recipe, step, 50) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
