"""`smx report --compare`: a difference is only shown for what both were asked, with how sure it is."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.commands import QUESTIONS, data, smx

from smx.benches._vsi import NUMERICAL, TASKS


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert smx("eval", "--model", "chance,frequency", *QUESTIONS, "--max-failed", "99") == 0
    return tmp_path


def test_two_baselines_are_compared_by_average_and_task(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [found] = data(capsys, "report", "--compare", "chance", "frequency", "--bench", "rooms")
    assert (found["bench"], found["scorer"], found["scenes"], found["least_p"]) == ("rooms", "official@1", 2, 0.5)
    rows = {row["task"] or row["metric"]: row for row in found["rows"]}
    assert {"all.micro", "all.macro", "acc.micro", "mra.macro"} <= rows.keys()
    scores = {cell["model"]: cell for cell in data(capsys, "report", "--metric", "all.micro")["tables"][0]["cells"]}
    assert rows["all.micro"]["a"] == scores["chance"]["value"]
    assert rows["all.micro"]["b"] == scores["frequency"]["value"]
    low, high = rows["all.micro"]["gain"]
    assert low <= rows["all.micro"]["b"] - rows["all.micro"]["a"] <= high
    [swapped] = data(capsys, "report", "--compare", "frequency", "chance")
    assert swapped["rows"][0]["gain"] == [-high, -low]
    assert smx("report", "--compare", "chance", "frequency") == 0
    shown = capsys.readouterr().out
    assert "p: all 4 exchanges of a and b, scene by scene; 95 %: Student's t over scenes" in shown
    assert "2 scenes: p cannot be under 0.500" in shown
    assert all(row["p"] >= 0.5 and row["holm"] == 1.0 for row in found["rows"] if row["p"] is not None)


def test_how_many_scenes_a_difference_needs_is_said(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a month of evals that could not have found what it was for."""
    [few] = data(capsys, "report", "--compare", "chance", "frequency", "--power", "20")
    [many] = data(capsys, "report", "--compare", "chance", "frequency", "--power", "2")
    pairs = [(x["needed"], y["needed"]) for x, y in zip(few["rows"], many["rows"], strict=True) if x["sd"]]
    assert pairs
    assert all(6 <= x <= y for x, y in pairs)
    assert any(x < y for x, y in pairs)
    assert smx("report", "--compare", "chance", "frequency", "--power", "observed") == 0
    assert "scenes needed: to find the difference with probability 80%" in capsys.readouterr().out
    for wrong in ("0", "two", "-3", "101"):
        assert smx("report", "--compare", "chance", "frequency", f"--power={wrong}") == 2
        assert "points are a number above 0" in capsys.readouterr().err
    assert smx("report", "--power", "2") == 2
    assert "smx report --compare A B --power 2" in capsys.readouterr().err


def test_intervals_stand_in_tables_and_files(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("report", "--metric", "all.micro", "--intervals", "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert all(float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]) for row in rows)
    assert smx("report", "--metric", "all.micro", "--intervals") == 0
    shown = capsys.readouterr().out
    for row in rows:
        assert f"[{100 * float(row['ci_low']):.1f}, {100 * float(row['ci_high']):.1f}]" in shown


def test_what_an_average_is_over_is_counted(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Choice and numerical questions are not all questions: an n of all of them would make both look surer."""
    [found] = data(capsys, "report", "--compare", "chance", "frequency")
    rows = {row["task"] or row["metric"]: row for row in found["rows"]}
    assert rows["all.micro"]["n"] == rows["all.macro"]["n"] == found["shared"]
    assert rows["acc.micro"]["n"] + rows["mra.micro"]["n"] == found["shared"]
    assert rows["mra.macro"]["n"] == sum(rows[task]["n"] for task in TASKS if task in NUMERICAL and task in rows)


def test_models_are_compared_as_they_saw_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One shown its frames backwards, or answering at length, does not pass for the other's fair opponent."""
    monkeypatch.chdir(tmp_path)
    few = ("scenes=1", "train_scenes=1", "frames=8", "where.question_type=room_size_estimation")
    asked = ("--frames", "2", "--set", "max_new_tokens=1", *(f"--set=bench_options.{pair}" for pair in few))
    assert smx("eval", "--model", "tiny,tiny-prope", *asked) == 0
    assert smx("eval", "--model", "tiny", *asked, "--frame-order", "reversed") == 0
    assert smx("eval", "--model", "tiny", *asked, "--set", "max_new_tokens=2") == 0
    capsys.readouterr()
    assert len(data(capsys, "report", "--compare", "tiny", "tiny-prope")) == 1
    assert smx("report", "--compare", "tiny [reversed] (untrained)", "tiny-prope") == 2
    assert "name the two runs" in capsys.readouterr().err
    runs = [next(Path("runs/eval").glob(f"{model}-rooms-*")).name for model in ("tiny", "tiny-prope")]
    assert len(data(capsys, "report", "--compare", *runs)) == 1


def test_what_cannot_be_compared_is_said(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("report", "--compare", "chence", "frequency") == 2
    assert "did you mean chance?" in capsys.readouterr().err
    assert smx("report", "--compare", "chance", "frequency", "--rows", "frames") == 2
    other = [part.replace("scenes=2", "scenes=1") for part in QUESTIONS]
    assert smx("eval", "--model", "frequency", *other, "--set", "bench_options.where.question_type=x") == 2
    assert smx("report", "--compare", "chance", "frequency", "--scorer", "oficial") == 2
    assert "did you mean official?" in capsys.readouterr().err
    assert smx("report", "--compare", "chance", "chance") == 2
    assert "chance would be compared with itself" in capsys.readouterr().err
    assert smx("report", "--compare", "chance", "frequency", "--format", "csv") == 2
    assert "--json" in capsys.readouterr().err, "a table on the screen is not the file that was asked for"
    assert smx("report", "--compare", "chance") == 2
    assert "smx report --help" in capsys.readouterr().err


def test_an_answer_that_never_changes_is_said_to_be_no_better_than_itself(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smx("show", "chance-rooms") == 0
    assert "no better than always answering" in capsys.readouterr().out
