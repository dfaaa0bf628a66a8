"""Reading VSI-Bench: the right questions in the right words, and a broken file said so with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx

from smx.benches import Question
from smx.benches._vsi import CHOICE, TYPES
from smx.benches.vsibench import Bench
from smx.errors import UserError

DATASETS = ("scannet", "scannetpp", "arkitscenes")


def a_row(number: int, **changes: Any) -> dict[str, Any]:
    """A row with the columns and types of the public files."""
    kind = changes.get("question_type", TYPES[number % len(TYPES)])
    choice = kind in CHOICE
    row = {
        "id": number,
        "dataset": DATASETS[number % 3],
        "scene_name": f"scene{number % 4:04d}_00",
        "question_type": kind,
        "question": f"Question {number}?",
        "options": ["A. left", "B. right", "C. back"] if choice else None,
        "ground_truth": "B" if choice else "2.5",
    }
    return row | changes


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


ROWS = [a_row(n) for n in range(30)]


def test_parquet_and_jsonl_hold_the_same_questions(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_jsonl(tmp_path / "a" / "test.jsonl", ROWS)
    write_parquet(tmp_path / "b" / "test.parquet", ROWS)
    questions = Bench().questions(tmp_path / "a")
    assert questions == Bench().questions(tmp_path / "b")
    assert len(questions) == 30
    assert {q.type for q in questions} == set(TYPES)
    assert [(q.scene, q.id) for q in questions] == sorted((q.scene, q.id) for q in questions)


def test_a_row_becomes_a_question_with_the_video_it_is_about(tmp_path: Path) -> None:
    row = a_row(7, question_type="object_rel_distance", dataset="arkitscenes", scene_name="41069025")
    write_jsonl(tmp_path / "test.jsonl", [row])
    assert Bench().questions(tmp_path) == [
        Question(
            id="7",
            dataset="arkitscenes",
            scene="arkitscenes/41069025",
            type="object_rel_distance",
            text="Question 7?",
            options=("A. left", "B. right", "C. back"),
            truth="B",
        )
    ]


@pytest.mark.parametrize("name", ["test.parquet", "test-00000-of-00001.parquet", "questions.parquet"])
def test_the_public_layouts_are_found(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path / name, ROWS[:5])
    (tmp_path / "README.md").write_text("not a question")
    assert len(Bench().questions(tmp_path)) == 5


def test_shards_are_one_bench_and_a_missing_one_is_no_smaller_bench(tmp_path: Path) -> None:
    write_parquet(tmp_path / "test-00000-of-00002.parquet", ROWS[:20])
    with pytest.raises(UserError, match="1 of 2 files"):
        Bench().questions(tmp_path)
    write_parquet(tmp_path / "test-00001-of-00002.parquet", ROWS[20:])
    assert len(Bench().questions(tmp_path)) == 30


def test_several_files_must_be_chosen_between(tmp_path: Path) -> None:
    write_parquet(tmp_path / "mine.parquet", ROWS[:5])
    write_parquet(tmp_path / "yours.parquet", ROWS[:9])
    with pytest.raises(UserError, match="several question files") as caught:
        Bench().questions(tmp_path)
    assert "mine.parquet, yours.parquet" in caught.value.hint
    assert len(Bench(file="yours.parquet").questions(tmp_path)) == 9
    for stranger in ("yuors.parquet", "../test.parquet", str(tmp_path / "yours.parquet")):
        with pytest.raises(UserError, match="holds no file"):
            Bench(file=stranger).questions(tmp_path)


# The debiased subset, in the three ways in which it is published

CUT = {"1", "4", "9", "12", "29"}  # ids of those ROWS that are pruned
LEFT = {str(row["id"]) for row in ROWS} - CUT


def marked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "pruned": str(row["id"]) in CUT} for row in rows]


def write_halves(root: Path) -> None:
    """The two parquet files that make up the test split since November 2025."""
    rows = marked(ROWS)
    write_parquet(root / "test_debiased.parquet", [row for row in rows if not row["pruned"]])
    write_parquet(root / "test_pruned.parquet", [row for row in rows if row["pruned"]])


def write_list(root: Path) -> None:
    write_jsonl(root / "test.jsonl", ROWS)
    (root / "pruned_ids.txt").write_text("\n".join(sorted(CUT)) + "\n")


def write_column(root: Path) -> None:
    """As `datasets` saves the configuration `full`."""
    write_parquet(root / "test-00000-of-00001.parquet", marked(ROWS))


@pytest.mark.parametrize("write", [write_halves, write_list, write_column])
def test_the_debiased_subset_is_the_same_however_it_is_published(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """Lost otherwise: numbers of one subset that depend on which file somebody downloaded."""
    write(tmp_path)
    assert {q.id for q in Bench(subset="debiased").questions(tmp_path)} == LEFT
    assert {q.id for q in Bench().questions(tmp_path)} == LEFT | CUT
    assert [q.id for q in Bench(subset="debiased", where={"id": ("2",)}).questions(tmp_path)] == ["2"]


def test_another_list_of_pruned_ids_is_another_run(tmp_path: Path) -> None:
    write_list(tmp_path)
    full, debiased = Bench().digest(tmp_path), Bench(subset="debiased").digest(tmp_path)
    (tmp_path / "pruned_ids.txt").write_text("1\n")
    assert Bench(subset="debiased").digest(tmp_path) != debiased
    assert Bench().digest(tmp_path) == full


@pytest.mark.parametrize("name", ["test_debiased.parquet", "test_pruned.parquet"])
def test_one_half_never_passes_for_the_whole_bench(tmp_path: Path, name: str) -> None:
    """Lost otherwise: a debiased score in the column of VSI-Bench."""
    write_halves(tmp_path)
    for other in {"test_debiased.parquet", "test_pruned.parquet"} - {name}:
        (tmp_path / other).unlink()
    with pytest.raises(UserError, match="holds a part of the questions") as caught:
        Bench().questions(tmp_path)
    assert ("--subset debiased" in caught.value.hint) == (name == "test_debiased.parquet")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "and no question file in"),
        (["test.jsonl"], "test.jsonl has no column 'pruned'"),
        (["test-00000-of-00001.parquet"], "test-00000-of-00001.parquet has no column 'pruned'"),
        (["test_pruned.parquet"], "holds a part of the questions"),
    ],
)
def test_without_the_subset_it_is_said_what_was_looked_for_and_where_to_get_it(
    tmp_path: Path, names: list[str], said: str
) -> None:
    for name in names:
        (write_jsonl if name.endswith("l") else write_parquet)(tmp_path / name, ROWS)
    with pytest.raises(UserError) as caught:
        Bench(subset="debiased").questions(tmp_path)
    assert said in caught.value.message
    assert f"{tmp_path} holds neither test_debiased.parquet nor pruned_ids.txt" in caught.value.message
    assert "hf download nyu-visionx/VSI-Bench test_debiased.parquet" in caught.value.hint


def test_files_of_the_subset_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """Lost otherwise: a "debiased" score over all questions, because two lists count ids in two ways."""
    write_list(tmp_path)
    (tmp_path / "pruned_ids.txt").write_text("vsi-1\nvsi-4\n")
    with pytest.raises(UserError, match="none of the 2 ids in"):
        Bench(subset="debiased").questions(tmp_path)
    write_parquet(tmp_path / "test_debiased.parquet", marked(ROWS))
    with pytest.raises(UserError, match=r"test_debiased.parquet, row 2: .* marked as pruned"):
        Bench(subset="debiased").questions(tmp_path)
    write_parquet(tmp_path / "test_debiased.parquet", [{**row, "pruned": "no"} for row in ROWS])
    with pytest.raises(UserError, match=r"row 1: 'pruned' must be true or false, found 'no'"):
        Bench(subset="debiased").questions(tmp_path)


def test_debiased_and_full_are_two_runs_in_two_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: two benches in one column, or in one mean."""
    root = tmp_path / "vsibench"
    root.mkdir()
    write_list(root)
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "lab"))
    asked = ("eval", "--model", "frequency", "--bench", "vsibench", "--root", root)
    for subset in ([], ["--subset", "debiased"], ["--subset", "full"]):
        assert smx(*asked, *subset) == 0
    assert "skip" in capsys.readouterr().err  # full is what is asked where nothing is said
    found = data(capsys, "report", "--metric", "all.micro")["tables"]
    assert [table["bench"] for table in found] == ["vsibench", "vsibench [debiased]"]
    assert [[cell["n"] for cell in table["cells"]] for table in found] == [[30], [25]]
    folders = sorted(path.name for path in (tmp_path / "lab/runs/eval").iterdir())
    assert [name.rpartition("-")[0] for name in folders] == ["frequency-vsibench", "frequency-vsibench-debiased"]
    assert smx("report", "--compare", "frequency", "frequency") == 2


def test_the_rooms_do_not_stand_in_for_a_subset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "lab"))
    assert smx("eval", "--model", "frequency", "--bench", "vsibench", "--subset", "debiased") == 2
    assert "where is 'vsibench'?" in capsys.readouterr().err
    assert smx("eval", "--model", "frequency", "--bench", "vsibench", "--subset", "debaised", "--root", tmp_path) == 2
    assert "'full' or 'debiased'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [None, "absent", "empty"])
def test_a_root_without_questions_says_what_is_expected(tmp_path: Path, given: str | None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        Bench().questions(tmp_path / given if given else None)
    assert "test.jsonl" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question_type": "object_count"}, "unknown question type 'object_count'"),
        ({"question_type": None}, "no 'question_type'"),
        ({"question_type": "object_counting", "ground_truth": True}, "no 'ground_truth'"),
        ({"question_type": "object_counting", "ground_truth": "0"}, "ground truth '0' is no positive number"),
        ({"question_type": "object_counting", "ground_truth": "-1"}, "ground truth '-1' is no positive number"),
        ({"question_type": "object_counting", "ground_truth": "nan"}, "ground truth 'nan' is no positive number"),
        ({"question_type": "object_counting", "ground_truth": "inf"}, "ground truth 'inf' is no positive number"),
        ({"question_type": "route_planning", "options": None}, "route_planning without options"),
        ({"question_type": "route_planning", "options": []}, "route_planning without options"),
        ({"question_type": "route_planning", "options": "A. left"}, "options must be a list of texts"),
        ({"question_type": "route_planning", "ground_truth": "D"}, "'D' is not the letter of an option"),
        ({"question_type": "route_planning", "ground_truth": "A. left"}, "is not the letter of an option"),
        ({"scene_name": None}, "no 'scene_name'"),
        ({"scene_name": "../../etc/passwd"}, "cannot be the name of a folder"),
        ({"dataset": ".."}, "cannot be the name of a folder"),
        ({"question": ""}, "no 'question'"),
        ({"id": None}, "no 'id'"),
        ({"id": 0}, "id '0' again (first: test.jsonl, line 1)"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_jsonl(tmp_path / "test.jsonl", [a_row(0), a_row(1), a_row(2, **changes)])
    with pytest.raises(UserError) as caught:
        Bench().questions(tmp_path)
    assert caught.value.message.startswith(f"{path}, line 3: ")
    assert said in caught.value.message


def test_a_broken_parquet_row_is_named_by_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "test.parquet", [a_row(0), a_row(1, scene_name=None)])
    with pytest.raises(UserError) as caught:
        Bench().questions(tmp_path)
    assert caught.value.message.startswith(f"{path}, row 2: no 'scene_name'")


def test_a_question_without_ground_truth_fails_alone_and_counts_in_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: a whole bench for one empty cell, or a wrong answer that nobody could have given right."""
    rows = [{**row, "ground_truth": {3: None, 11: " "}.get(row["id"], row["ground_truth"])} for row in ROWS]
    write_jsonl(tmp_path / "test.jsonl", rows)
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "lab"))
    asked = ("eval", "--model", "frequency", "--bench", "vsibench", "--root", tmp_path, "--max-failed", "2")
    assert smx(*asked) == 0
    assert "2 of 30 questions have no ground truth (e.g. 11)" in " ".join(capsys.readouterr().err.split())
    (cell,) = data(capsys, "report", "--metric", "all.micro")["tables"][0]["cells"]
    assert (cell["n"], cell["failed"], cell["value"]) == (28, 2, 1.0)
    write_jsonl(tmp_path / "test.jsonl", [{**row, "ground_truth": None} for row in ROWS])
    with pytest.raises(UserError, match="no question has a 'ground_truth'"):
        Bench().questions(tmp_path)


def test_a_damaged_file_is_said_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match="not a readable parquet file"):
        Bench().questions(tmp_path)
    (tmp_path / "test.parquet").unlink()
    (tmp_path / "test.jsonl").write_text(json.dumps(a_row(0)) + '\n{"id": 1, "dataset')
    with pytest.raises(UserError, match="line 2: not valid JSON"):
        Bench().questions(tmp_path)


def test_where_keeps_what_the_notes_quote(tmp_path: Path) -> None:
    """ "Room size estimation on all arkit" is a filter, not another bench."""
    rows = [a_row(n, question_type=kind) for n, kind in enumerate(TYPES * 3)]
    write_jsonl(tmp_path / "test.jsonl", rows)
    bench = Bench.parse({"where": "question_type=room_size_estimation,dataset=arkitscenes"}, "bench vsibench")
    kept = bench.questions(tmp_path)
    assert [q.id for q in kept] == [str(r["id"]) for r in rows if r["question_type"] == TYPES[3]
                                    and r["dataset"] == "arkitscenes"]  # fmt: skip
    assert kept


@pytest.mark.parametrize(
    "where",
    [
        "dataset=scannet|arkitscenes,question_type=route_planning",
        " question_type = route_planning , dataset = arkitscenes|scannet|scannet",
        {"question_type": "route_planning", "dataset": ["scannet", "arkitscenes"]},
        {"dataset": ("arkitscenes", "scannet"), "question_type": ["route_planning"]},
    ],
)
def test_the_same_filter_is_the_same_run_however_it_is_written(where: Any) -> None:
    bench = Bench.parse({"where": where}, "bench vsibench")
    assert bench.model_dump(mode="json")["where"] == {
        "dataset": ["arkitscenes", "scannet"],
        "question_type": ["route_planning"],
    }
    assert Bench.parse(bench.model_dump(mode="json"), "bench vsibench") == bench


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("question_typ=route_planning", "did you mean question_type"),
        ("question_type=route_plan", "did you mean route_planning"),
        ("route_planning", "expected KEY=VALUE"),
        (3, "expected KEY=VALUE"),
    ],
)
def test_a_misspelt_filter_names_the_right_one(where: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        Bench.parse({"where": where}, "bench vsibench")
    assert said in str(caught.value)


def test_a_filter_that_leaves_nothing_says_what_there_is(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(UserError, match="no question has dataset=arkit") as caught:
        Bench.parse({"where": "dataset=arkit"}, "bench vsibench").questions(tmp_path)
    assert "arkitscenes, scannet, scannetpp" in caught.value.hint


def test_the_digest_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    for folder, rows in (("a", ROWS), ("b", ROWS), ("c", ROWS[:-1])):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "test.jsonl", rows)
    a, b, c = (Bench().digest(tmp_path / folder) for folder in "abc")
    assert a == b != c
    assert len(a) == 64


CHOOSE = Question("1", "scannet", "scannet/s", "route_planning", "Which way?", ("A. Left", "B. Right"), "A")
MEASURE = Question("2", "scannet", "scannet/s", "room_size_estimation", "How big?", None, "20.5")
CHOOSE_LINES = """Which way?
Options:
A. Left
B. Right
Answer with the option's letter from the given choices directly."""
MEASURE_LINES = """How big?
Please answer the question using a single word or phrase."""


def test_prompts_are_the_published_ones_to_the_letter() -> None:
    ours, theirs = Bench(), Bench(prompt="spatial-mllm")
    assert ours.render(CHOOSE) == f"These are frames of a video.\n{CHOOSE_LINES}"
    assert ours.render(MEASURE) == f"These are frames of a video.\n{MEASURE_LINES}"
    assert theirs.render(CHOOSE) == CHOOSE_LINES
    assert theirs.render(MEASURE) == MEASURE_LINES
    with pytest.raises(UserError, match="'official' or 'spatial-mllm'"):
        Bench.parse({"prompt": "mine"}, "bench vsibench")


def test_without_training_questions_the_baselines_look_at_the_test_answers_and_say_so(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", ROWS)
    assert Bench().training(tmp_path) == []
    questions, source = Bench().baseline_answers(tmp_path)
    assert questions == Bench().questions(tmp_path)
    assert source == "answers of the test split, as in the VSI-Bench paper"
