"""The published readings of a VSI-Bench answer, to the last digit; each names its source and version.

Pure functions of text and ground truth. All turn a relative error into mean relative accuracy (MRA): the share of
ten thresholds θ = 0.5 … 0.95 whose tolerance 1 − θ the error stays within. They differ in how the answer is read,
in `<=` or `<`, and in precision; the last two alone move 44 of the 620 pairs (0..30, 1..20).
"""

from __future__ import annotations

import math
import re
from functools import cache
from itertools import dropwhile, takewhile
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
        return Verdict(letter(word), float(word.lower() == truth.lower()))
    value = finite(word)
    return Verdict(None if value is None else word, mra(value, truth))


def spatial_mllm(text: str, truth: str, *, numerical: bool) -> Verdict:
    """Read and score as Spatial-MLLM v1.1 does (src/evaluation/vsibench/dataset_utils.py at 9fc4738), in float32.

    The answer is all of the last `<answer>…</answer>`, or all of the text: whitespace collapsed, full stops at
    the end dropped, lower case. It must be the letter and nothing else ("a. chair" is wrong), or a number and
    nothing else (commas are removed), which scores `|p − t| / (|t| + 1e-8) < 1 − θ`. The score is the share of
    thresholds in float64: 0.1, where the original reports float32's 0.10000000149.
    """
    answer = _clean(text)
    if not numerical:
        return Verdict(letter(answer), float(answer == _clean(truth)))
    target = positive(truth)
    number = answer.replace(",", "")
    value = finite(number)
    if value is None:
        return Verdict(None, 0.0)
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # an answer beyond float32 is inf and scores 0
        p, t = np.float32(value), np.float32(target)
        error = np.abs(p - t) / (np.abs(t) + np.float32(1e-8))
        return Verdict(number, float((error < _tolerances32()).mean()))


def lmms_eval(text: str, truth: str, *, numerical: bool) -> Verdict:
    """Read and score as lmms-eval does since 14 July 2026 (eab6655a, the first version after 0.7.2).

    Its runner first takes `<think>…</think>` and `<analysis>…</analysis>` out of every answer
    (lmms_eval/api/reasoning.py). A letter is then read as by `official`. A number is the first one in digits or
    English words (lmms_eval/tasks/vsibench/utils.py): "Three boxes." is 3, and "two, three" 5, for number words add
    up until another word comes. Separators of thousands are not understood: "1,234" is 1. Float64, `<=`.
    """
    answer = _without_reasoning(text)
    if not numerical:
        return official(answer, truth, numerical=False)
    value = _first_number(answer.lower())
    return Verdict(None if value is None else f"{value:.12g}", mra(value, truth))


def mra(value: float | None, truth: str) -> float:
    """Mean relative accuracy of thinking-in-space, float64, `|p − t| / t <= 1 − θ`; 0 for no value.

    `ValueError` for a truth that is no positive number.
    """
    target = positive(truth)
    return 0.0 if value is None else float((abs(value - target) / target <= _tolerances64()).mean())


def positive(truth: str) -> float:
    """A numerical ground truth as float. `ValueError` unless it is finite and above zero.

    The relative error divides by it: the official code stops at zero, and a negative one would give every
    answer full marks.
    """
    value = finite(truth)
    if value is None or value <= 0:
        raise ValueError(f"ground truth {truth!r} is no positive number")
    return value


def finite(word: str) -> float | None:
    """Python's own reading of a float, as the originals have it; nan and inf are no answers."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def letter(word: str) -> str | None:
    """A word that is one letter, upper case."""
    return word.upper() if re.fullmatch(r"[A-Za-z]", word) else None


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
    found = _ANSWER.findall(text)
    words = (found[-1] if found else text).split()
    return " ".join(words).rstrip(".").lower().strip()


def _without_reasoning(text: str) -> str:
    """The text without what stands between tags of reasoning. A tag that is only closed was opened by the prompt."""
    for tag in ("think", "analysis"):
        opening, closing = f"<{tag}>", f"</{tag}>"
        while (start := text.find(opening)) >= 0 and (end := text.find(closing, start)) >= 0:
            text = text[:start] + text[end + len(closing) :]
        if opening not in text:
            text = text.rpartition(closing)[2]
    return text.strip()


def _first_number(text: str) -> float | None:
    """The first number of a text in lower case, in digits or in English words; None where it is not finite."""
    digits = re.search(r"-?\d+(?:\.\d+)?", text)
    words = dropwhile(lambda word: word[0] not in NUMBER_WORDS, re.finditer(r"[a-z]+", text))
    run = list(takewhile(lambda word: word[0] in NUMBER_WORDS or word[0] == "and", words))
    if digits and not (run and run[0].start() < digits.start()):
        return finite(digits[0])
    if not run:
        return None
    thousands = rest = 0
    for value in (NUMBER_WORDS[word[0]] for word in run if word[0] != "and"):
        if value == 1000:
            thousands, rest = thousands + 1000 * max(rest, 1), 0
        else:
            rest = max(rest, 1) * 100 if value == 100 else rest + value
    return float(thousands + rest)


_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBER_WORDS = {
    **{word: number for number, word in enumerate(UNITS)},
    **{word: 10 * number for number, word in enumerate(TENS, start=2)},
    **{"hundred": 100, "thousand": 1000},
}
