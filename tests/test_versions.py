"""What a built-in scorer, prompt or sampler of a version makes of fixed input is stored in `versions.json`.

Lost otherwise: behaviour moves under an old name, and runs of before and after stand in one table as the same thing.
When a test here fails: undo the change, or raise the version and add the line that it prints. Lines stay.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.walks import Walk
from test_scorer_rewrites import made_up

from smx import plugins
from smx.benches import BaseBench, Question
from smx.benches._vsi import CHOICE, TYPES
from smx.geometry.view import GeometryOptions, SceneView
from smx.samplers._common import choose

STORED: dict[str, str] = json.loads((Path(__file__).parent / "versions.json").read_text())
OPTIONS = ("A. fan", "B. lamp", "C. chair", "D. office chair")
MORE = (  # what made-up answers seldom say
    *(
        "I choose B",
        "It's B",
        "选B",
        "Ｂ",
        r"\boxed{B}",
        "option b",
        "B is correct",
        "A is far, so the answer is B",
        "the lamp",
    ),
    *("two and a half", "1.234,5", "half a meter", "3 + 2 = 5", "1/2", "twenty-one", "answer: 5 (3 at the wall)"),
    *(
        "arm chair",
        "brown table",
        "3 o' clock",
        "none",
        "the tvs",
        "letf",
        "no, bucket is open",
        "chair .",
        "two chairs",
    ),
)


def scorers() -> Iterator[str]:
    """`bench/scorer@version` of every built-in bench, in which those of one family are one."""
    for name in ("vsibench", "sqa3d", "scanqa"):
        bench = plugins.load("benches", name)
        yield from (f"{name}/{bench.scorer_id(scorer)}" for scorer in bench.scorers)


@pytest.mark.parametrize("key", list(scorers()))
def test_a_scorers_verdicts_move_only_with_its_version(key: str) -> None:
    bench, scorer = key.split("@")[0].split("/")
    made: BaseBench = plugins.load("benches", bench)()
    texts = [*MORE, *(text for text, _ in zip((t for t, _, _ in made_up(7)), range(1500), strict=False))]
    draw = random.Random(1)
    content = []
    for text in texts:
        for question in asked(bench, draw):
            verdict = made.judge(question, text, scorer)
            content.append([text, question.truths, verdict.parsed, round(verdict.score, 9)])
    is_as_stored(key, content)


def asked(bench: str, draw: random.Random) -> list[Question]:
    """Questions that one answer is judged for."""
    if bench == "vsibench":
        number, letter = draw.choice(["2", "5", "0.5", "1000", "21"]), draw.choice("ABCD")
        return [
            Question("0", "scannet", "s", "object_counting", "?", None, number),
            Question("1", "scannet", "s", "route_planning", "?", OPTIONS, letter),
        ]
    truths = draw.choice([("chair",), ("two", "2"), ("no",), ("brown table", "table"), ("TV",), ("left",)])
    return [Question("0", "scannet", "s", "what", "?", None, truths[0], truths[1:])]


def prompts() -> Iterator[str]:
    """`bench/prompt@version` of the bench, `prompt` being a name where it has several."""
    for name in ("vsibench", "rooms", "sqa3d", "scanqa"):
        bench = plugins.load("benches", name)
        named = ("official", "spatial-mllm") if "prompt" in bench.model_fields else ("prompt",)
        yield from (f"{name}/{prompt}@{bench.version} asks" for prompt in named)


@pytest.mark.parametrize("key", list(prompts()))
def test_a_prompt_moves_only_with_its_benchs_version(key: str) -> None:
    bench, prompt = key.split("@")[0].split("/")
    made: BaseBench = plugins.load("benches", bench).parse({} if prompt == "prompt" else {"prompt": prompt}, bench)
    kinds = TYPES if bench in ("vsibench", "rooms") else ("what", "how")
    questions = [
        Question("0", "d", "s", kind, f"Which of them is {kind}?", OPTIONS if kind in CHOICE else None, "B")
        for kind in kinds
    ]
    is_as_stored(key, [made.render(question) for question in questions])


@pytest.mark.parametrize("name", plugins.names("samplers"))
def test_a_samplers_choice_moves_only_with_its_version(name: str) -> None:
    sampler = plugins.load("samplers", name)
    content = []
    for frames, step, n, seed in ((40, 1, 8, 0), (90, 3, 16, 1), (200, 2, 32, 2), (12, 1, 12, 0), (64, 5, 2, 3)):
        choice = choose(sampler(), SceneView(Walk(frames, step=step), GeometryOptions(candidates=48)), n, seed)
        content.append([choice.ids, choice.fill])
    is_as_stored(f"{name}@{sampler.version} chooses", content)


def is_as_stored(key: str, content: object) -> None:
    """`content` has the digest that is stored under `key`."""
    digest = hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]
    assert STORED.get(key) == digest, f'raise the version of what moved, then add to versions.json: "{key}": "{digest}"'
