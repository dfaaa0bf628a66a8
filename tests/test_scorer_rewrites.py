"""20,000 made-up answers, read once more by code written otherwise from the same publications.

Lost otherwise: an edit moves a scorer where no written-down case notices, and old and new numbers part.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from smx.benches import Question
from smx.benches.vsibench import Bench

ANSWERS, SEED = 20_000, 20261201
PIECES = [
    *(
        "A",
        "B",
        "C",
        "D",
        "a",
        "b",
        "A.",
        "b.",
        "(B)",
        "C:",
        "D)",
        "chair",
        "lamp",
        "Option",
        "The answer is",
        "answer",
    ),
    *(
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "7",
        "10",
        "42",
        "-2",
        "+1",
        ".5",
        "2.5",
        "1e1",
        "1,000",
        "1,5",
        "4m",
        "nan",
        "inf",
    ),
    *("four", "Three", "twenty", "one", "hundred", "and", "thousand", "boxes", "no", "two", "m", "cm", ".", "..", ","),
    *("<answer>", "</answer>", "<think>", "</think>", "<analysis>", "</analysis>", "\n", "\t", "  ", "the", "TV", "tv"),
    *("letf", "table2", "none", "23", "o' clock", "an", "not", "know", "left", "chairs", "it's", "ç", "："),
]
TRUTHS = ("1", "2", "3", "4", "5", "7", "10", "42", "0.5", "2.5", "1000", "21")


def made_up(seed: int = SEED) -> Iterator[tuple[str, str, str]]:
    """(answer, number that is right, letter that is right)."""
    draw = random.Random(seed)
    for _ in range(ANSWERS):
        glue = draw.choice(["", " ", " "])
        text = glue.join(draw.choice(PIECES) for _ in range(draw.randint(0, 6)))
        yield text, draw.choice(TRUTHS), draw.choice("ABCD")


@pytest.mark.parametrize("scorer", ["official", "spatial-mllm"])
def test_a_scorer_agrees_with_code_written_a_second_time(scorer: str) -> None:
    again = {"official": official, "spatial-mllm": spatial_mllm}[scorer]
    bench, moved, scores = Bench(), [], set()
    for text, number, letter in made_up():
        for kind, truth in (("object_counting", number), ("route_planning", letter)):
            score = bench.judge(Question("0", "scannet", "s", kind, "?", None, truth), text, scorer).score
            scores.add(score)
            if score != again(text, truth, numerical=kind == "object_counting"):
                moved.append((text, truth, score))
    assert moved == []
    assert len(scores) == 10  # every tenth but 0.8 is among them


def official(text: str, truth: str, *, numerical: bool) -> float:
    """The text up to its first blank, less full stops."""
    word = without_stops(text.partition(" ")[0]).strip()
    if not numerical:
        return float(word.casefold() == truth.casefold())
    value = number(word)
    error = abs(value - float(truth)) / float(truth) if value is not None else float("inf")
    steps = [0.5 + k * ((0.95 - 0.5) / 9) for k in range(9)] + [0.95]
    return sum(error <= 1 - step for step in steps) / 10


def spatial_mllm(text: str, truth: str, *, numerical: bool) -> float:
    """Everything in the last answer tags that were opened and closed, in float32 and with `<`."""
    inside, at = [text], text.find("<answer>")
    while at >= 0 and (end := text.find("</answer>", at)) >= 0:
        inside.append(text[at + len("<answer>") : end])
        at = text.find("<answer>", end)
    word = without_stops(" ".join(inside[-1].split())).lower().strip()
    value = number(word.replace(",", ""))
    if not numerical or value is None:
        return float(not numerical and word == truth.lower())
    p, t = torch.tensor(value, dtype=torch.float32), torch.tensor(float(truth), dtype=torch.float32)
    limits = 1 - torch.arange(0.5, 0.975, 0.05, dtype=torch.float32)
    return int(((p - t).abs() / (t.abs() + 1e-8) < limits).sum()) / 10


def without_stops(word: str) -> str:
    """The word less the full stops at its end."""
    while word.endswith("."):
        word = word[:-1]
    return word


def number(word: str) -> float | None:
    """A float as Python reads it; neither nan nor an infinity."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
