"""An interval that is too narrow turns noise into a finding: what it says is checked against the slow definition."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from smx.benches import Question, Verdict
from smx.benches._intervals import DRAWS, SEED, compare, drawn, metric_of, uncertainty
from smx.benches.sqa3d import Bench as SQA3D
from smx.benches.vsibench import Bench

BENCH = Bench()
KINDS = ("object_counting", "object_rel_direction_easy", "object_rel_direction_hard", "route_planning")


def asked(scenes: int, each: int = 3, truth: str = "2") -> list[Question]:
    return [
        Question(f"{s}-{k}-{i}", "scannet", f"s{s:02d}", kind, "?", None, truth if k == 0 else "A")
        for s in range(scenes)
        for k, kind in enumerate(KINDS)
        for i in range(each if k else 1 + s % 3)
    ]


def some_scores(questions: Sequence[Question], seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    quality = {q.scene: rng.random() for q in questions}
    return [float(rng.random() < quality[q.scene]) for q in questions]


def test_every_draw_is_the_score_of_its_scenes() -> None:
    """Fifty draws computed again by repeating the questions of each drawn scene and averaging as always."""
    questions = asked(6)
    scores = some_scores(questions)
    found = drawn(BENCH, questions, scores)
    chosen = np.random.default_rng(SEED).integers(0, 6, size=(DRAWS, 6))
    for number in range(0, DRAWS, 200):
        drawn_scored = [
            (q, Verdict("x", score))
            for scene in chosen[number]
            for q, score in zip(questions, scores, strict=True)
            if q.scene == f"s{scene:02d}"
        ]
        summary = BENCH.summarize(drawn_scored)
        for metric, samples in found.items():
            assert samples[number] == pytest.approx(metric_of(summary, metric)), metric


def test_an_interval_is_about_scenes_and_not_about_questions() -> None:
    """Asking each question ten times over says nothing new, and must not look surer."""
    once = asked(8)
    scores = some_scores(once)
    tenfold = [(q, Verdict("x", s)) for q, s in zip(once, scores, strict=True) for _ in range(10)]
    first = uncertainty(BENCH, [(q, Verdict("x", s)) for q, s in zip(once, scores, strict=True)], "official")
    assert uncertainty(BENCH, tenfold, "official")["ci"] == first["ci"]
    assert first["scenes"] == 8


def test_intervals_hold_the_score_and_do_not_depend_on_the_order_of_items() -> None:
    questions = asked(20)
    scored = [(q, Verdict("x", s)) for q, s in zip(questions, some_scores(questions), strict=True)]
    found = uncertainty(BENCH, scored, "official")
    assert uncertainty(BENCH, scored[::-1], "official") == found
    json.dumps(found)
    summary = BENCH.summarize(scored)
    for metric, entries in found["ci"].items():
        for task, (low, high) in entries.items():
            value = metric_of(summary, (metric, task))
            assert value is not None
            assert 0 <= low <= value <= high <= 1
    assert found["ci"]["all.micro"][""][0] < found["ci"]["all.micro"][""][1]


def test_one_scene_gives_no_interval() -> None:
    scored = [(q, Verdict("x", 1.0)) for q in asked(1)]
    assert uncertainty(BENCH, scored, "official") == {"scenes": 1}
    assert uncertainty(BENCH, [], "official") == {"scenes": 0}
    assert compare(BENCH, asked(1), [0.0] * len(asked(1)), [1.0] * len(asked(1))) == {}


def test_saying_always_the_same_is_the_baseline_of_a_task() -> None:
    """A model that answers "2" to every count has not learned to count, whatever its score."""
    questions = asked(12)
    says_two = [(q, BENCH.judge(q, "2" if q.type == "object_counting" else "B", "official")) for q in questions]
    majority = uncertainty(BENCH, says_two, "official")["majority"]
    by_type = majority["type"]
    assert by_type["object_counting"] == {"answer": "2", "score": 1.0, "gain": [0.0, 0.0], "better": False}
    assert by_type["route_planning"] == {"answer": "A", "score": 1.0, "gain": [-1.0, -1.0], "better": False}
    assert majority["task"]["object_rel_direction"] == {"score": 1.0, "gain": [-1.0, -1.0], "better": False}
    assert majority["all.micro"][""]["score"] == 1.0
    assert majority["all.micro"][""]["better"] is False
    varied = [Question(f"{i}", "scannet", f"s{i % 9}", "what", "?", None, f"thing{'abcdef'[i % 6]}") for i in range(90)]
    knows = [(q, SQA3D().judge(q, q.truth, "em")) for q in varied]
    assert uncertainty(SQA3D(), knows, "em")["majority"]["type"]["what"]["better"] is True


def test_a_pair_of_runs_is_compared_on_the_same_draws() -> None:
    questions = asked(30)
    a = some_scores(questions)
    b = [min(1.0, score + 0.1) for score in a]
    slightly = compare(BENCH, questions, a, b)["all.micro", ""]
    assert slightly["gain"][0] > 0  # far less than either's own interval: scenes cancel
    assert slightly["p"] < 0.001
    assert compare(BENCH, questions, a, a)["all.micro", ""] == {"gain": [0.0, 0.0], "p": 1.0}
    other = compare(BENCH, questions, some_scores(questions, 1), some_scores(questions, 2))["all.macro", ""]
    swapped = compare(BENCH, questions, some_scores(questions, 2), some_scores(questions, 1))["all.macro", ""]
    assert other["gain"] == [-x for x in swapped["gain"][::-1]]
    assert other["p"] == swapped["p"]
