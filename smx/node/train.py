"""train: fine-tune a variant. Each item is a part of the steps, recorded once a checkpoint behind it is whole on disk.

A run that was stopped goes on from its newest whole checkpoint and ends with the weights of an undisturbed one.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.models import BaseVLM, TrainableRunner
from smx.node.eval import device
from smx.node.parallel import memory
from smx.node.shard import Shard
from smx.node.stopping import StepStop
from smx.node.training import checkpoint, data
from smx.node.training.checkpoint import State
from smx.node.training.loop import Hooks, Task, Training
from smx.node.training.metrics import Metrics
from smx.node.training.precision import Base
from smx.node.training.ranks import Ranks
from smx.node.training.watchdog import Watchdog
from smx.runfolder import METRICS
from smx.spec import TrainSpec, Variant, part_end, planned_steps

if TYPE_CHECKING:
    from torch import nn

_SHARE = 4  # of this task's memory, one part in so many holds examples that were read


def work(shard: Shard) -> None:
    """Train to the last step, recording each part of the steps."""
    if not shard.items:
        return
    spec = shard.spec
    assert isinstance(spec, TrainSpec)
    stop = StepStop()
    rank = int(os.environ.get("RANK", "0")) if shard.ranks > 1 else 0
    with stop.listening(), Watchdog(shard, rank, spec.recipe, stop) as watchdog:
        _train(shard, spec, stop, rank, watchdog)


def _train(shard: Shard, spec: TrainSpec, stop: StepStop, rank: int, watchdog: Watchdog) -> None:
    model: BaseVLM = Variant.model_validate(spec.variant).options()
    model = model.beside(shard.parts(model))
    run = shard.attempt.run.path
    lesson = data.find(shard, model)
    data.fix(lesson, run, run.name, leads=shard.leads)
    on = device(model)
    if shard.ranks > 1 and on == "cuda":
        import torch

        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    ranks = Ranks(rank, shard.ranks, on)
    ranks.join(2 * max(spec.recipe.start_within, spec.recipe.stalled_after))
    base = Base(model, shard.path("checkpoint"), shard.path("adapter"), spec.seed, spec.recipe.train)
    runner, trained = base.load(on, spec.dtype)
    shard.note({**runner.info, "training_scenes": lesson.coverage, "data": lesson.digest})
    read = data.Reader(lesson, data.loader(shard, model, runner), memory() // _SHARE)
    task = Task(
        runner=runner,
        trained=trained,
        parts=_parts(runner, trained),
        recipe=spec.recipe,
        dtype=spec.dtype,
        seed=spec.seed,
        steps=planned_steps(spec.recipe, len(lesson.ids)),
        ids=lesson.ids,
        sizes=[len(scene.questions) for scene in lesson.scenes],
        read=read,
        held=read.complete,
        folder=run / "training",
        about=_about(shard, spec, model, lesson.digest),
    )
    metrics = Metrics(run / METRICS if shard.leads else None)
    save = partial(_publish, shard, runner, base, spec)
    training = Training(task, ranks, _Recorder(shard, watchdog, task.steps, save), metrics)
    training.resume()
    if shard.leads:
        _require_space(task.folder, runner.module(), trained, base)
    stop.stepping = stop.interruptible = True
    try:
        training.run(stop)
    finally:
        stop.interruptible = False
        metrics.close()
    if shard.leads and shard.items and training.state.step == task.steps:
        training.hooks.saved(training.state)  # what an attempt that was killed right after its last step left open
    ranks.wait()
    ranks.leave()


def _parts(runner: TrainableRunner, trained: dict[str, nn.Parameter]) -> dict[str, str]:
    """Name of each trained parameter -> its part."""
    part_of = {id(weight): part for part, weights in runner.parts().items() for weight in weights}
    return {name: part_of[id(weight)] for name, weight in trained.items()}


class _Recorder(Hooks):
    """Turns checkpoints into recorded items, and tells the watchdog."""

    def __init__(self, shard: Shard, watchdog: Watchdog, steps: int, publish: Any) -> None:
        self._shard, self._watchdog, self._steps, self._publish = shard, watchdog, steps, publish
        self._open = [item.id for item in shard.items]
        self._begun: dict[str, float] = {}

    def phase(self, name: str) -> None:
        self._watchdog.phase(name)

    def step(self, number: int, took: float | None) -> None:
        self._watchdog.step(number, took)
        item = next((each for each in self._open if part_end(each, self._steps) >= number), None)
        if item is not None and item not in self._begun:
            self._begun[item] = self._shard.begin(item)

    def saved(self, state: State) -> None:
        if state.step == self._steps and self._open:
            self._publish(state.step)
        while self._open and part_end(self._open[0], self._steps) <= state.step:
            item = self._open.pop(0)
            last = part_end(item, self._steps)
            first = _part_begin(item, self._steps)
            began = self._begun[item] if item in self._begun else self._shard.begin(item)
            self._shard.succeed(item, {"steps": [first, last], "losses": state.losses[first - 1 : last]}, began)


def _part_begin(item: str, steps: int) -> int:
    """The first step of a part."""
    name, number, of, count = item.split("-")
    return part_end(f"{name}-{int(number) - 1}-{of}-{count}", steps) + 1


def _publish(shard: Shard, runner: TrainableRunner, base: Base, spec: TrainSpec, steps: int) -> None:
    output = shard.path("output")
    assert output is not None

    def write(folder: Path) -> None:
        base.write(runner, folder, dtype=spec.dtype, steps=steps)

    about = {"kind": "weights", "steps": steps, "fingerprint": shard.fingerprint}
    checkpoint.publish(output, write, about)


def _about(shard: Shard, spec: TrainSpec, model: BaseVLM, digest: str) -> dict[str, Any]:
    """What a checkpoint says of where it comes from."""
    plan, record = shard.attempt.plan, shard.attempt.run.spec
    return {
        **{"kind": "training", "run": shard.attempt.run.path.name, "fingerprint": shard.fingerprint},
        **{"variant": spec.variant, "positions": model.positions(), "sample_set": record["inputs"].get("sample_set")},
        **{"data": digest, "ranks": shard.ranks, "attempt": shard.attempt.number},
        **{key: plan["provenance"].get(key) for key in ("packages", "git")},
    }


def _require_space(folder: Path, module: nn.Module, trained: dict[str, nn.Parameter], base: Base) -> None:
    size = base.dtype().itemsize
    final = sum(weight.numel() for weight in module.parameters()) * size
    checkpoint.require_space(folder, 12 * sum(weight.numel() for weight in trained.values()), final)
