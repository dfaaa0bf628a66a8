"""Trained weights in float32, whatever is computed in; written in the precision of the weights they began with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smx.models import BaseVLM, TrainableRunner

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Base:
    """The weights that a training begins with."""

    model: BaseVLM
    checkpoint: Path | None  # None: built from `seed`
    adapter: Path | None  # merged into them
    seed: int
    parts: Collection[str]  # that are trained

    def load(self, device: str, dtype: str) -> tuple[TrainableRunner, dict[str, nn.Parameter]]:
        """(a runner whose frozen weights are in `dtype`, its trained parameters by name, float32, nothing rounded).

        What it trains, and of how much, is added to the runner's `info`.
        """
        import torch

        runner = self._runner(self.model, device, dtype)
        runner.info |= runner.train_only(self.parts)
        trained = _trained(runner)
        exact = {}
        if dtype != "float32" and self.dtype() == torch.float32:
            exact = dict(self._on_cpu("float32").module().named_parameters())
        with torch.no_grad():
            for name, weight in trained.items():
                weight.data = (exact[name].to(device) if exact else weight).float()
        return runner, trained

    def write(self, runner: TrainableRunner, folder: Path, *, dtype: str, steps: int) -> None:
        """Save the trained model in the precision of the base, its frozen weights as they were there.

        `runner` computed in `dtype`, and is of no more use for training afterwards.
        """
        import torch

        base = self.dtype()
        name = str(base).removeprefix("torch.")
        with torch.no_grad():
            if dtype not in ("float32", name):  # frozen weights were rounded when they were loaded
                trained = _trained(runner)
                runner = self._on_cpu(name)
                runner.has_trained(steps)
                for key, weight in runner.module().named_parameters():
                    if key in trained:
                        weight.copy_(trained[key])
            for weight in runner.module().parameters():
                weight.data = weight.data.to(base)
        runner.save(folder)

    def dtype(self) -> torch.dtype:
        """What most weights of the checkpoint are in; float32 for a model that is built from a seed."""
        import torch
        from safetensors import safe_open

        found: Counter[str] = Counter()
        for file in sorted(self.checkpoint.glob("*.safetensors")) if self.checkpoint else ():
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a dict
                    tensor = weights.get_slice(name)
                    found[tensor.get_dtype()] += max(1, int(torch.tensor(tensor.get_shape()).prod()))
        names = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
        return names.get(found.most_common(1)[0][0], torch.float32) if found else torch.float32

    def _on_cpu(self, dtype: str) -> TrainableRunner:
        """In another precision; its attention is never run."""
        changes = {"attention": "sdpa"} if "attention" in type(self.model).model_fields else {}
        return self._runner(self.model.model_copy(update=changes), "cpu", dtype)

    def _runner(self, model: BaseVLM, device: str, dtype: str) -> TrainableRunner:
        runner = model.load(self.checkpoint, seed=self.seed, device=device, dtype=dtype)
        if self.adapter is not None:
            runner.adapt(self.adapter)
        assert isinstance(runner, TrainableRunner)  # where nothing can be trained, no run is planned
        return runner


def _trained(runner: TrainableRunner) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in runner.module().named_parameters() if weight.requires_grad}
