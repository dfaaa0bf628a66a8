"""The steps of a training."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.models import TrainableRunner
from smx.node.parallel import ahead
from smx.node.stopping import Abandoned, StepStop
from smx.node.training import checkpoint, guards
from smx.node.training.checkpoint import State
from smx.node.training.metrics import Metrics, peak_memory
from smx.node.training.objective import Example, Tally, answer_tokens, cut, on, share, weighted
from smx.node.training.optimizer import adamw, set_rates
from smx.node.training.order import order
from smx.node.training.ranks import Ranks
from smx.spec import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


class Hooks:
    """What a training tells of its course. Each method does nothing here."""

    def phase(self, name: str) -> None:
        """What is done from now on."""

    def step(self, number: int, took: float | None) -> None:
        """Step `number` begins; the one before took so many seconds."""

    def saved(self, state: State) -> None:
        """A checkpoint of this state is whole on disk."""


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how."""

    runner: TrainableRunner
    trained: Mapping[str, nn.Parameter]  # float32
    parts: Mapping[str, str]  # name of a trained parameter -> its part
    recipe: Recipe
    dtype: str  # to compute in
    seed: int
    steps: int
    ids: Sequence[str]  # of every example
    sizes: Sequence[int]  # examples of each scene
    read: Callable[[Sequence[int]], list[Example]]
    folder: Path  # for checkpoints
    about: Mapping[str, Any]  # what a checkpoint's manifest says, beside its step
    held: Callable[[], bool] = lambda: True  # whether `read` has all examples in memory


class Training:
    """One process's part in a training. `run` goes from the newest whole checkpoint to the last step."""

    def __init__(
        self, task: Task, ranks: Ranks | None = None, hooks: Hooks | None = None, metrics: Metrics | None = None
    ) -> None:
        self.task, self.ranks = task, ranks or Ranks()
        self.hooks, self.metrics = hooks or Hooks(), metrics or Metrics(None)
        self.module = task.runner.module()
        self.optimizer = adamw(self.module, task.trained, task.parts, task.recipe)
        self.state = State()
        self._order = order(task.sizes, task.steps * task.recipe.batch, task.seed)
        self._saved = time.monotonic()

    def resume(self) -> int:
        """Put the newest whole checkpoint in place, all ranks the same; its step."""
        path = None
        if self.ranks.rank == 0:
            self.task.folder.mkdir(parents=True, exist_ok=True)
            checkpoint.tidy(self.task.folder)
            path = checkpoint.newest(self.task.folder, lambda line: print(line, file=sys.stderr))  # noqa: T201
        [step] = self.ranks.totals([checkpoint.newest_step([path]) if path else 0])
        if step:
            path = self.task.folder / f"checkpoint-{int(step)}"
            self.state = checkpoint.load(path, self.task.trained, self.optimizer, self.task.about)
        self.task.runner.has_trained(self.state.step)
        return self.state.step

    def run(self, stop: StepStop | None = None) -> None:
        """Every step that is left. What `stop` was asked for is raised once a checkpoint is saved."""
        stop = stop or StepStop()
        took: float | None = None
        try:
            began = time.perf_counter()
            for step, examples in self._batches():
                waited = time.perf_counter() - began
                self.hooks.step(step, took)
                tally = self._agree(stop, examples)
                self._step(step, examples, tally, stop, (began, waited))
                stop.interruptible = False
                self._save_if_due()
                took, began = time.perf_counter() - began, time.perf_counter()
                stop.interruptible = True
                self.hooks.phase("read")
        except Abandoned:
            self._leave(stop)
        if stop.asked is not None and self.state.step < self.task.steps:
            self._leave(stop)

    def _batches(self) -> Iterator[tuple[int, list[Example]]]:
        """(step, its examples) of every step that is left, the next ones read ahead until all are held."""
        first, last = self.state.step + 1, self.task.steps
        if not self.task.held():
            for step, examples in ahead(range(first, last + 1), self._read):
                if isinstance(examples, Exception):
                    raise examples
                yield step, examples
                first = step + 1
                if self.task.held():
                    break
        for step in range(first, last + 1):
            yield step, self._read(step)

    def _read(self, step: int) -> list[Example]:
        return self.task.read(share(self._numbers(step), self.ranks.rank, self.ranks.size))

    def _numbers(self, step: int) -> Sequence[int]:
        batch = self.task.recipe.batch
        return self._order[(step - 1) * batch : step * batch]

    def _agree(self, stop: StepStop, examples: Sequence[Example]) -> Tally:
        """What this step is about, over all ranks; where any was asked to stop, all do."""
        self.hooks.phase("reduce")
        counts = [sum(map(answer_tokens, examples)), sum(len(example["labels"]) for example in examples)]
        asked, answers, tokens = self.ranks.totals([stop.asked is not None, *counts])
        if asked:
            self._leave(stop)
        return Tally(self.task.recipe.batch, int(answers), int(tokens))

    def _step(
        self, step: int, examples: Sequence[Example], tally: Tally, stop: StepStop, clock: tuple[float, float]
    ) -> None:
        import torch

        recipe = self.task.recipe
        # Whatever is random in a step depends on the step alone, not on what was drawn before a stop.
        torch.manual_seed((self.task.seed * 1_000_003 + step) * 4096 + self.ranks.rank)
        own = self.gradient(examples, tally)
        self.hooks.phase("reduce")
        self.ranks.sum_gradients(list(self.task.trained.values()))
        [loss] = self.ranks.totals([float(own)])
        norm = float(torch.nn.utils.clip_grad_norm_(self.task.trained.values(), recipe.clip))
        stop.interruptible = False
        self.hooks.phase("update")
        ids = [self.task.ids[number] for number in self._numbers(step)]
        rates = set_rates(self.optimizer, recipe, step, self.task.steps)
        began, waited = clock
        line = {
            **{"step": step, "loss": loss, "lr": rates, "grad_norm": norm, "examples": tally.examples},
            **{"answer_tokens": tally.answer_tokens, "tokens": tally.tokens},
        }
        skipped = self._guarded(step, loss, norm, ids, line)
        if skipped:
            self.state.skipped.append(step)
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step = step
        self.state.losses.append(loss)
        seconds = round(time.perf_counter() - began, 6)
        line |= {"seconds": seconds, "waited": round(waited, 6), "memory": peak_memory(str(self.ranks.device))}
        self.metrics.add(line | ({"skipped": True} if skipped else {}))

    def _guarded(self, step: int, loss: float, norm: float, ids: Sequence[str], line: dict[str, Any]) -> bool:
        """Whether the step is to change nothing. `Diverged` where it ends the training."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.metrics.add(line)
        guards.require_finite(step, loss, norm, ids, self._kept())
        on_spike = self.task.recipe.on_spike
        if on_spike == "off" or not guards.is_spike(loss, self.state.unspiked()):
            return False
        if on_spike == "stop":
            self.metrics.add(line)
            words = f"loss {loss:.4g} at step {step} lies more than 6 σ above the last {guards.WINDOW} steps"
            raise guards.diverged(step, loss, norm, ids, f"{words}; {self._kept()}")
        return True

    def gradient(self, examples: Sequence[Example], tally: Tally) -> Tensor:
        """Add this rank's part of the step's gradient to the parameters; its part of the loss."""
        import torch

        recipe, device = self.task.recipe, str(self.ranks.device)
        total = torch.zeros((), device=self.ranks.device)
        for part in cut(examples, recipe.micro, recipe.micro_tokens):
            self.hooks.phase("forward")
            batch = self.task.runner.collate([weighted(example, recipe.loss, tally) for example in part])
            with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=self.task.dtype == "bfloat16"):
                loss = self.module(**on(self.ranks.device, batch)).loss
            self.hooks.phase("backward")
            loss.backward()
            total += loss.detach()
        return total

    def _save_if_due(self) -> None:
        recipe, step = self.task.recipe, self.state.step
        late = time.monotonic() - self._saved > 60 * recipe.save_minutes
        if step == self.task.steps or step % recipe.save_every == 0 or late:
            self._save()

    def _save(self) -> None:
        """By the first rank alone: all have the same."""
        if self.ranks.rank:
            return
        self.hooks.phase("save")
        checkpoint.save(self.task.folder, self.state, self.task.trained, self.optimizer, self.task.about)
        self.hooks.saved(self.state)
        checkpoint.prune(self.task.folder, self.state.step)
        self._saved = time.monotonic()

    def _leave(self, stop: StepStop) -> None:
        """Save what the last whole step left, and stop as asked."""
        stop.interruptible = False
        newest = checkpoint.newest_step(checkpoint.saved(self.task.folder))
        if self.state.step and self.state.step != newest:
            self._save()
        raise stop.asked if stop.asked is not None else stop.otherwise

    def _kept(self) -> str:
        """The last good checkpoint, in words."""
        paths = checkpoint.saved(self.task.folder)
        if not paths:
            return "no checkpoint was saved before it: a lower learning rate, or a longer warm-up?"
        return f"the last good checkpoint is training/{paths[-1].name}"
