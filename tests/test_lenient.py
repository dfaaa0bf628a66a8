"""The lenient scorer tells badly worded answers from wrong ones: every line here is its definition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import data, smx

from smx.benches import Verdict
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
        ("5–6 chairs", "5"),
        ("1e2", "100"),
        ("４", "4"),
        ("１２．５ｍ", "12.5"),
        ("There are four chairs", "4"),
        ("Seventeen", "17"),
        ("twenty-one", "21"),
        ("one hundred and five cm", "105"),
        ("a hundred", "100"),
        ("a hundred and twenty", "120"),
        ("three or 4", "3"),
        ("<answer>7</answer> no, <answer> 5 m\n</answer>", "5"),
        ("", None),
        ("   ", None),
        ("I cannot tell.", None),
        ("someone is there", None),
        ("1e400", None),
        ("十二", None),
        ("1,234", "1234"),
        ("12,345,678", "12345678"),
        ("1,5 m", "1.5"),
        ("0,123", "0.123"),
        ("1.234,5", "1234.5"),
        ("1'234", "1234"),
        ("3,45", "3.45"),
        ("2, 3 or 4", "2"),
        ("2,3,4", "2"),
        ("<think>I see 3 chairs at the wall and 2 at the desk.</think>5", "5"),
        ("<think>3 chairs</think>\n\n<think>no, 4</think>\nFour", "4"),
        ("3 at the wall and 2 more</think>5", "5"),
        ("<think>I see 3 chairs and", None),
        ("5 <think>but there may be", "5"),
        ("<thinking>7</thinking> 8", "8"),
        ("<reasoning>7</reasoning>about 8 m", "8"),
        ("◁think▷7◁/think▷9", "9"),
        ("<THINK>7</THINK>9", "9"),
        (r"\boxed{5}", "5"),
        (r"The total is $\boxed{12.5}$ m².", "12.5"),
        (r"3 and then \boxed{\text{7 chairs}}", "7"),
        (r"First \boxed{3}, finally \boxed{4}", "4"),
        (r"<think>\boxed{3}</think>\boxed{4}", "4"),
        ("I see 3 chairs and 2 stools, so the answer is 5.", "5"),
        ("The answer is 5 because 3 + 2 = 5", "5"),
        ("3 + 2 = 5", "5"),
        ("Answer: 5 (3 at the wall)", "5"),
        ("**Answer:** 12", "12"),
        ("The final answer is: **2.5 meters**", "2.5"),
        ("答案是5", "5"),
        ("答案：5", "5"),
        ("大约５个", "5"),
        ("约5个", "5"),
        ("**7**", "7"),
        ("~5", "5"),
        ("≈ 3.2 m", "3.2"),
        ("two hundred and fifty", "250"),
        ("one thousand two hundred", "1200"),
        ("two thousand five hundred and one", "2501"),
        ("a thousand", "1000"),
        ("three hundred thousand", "300000"),
        ("a dozen", "12"),
        ("half a dozen", "6"),
        ("two dozen", "24"),
        ("two and a half", "2.5"),
        ("one and a half meters", "1.5"),
        ("two and a quarter", "2.25"),
        ("half a meter", "0.5"),
        ("half", "0.5"),
        ("one point five", "1.5"),
        ("zero point two five", "0.25"),
        ("three point one four", "3.14"),
        ("5 hundred", "500"),
        ("1.2 thousand", "1200"),
        ("1/2", "0.5"),
        ("3/4 m", "0.75"),
        ("2 1/2", "2.5"),
        ("1.5 × 10^2", "150"),
        ("2x10^3", "2000"),
        ("2 x 3 m", "2"),
        ("+7", "7"),
        ("(5)", "5"),
        ('"5"', "5"),
        ("5%", "5"),
        ("The room is 4 m by 5 m = 20 m²", "20"),
        ("It is 25.5 square meters.", "25.5"),
        ("thirty five", "35"),
        ("ninety-nine", "99"),
        ("TWO", "2"),
        ("Zero", "0"),
        ("no idea", None),
        ("nothing", None),
        ("a few", None),
        ("eleventh", None),
    ],
)
def test_a_number_is_the_one_stated_or_the_first_in_digits_or_words(text: str, parsed: str | None) -> None:
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
        ("<think>A is near. So the answer is B.</think>\nC", "C"),
        ("<think>A is near", None),
        ("A is near. The answer is B</think>C", "C"),
        (r"\boxed{B}", "B"),
        (r"$\boxed{\text{B}}$", "B"),
        (r"The lamp, so \boxed{B. lamp}", "B"),
        ("Option B", "B"),
        ("option b", "B"),
        ("Option B: lamp", "B"),
        ("Choice C", "C"),
        ("I choose B", "B"),
        ("I choose option B.", "B"),
        ("I would choose (C).", "C"),
        ("I pick D", "D"),
        ("I'd go with B", "B"),
        ("Let's go with C, the chair", "C"),
        ("I select B because A is far", "B"),
        ("It's B", "B"),
        ("It’s B.", "B"),
        ("it is B", "B"),
        ("That's D", "D"),
        ("So B", "B"),
        ("Therefore, C", "C"),
        ("Ｂ", "B"),
        ("（Ｂ）", "B"),
        ("选B", "B"),
        ("我选择Ｂ。", "B"),
        ("选项C", "C"),
        ("答案是B", "B"),
        ("答案：D", "D"),
        ("应该选C", "C"),
        ("B是正确的", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("(B) lamp", "B"),
        ("[B]", "B"),
        ('"B"', "B"),
        ("'c'", "C"),
        ("B, because the lamp is near", "B"),
        ("B - lamp", "B"),
        ("B because A is far", "B"),
        ("B lamp", "B"),
        ("A because it is near", "A"),
        ("A, the fan", "A"),
        ("A.", "A"),
        ("A: fan", "A"),
        ("A is near, B is far, so the answer is B.", "B"),
        ("A is 2 m away, B is 3 m away and C is 1 m away. The answer is C.", "C"),
        ("The answer is B, not A", "B"),
        ("The answer is not A but B", "B"),
        ("not A, B", "B"),
        ("The answer is A. No wait, the answer is B.", "B"),
        ("The answer could be A or B", None),
        ("The answer is A or B", None),
        ("A or B", None),
        ("A and C", None),
        ("B/C", None),
        ("B is correct", "B"),
        ("B is the right answer, A is not", "B"),
        ("Option B is correct, option A is not", "B"),
        ("B. lamp is the closest", "B"),
        ("The correct option is D.", "D"),
        ("The correct answer would be C", "C"),
        ("Final answer: B", "B"),
        ("**Answer: B**", "B"),
        ("**Answer:** B", "B"),
        ("Answer B", "B"),
        ("answer = b", "B"),
        ('{"answer": "B"}', "B"),
        ("The answer is: \n\nB", "B"),
        ("The answer is **B. lamp**", "B"),
        ("The answer is the lamp, since the fan is far", "B"),
        ("Reasoning: the fan is far.\n\nB", "B"),
        ("B\n\nThe lamp is nearer than the fan.", "B"),
        ("The lamp is near.\nAnswer\nB", "B"),
        ("A. fan is 2 m away. B. lamp is 1 m away. So B", "B"),
        ("A. fan: 2 m\nB. lamp: 1 m\nC. chair: 3 m\nAnswer: B", "B"),
        ("A. fan: 2 m\nB. lamp: 1 m\nC. chair: 3 m", None),
        ("Between the two, B looks closer", "B"),
        ("I believe the answer is (b)", "B"),
        ("My choice is C.", "C"),
        ("I'm going with D.", "D"),
        ("It should be B.", "B"),
        ("the lamp (B)", "B"),
        ("(B)", "B"),
        ("lamp.", "B"),
        ("The lamp", "B"),
        ("the office chair", "D"),
        ("chair, not the lamp", None),
        ("I", None),
        ("I can see a fan", "A"),
        ("A chair", "C"),
        ("An office chair", "D"),
        ("All of them", None),
        ("none of the above", None),
        ("AB", None),
        ("ABCD", None),
        ("B2", None),
        ("<answer>B. lamp</answer>", "B"),
        ("<answer>b</answer>", "B"),
        ("<ANSWER>C</ANSWER>", "C"),
        ("<answer>B", "B"),
        (r"<think>x</think><answer>\boxed{C}</answer>", "C"),
        ("<think>The lamp. <answer>B</answer></think>", "B"),
    ],
)
def test_a_letter_is_chosen_by_the_first_rule_that_fits(text: str, parsed: str | None) -> None:
    assert lenient(text, "D", OPTIONS, numerical=False).parsed == parsed


def test_without_options_a_letter_is_all_that_can_be_chosen() -> None:
    assert lenient("D. fan", "D", None, numerical=False).score == 1
    assert lenient("A chair", "A", None, numerical=False).parsed is None


def test_what_stands_behind_the_thinking_is_the_answer() -> None:
    """Lost otherwise: a thinking model is scored by what it first considered, a formatted answer as none."""
    cases = [
        ("<think>I see 3 chairs at the wall and 2 at the desk.</think>5", "5", None, "5"),
        ("<think>A is near. So the answer is B.</think>\nC", "C", OPTIONS, "C"),
        ("1,234", "1234", None, "1234"),
        ("Option B", "B", OPTIONS, "B"),
        (r"\boxed{B}", "B", OPTIONS, "B"),
        ("a hundred and twenty", "120", None, "120"),
        ("1,5 m", "1.5", None, "1.5"),
    ]
    for text, truth, options, parsed in cases:
        assert lenient(text, truth, options, numerical=options is None) == Verdict(parsed, 1.0)


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
