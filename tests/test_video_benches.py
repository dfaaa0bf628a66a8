"""Benches about one video, tried on rows in the shape of their releases: prompts, answers and averages as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx
from support.video_questions import WRITERS

from smx import plugins
from smx.benches import BaseBench, Question
from smx.benches._videos import ids_of
from smx.errors import UserError

PROMPTS = {
    "vstibench": "These are frames of a video.\nWhere?\nOptions:\nA. Forward\nB. Left\n"
    "Answer with the option's letter from the given choices directly.",
    "stibench": "Answer the question below based on the frames provided, "
    "which are sampled at an unspecified frame rate.\n"
    "Question: From 0.0 seconds to 12.5 seconds. How high is the desk?\n"
    "A 0.5 m\nB 0.7 m\nC 1 m\nD 2 m\nE 3 m\nPlease output only the option you choose!",
    "revsi": "These are frames of a video.\n?\nAnswer the question using a single integer or decimal number.",
    "vsi_super_recall": "In which order was the bear seen?\nOptions:\nA. Desk, Bed\nB. Bed, Desk\n"
    "Answer with the option's letter from the given choices directly.",
    "vsi_super_count": "These are frames of a video.\nHow many chairs?\n"
    "Please answer the question using a single word or phrase.",
}


def asked(name: str, root: Path, **options: Any) -> tuple[BaseBench, list[Question]]:
    WRITERS[name](root)
    bench = plugins.load("benches", name).parse(options, name)
    return bench, bench.questions(root)


@pytest.mark.parametrize("name", WRITERS)
def test_it_asks_word_for_word_as_published(name: str, tmp_path: Path) -> None:
    """Lost otherwise: a number that looks like the published one and was asked otherwise."""
    bench, questions = asked(name, tmp_path)
    assert PROMPTS[name] in [bench.render(question) for question in questions]


@pytest.mark.parametrize("name", WRITERS)
def test_it_is_evaluated_by_one_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITERS[name](tmp_path / "data")
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "lab"))
    command = ["eval", "--model", "chance", "--bench", name, "--root", tmp_path / "data", "--frames", "4"]
    assert smx(*command) == 0
    (row,) = [run for run in data(capsys, "ls") if run["kind"] == "eval"]
    assert row["state"] == "done"


def test_choices_and_numbers_are_scored_by_vsi_benchs_rules(tmp_path: Path) -> None:
    """By hand: 1.8 for 1.5 is off by 0.2, within six of ten tolerances (0.5 … 0.2, rounding the last one away)."""
    bench, questions = asked("vstibench", tmp_path)
    choice = next(q for q in questions if q.type == "camera_movement_direction")
    number = next(q for q in questions if q.type == "camera_displacement")
    assert choice.truth == "B"
    assert bench.judge(choice, "b.", "official").score == 1
    assert bench.judge(choice, "Left", "official").score == 0
    assert bench.judge(number, "1.5 metres", "official").score == 1
    within = sum(abs(1.8 - 1.5) / 1.5 <= 1 - (0.5 + 0.05 * step) for step in range(10))
    assert bench.judge(number, "1.8", "official").score == pytest.approx(within / 10)
    scored = [(choice, bench.judge(choice, "B", "official"))] * 3 + [(number, bench.judge(number, "9", "official"))]
    found = bench.summarize(scored)
    assert found["all"] == {"micro": 0.75, "macro": 0.5}
    assert (found["acc"]["micro"], found["mra"]["micro"]) == (1, 0)


def test_rows_of_the_streaming_setting_are_left_out(tmp_path: Path) -> None:
    _, questions = asked("vsi_super_count", tmp_path)
    assert [q.type for q in questions] == ["10mins", "30mins"]


def test_videos_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    """A release is unzipped below `video/` by one lab and beside the table by another."""
    _, questions = asked("stibench", tmp_path)
    assert {q.scene for q in questions} == {"video/desk", "video/road"}
    assert ids_of(["a/x", "b/x", "b/y"]) == {"a/x": "a/x", "b/x": "b/x", "b/y": "b/y", "y": "b/y"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question_type": "camera_displacement"}, "no 'ground_truth'|no answer that can be scored"),
        ({"question_type": "camera_sway", "ground_truth": "1"}, "unknown question type 'camera_sway'"),
        ({"question": "?"}, "no 'question_type'"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(row: dict[str, Any], message: str) -> None:
    bench = plugins.load("benches", "vstibench").parse({}, "vstibench")
    with pytest.raises(UserError, match=rf"line 3: .*({message})"):
        bench.question_of(row, "line 3")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """A folder without questions names what was looked for and where it is published; unknown filters are refused."""
    for name in WRITERS:
        bench = plugins.load("benches", name).parse({}, name)
        with pytest.raises(UserError, match="on Hugging Face has it"):
            bench.questions(tmp_path)
    with pytest.raises(UserError, match="unknown question type 'sway'"):
        plugins.load("benches", "vstibench").parse({"where": "question_type=sway"}, "vstibench")
    WRITERS["revsi"](tmp_path)
    with pytest.raises(UserError, match="16_frame/test"):
        plugins.load("benches", "revsi").parse({"clip": "16_frame"}, "revsi").questions(tmp_path)
