"""The two published readings of a VSI-Bench answer, to the last digit. Pure functions of text and ground truth.

Both turn a relative error into mean relative accuracy (MRA): the share of ten thresholds θ = 0.5 … 0.95 whose
tolerance 1 − θ the error stays within. They differ in how the answer is read, in `<=` or `<`, and in precision,
which is enough to move 44 of the 620 pairs (0..30, 1..20).
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

from smx.benches import Verdict

if TYPE_CHECKING:
    import numpy as np


def official(text: str, truth: str, *, numerical: bool) -> Verdict:
    """Read and score as thinking-in-space does (lmms_eval/tasks/vsibench/utils.py at e6a72f3), in float64.

    The answer is what stands before the first space, without full stops at its end. A letter is compared
    without case; a number scores `|p − t| / t <= 1 − θ`, anything else 0.
    """
    word = text.split(" ")[0].rstrip(".").strip()
    if not numerical:
        return Verdict(_letter(word), float(word.lower() == truth.lower()))
    target = positive(truth)
    value = _number(word)
    if value is None:
        return Verdict(None, 0.0)
    return Verdict(word, float((abs(value - target) / target <= _tolerances64()).mean()))


def spatial_mllm(text: str, truth: str, *, numerical: bool) -> Verdict:
    """Read and score as Spatial-MLLM v1.1 does (src/evaluation/vsibench/dataset_utils.py at 9fc4738), in float32.

    The answer is all of the last `<answer>…</answer>`, or all of the text: whitespace collapsed, full stops at
    the end dropped, lower case. It must be the letter and nothing else ("a. chair" is wrong), or a number and
    nothing else (commas are removed), which scores `|p − t| / (|t| + 1e-8) < 1 − θ`. The score is the share of
    thresholds in float64: 0.1, where the original reports float32's 0.10000000149.
    """
    answer = _clean(text)
    if not numerical:
        return Verdict(_letter(answer), float(answer == _clean(truth)))
    target = positive(truth)
    number = answer.replace(",", "")
    value = _number(number)
    if value is None:
        return Verdict(None, 0.0)
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # an answer beyond float32 is inf and scores 0
        p, t = np.float32(value), np.float32(target)
        error = np.abs(p - t) / (np.abs(t) + np.float32(1e-8))
        return Verdict(number, float((error < _tolerances32()).mean()))


def positive(truth: str) -> float:
    """A numerical ground truth as float. `ValueError` unless it is finite and above zero.

    The relative error divides by it: the official code stops at zero, and a negative one would give every
    answer full marks.
    """
    value = _number(truth)
    if value is None or value <= 0:
        raise ValueError(f"ground truth {truth!r} is no positive number")
    return value


@cache
def _tolerances64() -> np.ndarray:
    """1 − θ in float64. The θ must come from linspace: typed as 0.6, 0.7 … they change scores (9 for 10)."""
    import numpy as np

    tolerances: np.ndarray = 1 - np.linspace(0.5, 0.95, 10)
    return tolerances


@cache
def _tolerances32() -> np.ndarray:
    """1 − θ subtracted in float32, equal bit by bit to `1 - torch.arange(0.5, 0.975, 0.05)`."""
    import numpy as np

    tolerances: np.ndarray = np.float32(1) - np.linspace(0.5, 0.95, 10).astype(np.float32)
    return tolerances


def _clean(text: str) -> str:
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    words = (found[-1] if found else text).split()
    return " ".join(words).rstrip(".").lower().strip()


def _letter(word: str) -> str | None:
    return word.upper() if re.fullmatch(r"[A-Za-z]", word) else None


def _number(word: str) -> float | None:
    """Python's own reading of a float, as both originals have it; nan and inf are no answers."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
