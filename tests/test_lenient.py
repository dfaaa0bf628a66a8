"""The lenient scorer tells badly worded answers from wrong ones: every line here is its definition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import data, smx

from smx.benches._lenient import lenient
from smx.errors import UserError
from smx.report.score_file import score_file

OPTIONS = ["A. fan", "B. lamp", "C. chair", "D. office chair"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("60 cm", "60"),
        ("60cm", "60"),
        ("about 1,234.5 m²", "1234.5"),
        (".5", "0.5"),
        ("2.", "2"),
        ("3.5.", "3.5"),
        ("-3", "-3"),
        ("−3", "-3"),
        ("5-6", "5"),
        ("1e2", "100"),
        ("４", "4"),
        ("There are four chairs", "4"),
        ("Seventeen", "17"),
        ("twenty-one", "21"),
        ("one hundred and five cm", "105"),
        ("a hundred", "100"),
        ("three or 4", "3"),
        ("<answer>7</answer> no, <answer> 5 m\n</answer>", "5"),
        ("", None),
        ("   ", None),
        ("I cannot tell.", None),
        ("someone is there", None),
        ("1e400", None),
        ("十二", None),
    ],
)
def test_a_number_is_the_first_one_in_digits_or_words(text: str, parsed: str | None) -> None:
    assert lenient(text, "5", None, numerical=True).parsed == parsed


def test_a_number_is_scored_by_the_official_rule() -> None:
    scores = [lenient(text, "4", None, numerical=True).score for text in ("five metres", "4 m", "6", "7", "-4")]
    assert scores == [0.6, 1.0, 0.1, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("D", "D"),
        (" (d) ", "D"),
        ("**C**", "C"),
        ("D. fan", "D"),
        ("d) something", "D"),
        ("b: lamp", "B"),
        ("I think it is B.", "B"),
        ("The answer is C because it is near", "C"),
        ("the answer is c.", "C"),
        ("Answer: (B)", "B"),
        ("the answer is a lamp", "B"),
        ("<answer>A</answer> or <answer>B</answer>", "B"),
        ("the Fan", "A"),
        ("A fan", "A"),
        ("office  chair", "D"),
        ("chair", "C"),
        ("e.g. the fan", "A"),
        ("fan or lamp", None),
        ("A sofa", None),
        ("fans", None),
        ("E", None),
        ("", None),
        ("I'm sorry, I don't know", None),
        ("ventilateur", None),
    ],
)
def test_a_letter_is_chosen_by_the_first_rule_that_fits(text: str, parsed: str | None) -> None:
    assert lenient(text, "D", OPTIONS, numerical=False).parsed == parsed


def test_without_options_a_letter_is_all_that_can_be_chosen() -> None:
    assert lenient("D. fan", "D", None, numerical=False).score == 1
    assert lenient("A chair", "A", None, numerical=False).parsed is None


ROWS = [
    {"id": 0, "question_type": "object_counting", "ground_truth": "2", "prediction": "3"},
    {"id": 1, "question_type": "object_size_estimation", "ground_truth": "60", "prediction": "60 cm"},
    {"id": 2, "question_type": "object_rel_distance", "ground_truth": "D", "options": OPTIONS, "prediction": "D. fan"},
    {"id": 3, "question_type": "object_rel_distance", "ground_truth": "A", "options": OPTIONS, "prediction": "A"},
]


def test_all_scorers_side_by_side_name_the_answers_they_read_differently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found = data(capsys, "score", file, "--scorer", "all")
    assert {name: entry["all"]["micro"] for name, entry in found["scorers"].items()} == {
        "official": pytest.approx((0.1 + 1 + 1 + 1) / 4),
        "spatial-mllm": pytest.approx(1 / 4),
        "lmms-eval": pytest.approx((0.1 + 1 + 1 + 1) / 4),
        "vlmevalkit": pytest.approx((0.1 + 1 + 1 + 1) / 4),
        "lenient": pytest.approx((0.1 + 1 + 1 + 1) / 4),
    }
    assert [entry["item"] for entry in found["differ"]] == ["0", "1", "2"]
    assert smx("score", file, "--scorer", "all") == 0
    printed = capsys.readouterr().out
    assert "3 of 4 answers are not scored alike" in printed
    assert "'60 cm' for '60': others 100.00; spatial-mllm 0.00" in printed


@pytest.mark.parametrize(("name", "mark"), [("p.csv", ","), ("p.tsv", "\t")])
def test_tables_of_text_are_read_with_their_lines(name: str, mark: str, tmp_path: Path) -> None:
    lines = [
        ["id", "question_type", "ground_truth", "options", "prediction"],
        ["0", "object_counting", "2", "", '"2\nchairs"'],
        ["1", "object_rel_distance", "B", "\"['A. fan', 'B. lamp']\"", "lamp"],
    ]
    file = tmp_path / name
    file.write_text("\n".join(mark.join(cells) for cells in lines) + "\n", encoding="utf-8-sig")
    assert score_file(file, "vsibench", "lenient")[0]["all"]["micro"] == 1
    file.write_text(file.read_text(encoding="utf-8-sig") + mark.join(["2", "counting", "2", "", "2"]) + "\n")
    with pytest.raises(UserError, match="line 5: unknown question type 'counting'"):
        score_file(file, "vsibench")
    file.write_text("\n".join(mark.join(cells) for cells in lines) + "\n3\n")
    with pytest.raises(UserError, match="line 5: 1 cells under 5 headings"):
        score_file(file, "vsibench")


def test_answers_to_sqa3d_are_scored_in_other_tools_shapes(tmp_path: Path) -> None:
    rows = [
        {"doc": {"question": "What is it?", "answers": [{"answer": "chair"}]}, "resps": [["The chair."]]},
        {"item": "7", "ok": True, "data": {"type": "how", "truth": "two", "also": ["3"], "text": "three"}},
        {"question": "Is it open?", "answer": "yes", "response": "yes, it is"},
    ]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, _ = score_file(file, "sqa3d", "all")
    assert {name: entry["all"]["micro"] for name, entry in found["scorers"].items()} == {
        "em": pytest.approx(2 / 3),
        "em-r": 1,
        "any-word": pytest.approx(2 / 3),  # its words are split at blanks: "yes," is not "yes"
    }
    assert found["scorers"]["em"]["types"]["is"] == {"score": 0.0, "n": 1}
    assert smx("score", file, "--bench", "sqa3d") == 0
