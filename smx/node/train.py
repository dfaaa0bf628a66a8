"""train: fine-tune a variant with transformers' Trainer; each item is one stretch of steps up to a checkpoint.

A stretch counts once its checkpoint (weights, optimizer, schedule, random states) is whole on disk. A killed
run goes on from the last one and ends with the weights an undisturbed run ends with.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from smx import plugins
from smx.benches import BaseBench
from smx.errors import SceneError
from smx.models import BaseVLM, TrainableRunner
from smx.node.eval import device, load_scene, made_by, query
from smx.node.shard import Shard
from smx.spec import Recipe, TrainSpec, Variant, dataset_label
from smx.workspace import open_weights

KEEP = 2  # checkpoints kept while training: the newest, and one before it


class Diverged(Exception):
    """A loss or gradient norm was no finite number: every weight after that step would be none."""


def work(shard: Shard) -> None:
    """Train to the last step of the shard's items, recording each stretch of steps."""
    spec = shard.spec
    assert isinstance(spec, TrainSpec)
    if not shard.items:
        return
    model: BaseVLM = Variant.model_validate(spec.variant).options()
    if shard.ranks > 1 and device(model) == "cuda":
        import torch

        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    runner = model.load(shard.path("checkpoint"), seed=spec.seed, device=device(model), dtype=spec.dtype)
    if (adapter := shard.path("adapter")) is not None:
        runner.adapt(adapter)
    assert isinstance(runner, TrainableRunner)  # where nothing can be trained, no run is planned
    scenes, wanted = _examples(shard, model, runner)
    counts = runner.train_only(spec.recipe.train)
    shard.note({**runner.info, **counts, "training_scenes": f"{len(scenes)} of {wanted}"})
    folder = shard.attempt.run.path / "training"
    first = _span(shard.items[0].id)[0]
    resume = _last_checkpoint(folder, first - 1, clean=shard.leads)
    trainer = _trainer(shard, runner, scenes, folder, cpu=device(model) == "cpu")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def _span(item: str) -> tuple[int, int]:
    """`steps-000001-000050` -> (1, 50)."""
    _, first, last = item.split("-")
    return int(first), int(last)


def _examples(shard: Shard, model: BaseVLM, runner: TrainableRunner) -> tuple[list[list[Any]], int]:
    """(training examples, one list for each scene that has a sample; how many scenes there should be).

    A scene's frames are read once, then dropped.
    """
    spec = shard.spec
    assert isinstance(spec, TrainSpec)
    found: list[list[Any]] = []
    wanted = 0
    for name in spec.data:
        bench: BaseBench = plugins.load("benches", name).parse(spec.data_options[name], f"bench {name}")
        label = dataset_label(bench.dataset, bench.training_dataset_options())
        made = made_by(shard.path(f"gen:{name}"))
        for scene, group in groupby(bench.training(shard.path(f"bench:{name}")), key=lambda q: q.scene):
            wanted += 1
            try:
                view = load_scene(shard, label, scene, cameras=model.wants_cameras(), made=made)
            except SceneError:
                continue  # gen recorded why; the scene's questions are left out
            found.append([runner.example(view, query(bench, q), q.truth) for q in group])
    if not found:
        raise SceneError("no training question has a sample: gen failed on every scene")
    return found, wanted


class _Order:
    """The whole training as one list of examples, decided by the seed alone: what the Trainer's loader reads.

    Every pass over the data comes in another order. A scene's examples stay together by fours (by half a batch
    where that is less), so that a model can compute the scene's video once for all of them.
    """

    def __init__(self, scenes: Sequence[Sequence[Any]], *, length: int, batch: int, seed: int) -> None:
        self._examples = [example for scene in scenes for example in scene]
        ends = np.cumsum([len(scene) for scene in scenes])
        numbers = np.split(np.arange(len(self._examples)), ends[:-1])
        rng, together = np.random.default_rng(seed), min(4, max(1, batch // 2))
        order: list[int] = []
        while len(order) < length:
            mixed = [rng.permutation(scene) for scene in numbers]
            runs = [scene[k : k + together] for scene in mixed for k in range(0, len(scene), together)]
            order += [int(number) for k in rng.permutation(len(runs)) for number in runs[k]]
        self._order = order[:length]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Any:
        return self._examples[self._order[index]]


def _last_checkpoint(folder: Path, step: int, *, clean: bool) -> Path | None:
    """The checkpoint at `step`, after removing later ones (`clean`): a kill may have left those half written."""
    for path in folder.glob("checkpoint-*"):
        if clean and int(path.name.removeprefix("checkpoint-")) > step:
            shutil.rmtree(path)
    resume = folder / f"checkpoint-{step}"
    if step and not resume.is_dir():
        raise FileNotFoundError(f"{resume} is gone, so training cannot go on; remove the run folder to start again")
    return resume if step else None


def _trainer(shard: Shard, runner: TrainableRunner, scenes: list[list[Any]], folder: Path, *, cpu: bool) -> Any:
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    spec = shard.spec
    assert isinstance(spec, TrainSpec)
    recipe = spec.recipe
    per_step = recipe.batch * recipe.accumulate
    spans = {_span(item.id)[1]: item.id for item in shard.items}
    first = min(_span(item.id)[0] for item in shard.items)
    steps = max(spans)  # as planned: scenes that gen could not make change what is seen, not how often
    clock: dict[str, float] = {}
    losses: list[float] = []

    class Record(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
        """Turns checkpoints into recorded items."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not clock:
                ahead = min(end for end in spans if end > state.global_step)
                clock["started"] = shard.begin(spans[ahead])

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            for name, words in (("loss", "loss"), ("grad_norm", "gradient norm")):
                if name in logs and not math.isfinite(logs[name]):
                    raise Diverged(
                        f"the {words} of step {state.global_step} is {float(logs[name])}; {_left(folder, first - 1)}"
                    )
            if "loss" in logs:
                losses.append(round(float(logs["loss"]), 6))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == steps:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _together(shard)  # every rank writes its random state into the checkpoint
            if state.global_step == steps and shard.leads:
                _publish(runner, shard.path("output"))
            shard.succeed(spans[state.global_step], {"losses": list(losses)}, clock["started"])
            losses.clear()
            clock.clear()
            if shard.leads:
                open_weights(folder / f"checkpoint-{state.global_step}")  # a colleague's retry goes on from here
                _prune(folder)

    trainer = Trainer(
        model=runner.module(),
        args=_arguments(TrainingArguments, spec, folder, steps, cpu, shard.ranks),
        train_dataset=_Order(scenes, length=steps * per_step, batch=recipe.batch, seed=spec.seed),
        data_collator=runner.collate,
        callbacks=[Record()],
        optimizers=(_optimizer(runner, recipe), None),
    )
    trainer.remove_callback(PrinterCallback)  # losses are recorded; stdout is the command's own
    return trainer


def _optimizer(runner: TrainableRunner, recipe: Recipe) -> Any:
    """AdamW, each part at its rate; vectors (norms, biases) do not decay."""
    from torch.optim import AdamW

    parts = runner.parts()
    groups = [
        {"params": weights, "lr": rate, "weight_decay": recipe.weight_decay * decays}
        for part, rate in recipe.train.items()
        for decays in (True, False)
        if (weights := [weight for weight in parts.get(part, []) if (weight.ndim > 1) is decays])
    ]
    return AdamW(groups)


def _left(folder: Path, before: int) -> str:
    """The last checkpoint of finite weights, in words; `before`: the step that this attempt began behind."""
    saved = [int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*")]
    last = max(saved, default=before)
    if not last:
        return "no checkpoint was saved before it: a lower learning rate, or warm-up?"
    return f"the last checkpoint with finite weights is training/checkpoint-{last}"


def _together(shard: Shard) -> None:
    """Wait until every rank is here."""
    if shard.ranks > 1:
        import torch.distributed

        torch.distributed.barrier()


def _arguments(cls: Callable[..., Any], spec: TrainSpec, folder: Path, steps: int, cpu: bool, ranks: int) -> Any:
    recipe: Recipe = spec.recipe
    return cls(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate // ranks,  # each rank takes its share of a step's passes
        learning_rate=recipe.lr,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=round(recipe.warmup * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip,
        save_strategy="steps",
        save_steps=recipe.save_every,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=spec.seed,
        train_sampling_strategy="sequential",  # the order is decided by `_Order`
        use_cpu=cpu,
        bf16=spec.dtype == "bfloat16",
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )


def _publish(runner: TrainableRunner, output: Path | None) -> None:
    """The finished checkpoint, whole or not at all."""
    assert output is not None
    temporary = output.with_name(f".{output.name}.{time.time_ns()}.tmp")
    for old in output.parent.glob(f".{output.name}.*.tmp"):
        shutil.rmtree(old)
    runner.save(temporary)
    if output.exists():  # published by an attempt that was killed before it could record the last item
        shutil.rmtree(output)
    temporary.replace(output)


def _prune(folder: Path) -> None:
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.removeprefix("checkpoint-")))
    for path in found[:-KEEP]:
        shutil.rmtree(path)
