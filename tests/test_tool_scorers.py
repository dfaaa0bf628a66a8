"""A number that another tool made is compared with ours only when ours is read as that tool reads it."""

from __future__ import annotations

import pytest

from smx.benches import Question, Verdict
from smx.benches._scorers import lmms_eval, official
from smx.benches._vlmevalkit import vlmevalkit
from smx.benches.vsibench import Bench
from smx.errors import UserError


@pytest.mark.parametrize(
    ("text", "truth", "score", "parsed"),
    [
        ("Three boxes.", "3", 1.0, "3"),
        ("There are 3 boxes", "3", 1.0, "3"),
        ("3.0", "3", 1.0, "3"),
        ("one apple, room 2", "1", 1.0, "1"),
        ("room 2, one apple", "2", 1.0, "2"),
        ("twenty-one", "21", 1.0, "21"),
        ("three hundred and twenty-one", "321", 1.0, "321"),
        ("two thousand and five", "2005", 1.0, "2005"),
        ("a hundred and twenty", "120", 1.0, "120"),
        ("thousand", "1000", 1.0, "1000"),
        ("two, three", "5", 1.0, "5"),  # number words add up until another word comes
        ("two or three", "2", 1.0, "2"),
        ("1,234", "1234", 0.0, "1"),
        ("1,5 m", "1.5", 0.4, "1"),  # error 1/3: θ = 0.5 … 0.65
        ("-3", "3", 0.0, "-3"),
        (".5", "5", 1.0, "5"),  # the point needs a digit before it
        ("1e2", "1", 1.0, "1"),
        ("<think>I see 3 chairs and 2.</think>5", "5", 1.0, "5"),
        ("<analysis>3</analysis> 5", "5", 1.0, "5"),
        ("3 chairs</think>5", "5", 1.0, "5"),  # opened by the prompt
        ("<think>3 chairs", "3", 1.0, "3"),  # never closed: it stays
        ("<THINK>3</THINK>5", "3", 1.0, "3"),  # tags are lower case
        ("<answer>5</answer>", "5", 1.0, "5"),
        ("someone", "1", 0.0, None),
        ("", "4", 0.0, None),
        ("none", "4", 0.0, None),
    ],
)
def test_lmms_eval_takes_the_first_number_in_digits_or_words(
    text: str, truth: str, score: float, parsed: str | None
) -> None:
    assert lmms_eval(text, truth, numerical=True) == Verdict(parsed, score)


def test_the_same_answer_is_right_for_lmms_eval_and_nothing_for_the_paper() -> None:
    assert lmms_eval("Three boxes.", "3", numerical=True).score == 1
    assert official("Three boxes.", "3", numerical=True).score == 0


@pytest.mark.parametrize(
    ("text", "truth", "score"),
    [
        ("B", "B", 1.0),
        ("b. lamp", "B", 1.0),
        ("<think>A is near. So the answer is B.</think>\nC", "C", 1.0),
        ("  C", "C", 1.0),  # stripped with the tags; `official` finds an empty first word
        ("Option B", "B", 0.0),
        ("(B)", "B", 0.0),
    ],
)
def test_lmms_eval_reads_letters_as_the_paper_does_behind_the_thinking(text: str, truth: str, score: float) -> None:
    assert lmms_eval(text, truth, numerical=False).score == score


@pytest.mark.parametrize(
    ("text", "truth", "score", "parsed"),
    [
        ("3", "2", 0.1, "3"),  # `<=`, as the paper
        ("5", "4", 0.6, "5"),
        ("3 at the wall and 2 at the desk", "2", 1.0, "2"),  # the last one
        ("<think>3</think> 5", "5", 1.0, "5"),
        ("<think>3 chairs", "3", 1.0, "3"),
        ("7 <think> so many", "7", 1.0, "7"),  # nothing behind the tag: the whole text
        ("<answer>4 m</answer> or 9", "4", 1.0, "4"),
        ("<answer>about 4</answer> or 9", "9", 1.0, "9"),  # in tags a number comes first or not at all
        ("Three boxes.", "3", 1.0, "3"),
        ("twenty", "20", 1.0, "20"),
        ("twenty-one", "21", 0.0, "-1"),  # words up to twenty: "20-1"
        ("a hundred and twenty", "20", 1.0, "20"),
        ("1,234", "234", 1.0, "234"),
        (".5", "0.5", 1.0, "0.5"),
        ("1e1", "10", 1.0, "10"),
        ("[4, 5]", "4", 1.0, "4"),  # a list: its first
        ("['4', '5']", "4", 1.0, "4"),
        ("[about 4]", "4", 0.0, None),
        ("none", "4", 0.0, None),
        ("", "4", 0.0, None),
    ],
)
def test_vlmevalkit_takes_the_last_number(text: str, truth: str, score: float, parsed: str | None) -> None:
    assert vlmevalkit(text, truth, numerical=True) == Verdict(parsed, score)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("B", "B"),
        ("b", "B"),
        ("**B**", "B"),
        ("(B)", "B"),
        ("B. lamp", "B"),
        ("B.lamp", "B"),
        ("Option B", "B"),
        (r"\boxed{B}", "B"),
        ("The answer is b", "B"),
        ("The answer is B, as A is far", "B"),  # two letters in the last line, so the phrase
        ("The answer is (b) lamp", "B"),
        ("答案是C", "C"),
        ("我选择d。", "D"),
        ("<answer>b. lamp</answer> A", "B"),
        ("<answer>chair</answer>", "C"),  # whatever the tags begin with
        ("so A</think> B", "A"),  # what stands before the closing tag goes first
        ("A is far.</think>\nB", "B"),
        ("A. fan\nB. lamp", "B"),  # the last line
        ("Option A: fan\nOption B: lamp", None),
        ("A or B", None),
        ("E", "E"),  # always A to F, whatever the options
        ("G", None),
        ("lamp", None),
        ("a lamp", None),
        ("", None),
    ],
)
def test_vlmevalkit_finds_a_letter_by_the_first_rule_that_fits(text: str, parsed: str | None) -> None:
    assert vlmevalkit(text, "B", numerical=False) == Verdict(parsed, float(parsed == "B"))


def test_a_scorer_is_asked_for_with_its_version_or_without() -> None:
    """Lost otherwise: a table named lmms-eval, without a word of which lmms-eval."""
    assert Bench.scorer_named(None) == "official"
    assert Bench.scorer_named("lmms-eval") == Bench.scorer_named("lmms-eval@2026-07") == "lmms-eval"
    assert Bench.scorer_id("official") == "official@1"
    with pytest.raises(UserError, match="lmms-eval is at version 2026-07 here, not 2025-01"):
        Bench.scorer_named("lmms-eval@2025-01")
    question = Question("0", "scannet", "s", "object_counting", "?", None, "3")
    assert Bench().judge(question, "Three boxes.", "lmms-eval").score == 1
