"""What is said of numbers that are none."""

from __future__ import annotations


def not_finite(steps: int) -> Exception:
    """The error of logits that are no numbers, after `steps` tokens."""
    return FloatingPointError(f"the model's logits are not finite (NaN or inf) after {steps} tokens of the answer")
