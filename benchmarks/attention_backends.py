"""Claim: with and without poses every attention backend that runs here computes what sdpa computes.

The tiny model, random weights, 8 frames: the largest difference of the logits to sdpa's from the first token of
video on, over their standard deviation, for each backend and kind of pose. On a GPU in bfloat16, else on the CPU in
float32. A backend that cannot run here is listed with the reason. `ratio`: the largest difference over its budget.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads

import contextlib
from typing import Any

import numpy as np
import torch
from _record import finish

from smx.errors import UserError
from smx.models import SceneInput
from smx.models._vlm.runner import QwenRunner
from smx.models.tiny import Model

KINDS = ("none", "prope", "cape", "geo_alibi")
BACKENDS = ("eager", "flex", "flash_attention_2")


def main() -> None:
    """Compare, print a table, finish with one line of JSON."""
    device, dtype = ("cuda", "bfloat16") if torch.cuda.is_available() else ("cpu", "float32")
    budget = 2e-2 if dtype == "bfloat16" else 2e-5
    found: dict[str, dict[str, float | str]] = {}
    for backend in BACKENDS:
        found[backend] = {kind: difference(backend, kind, device, dtype) for kind in KINDS}
        print(backend + "".join(f"\n  {kind:<10} {value}" for kind, value in found[backend].items()))
    numbers = [value for row in found.values() for value in row.values() if not isinstance(value, str)]
    finish(
        {
            "benchmark": "attention_backends",
            "ratio": round(max(numbers) / budget, 3),
            "budget": 1,
            "largest_difference_allowed": budget,
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "dtype": dtype,
            "difference_to_sdpa": found,
            "met": max(numbers) <= budget,
        }
    )


@torch.inference_mode()
def difference(backend: str, kind: str, device: str, dtype: str) -> float | str:
    """Largest difference of logits over their deviation; why not, where it cannot run."""
    try:
        ours, reference = (logits(each, kind, device, dtype) for each in (backend, "sdpa"))
    except UserError as error:
        return error.message
    return float(f"{(ours - reference).abs().max() / reference.std():.2g}")


def logits(backend: str, kind: str, device: str, dtype: str) -> torch.Tensor:
    """From the first token of video on, [L, vocabulary] float32."""
    options: dict[str, Any] = {"attention": backend, "pose": {"kind": kind}}
    runner = Model.parse(options, "model tiny").load(None, seed=0, device=device, dtype=dtype)
    assert isinstance(runner, QwenRunner)
    clip = runner.clip(scene())
    ids, where = torch.tensor([clip.ids]), torch.from_numpy(clip.positions)[:, None]
    video = {key: value.to(device) for key, value in clip.video.items()}
    hooks = runner.model.hooks
    with hooks or contextlib.nullcontext():
        found = runner.model.logits(ids.to(device), where.to(device), **video)[0].float()
    return found[clip.ids.index(runner.prompts.video) :]


def scene() -> SceneInput:
    """Noise, seen by cameras on a circle."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 3, 8)
    w2c = np.tile(np.eye(4), (8, 1, 1))
    w2c[:, 0, 0] = w2c[:, 2, 2] = np.cos(angles)
    w2c[:, 0, 2] = np.sin(angles)
    w2c[:, 2, 0] = -np.sin(angles)
    w2c[:, :3, 3] = rng.normal(size=(8, 3))
    K = np.tile(np.array([[210.0, 0, 158], [0, 220, 121], [0, 0, 1]]), (8, 1, 1))
    frames = rng.integers(0, 256, (8, 240, 320, 3), dtype=np.uint8)
    return SceneInput("noise", frames, np.arange(8) * 0.5, w2c, K)


if __name__ == "__main__":
    main()
