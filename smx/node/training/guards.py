"""What ends a training because its numbers are no good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

WINDOW = 128  # steps that a loss is compared with
SIGMAS = 6.0


class Diverged(Exception):
    """A loss or gradient norm was no finite number, or a spike where `on_spike` is stop."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details  # recorded with the failure: step, loss, gradient norm, the step's examples


def require_finite(step: int, loss: float, norm: float, examples: Sequence[str], kept: str) -> None:
    """`Diverged` where a step's loss or gradient norm is no number. `kept`: the last good checkpoint, in words."""
    bad = [f"{what} {value}" for what, value in (("loss", loss), ("gradient norm", norm)) if not math.isfinite(value)]
    if bad:
        raise diverged(step, loss, norm, examples, f"{' and '.join(bad)} at step {step}; {kept}")


def diverged(step: int, loss: float, norm: float, examples: Sequence[str], line: str) -> Diverged:
    """The error, with what is recorded of the step."""
    return Diverged(line, step=step, loss=loss, grad_norm=norm, examples=list(examples))


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Whether `loss` lies more than 6 σ above the last 128 steps; never before there are so many."""
    window = before[-WINDOW:]
    if len(window) < WINDOW:
        return False
    mean = math.fsum(window) / WINDOW
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in window) / WINDOW)
    return loss > mean + SIGMAS * deviation
