"""Readings of a VSI-Bench answer: the two published ones, to the last digit, and one that forgives.

Pure functions of text and ground truth. All turn a relative error into mean relative accuracy (MRA): the share of
ten thresholds θ = 0.5 … 0.95 whose tolerance 1 − θ the error stays within. The published two differ in how the
answer is read, in `<=` or `<`, and in precision, which is enough to move 44 of the 620 pairs (0..30, 1..20).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
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


def lenient(text: str, truth: str, options: Sequence[str] | None, *, numerical: bool) -> Verdict:
    """Read what a person would: for telling a wrong answer from a badly worded one. No published number is made so.

    Of the last `<answer>…</answer>`, or all of the text. A number: the first one anywhere, in digits or words,
    scored as `official` does. A letter, by the first rule that fits: it stands alone; it is followed by `.`, `)`
    or `:`; "answer is X"; exactly one option's text is in it (of options within each other, the longest).
    """
    found = _ANSWER.findall(text)
    answer = (found[-1] if found else text).strip()
    if not numerical:
        letter = _chosen(answer, options or ())
        return Verdict(letter, float(letter is not None and letter.lower() == truth.lower()))
    target = positive(truth)
    value = _first_number(answer)
    if value is None:
        return Verdict(None, 0.0)
    return Verdict(f"{value:.12g}", float((abs(value - target) / target <= _tolerances64()).mean()))


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
    found = _ANSWER.findall(text)
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


def _chosen(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses, upper case. Without options any letter is one."""
    letters = _LETTERS[: len(options)] if options else _LETTERS
    anyhow, upper = f"[{letters}{letters.lower()}]", f"[{letters}]"
    rules = (
        rf"\W*({anyhow})\W*",  # alone
        rf"\W*({anyhow})[.):](?:\W.*)?",  # first; in the middle of a text a small letter is mostly "e.g."
        rf".*?(?<!\w)({upper})[.):](?:\W.*)?",
        rf"(?i:.*?\banswer\s*(?:is|:)\W*)(?:({upper})\b.*|({anyhow})\W*)",
    )
    for rule in rules:
        if found := re.fullmatch(rule, answer, re.DOTALL):
            return next(group for group in found.groups() if group).upper()
    return _named(answer, options)


def _named(answer: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose text is in the answer."""
    rest, letters = " ".join(answer.lower().split()), set()
    texts = [" ".join(re.sub(r"^\W*[A-Za-z][.):]\s*", "", option).lower().split()) for option in options]
    for letter, text in sorted(zip(_LETTERS, texts, strict=False), key=lambda pair: -len(pair[1])):
        rest, times = re.subn(rf"(?<!\w){re.escape(text)}(?!\w)", " | ", rest) if text else (rest, 0)
        if times:
            letters.add(letter)
    return letters.pop() if len(letters) == 1 else None


def _first_number(answer: str) -> float | None:
    """The first number, in digits or words; None where there is none (or none that is finite)."""
    found = _NUMERAL.search(answer)
    if found is None:
        return None
    if found["digits"]:
        return _number(found["digits"].replace(",", "").replace("−", "-"))
    value = 0
    for word in re.split(r"[\s-]+", found["words"].lower()):
        value = max(value, 1) * 100 if word == "hundred" else value + _VALUES.get(word, 0)
    return float(value)


_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: n for n, word in enumerate(_UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-]+(?:{'|'.join(_UNITS[1:10])}))?|{'|'.join(sorted(_UNITS, key=len)[::-1])})"
_NUMERAL = re.compile(
    r"(?P<digits>(?:(?<!\w)[-+−])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.?\d+)(?:[eE][-+]?\d+)?)"
    rf"|\b(?P<words>{_SMALL}(?:[\s-]+hundred(?:(?:[\s-]+and)?[\s-]+{_SMALL})?)?|hundred)\b",
    re.IGNORECASE,
)
