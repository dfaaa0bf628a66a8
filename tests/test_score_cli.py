"""`smx score` on files in the shapes other tools write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from smx.cli.score import score
from smx.errors import UserError
from smx.report.score_file import score_file

DOCS: list[dict[str, Any]] = [
    {"id": 0, "question_type": "object_counting", "ground_truth": "2"},
    {"id": 1, "question_type": "object_abs_distance", "ground_truth": "4"},
    {"id": 2, "question_type": "object_rel_direction_easy", "ground_truth": "A", "options": ["A. left", "B. right"]},
    {"id": 3, "question_type": "object_rel_direction_hard", "ground_truth": "B", "options": ["A. left", "B. right"]},
]
TEXTS = ["3", "5", "a. left", "The right one"]
OFFICIAL = {
    "bench": "vsibench",
    "scorer": "official",
    "version": "1",
    "n": 4,
    "unparsed": 1,
    "types": {
        "object_counting": {"score": 0.1, "n": 1},
        "object_abs_distance": {"score": 0.6, "n": 1},
        "object_rel_direction_easy": {"score": 1.0, "n": 1},
        "object_rel_direction_hard": {"score": 0.0, "n": 1},
    },
    "tasks": {
        "object_counting": {"score": 0.1, "n": 1},
        "object_abs_distance": {"score": 0.6, "n": 1},
        "object_rel_direction": {"score": 0.5, "n": 2},
    },
    "acc": {"micro": 0.5, "macro": 0.5},
    "mra": {"micro": 0.35, "macro": 0.35},
    "all": {"micro": 0.425, "macro": pytest.approx(0.4)},
}


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def plain(path: Path) -> Path:
    return lines(path / "predictions.jsonl", [d | {"prediction": t} for d, t in zip(DOCS, TEXTS, strict=True)])


def plain_parquet(path: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    rows = [d | {"pred": t} for d, t in zip(DOCS, TEXTS, strict=True)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path / "predictions.parquet")
    return path / "predictions.parquet"


def spatial_mllm_results(path: Path) -> Path:
    """results_spatial-mllm.json: the row nested in `sample`, the cleaned text and a reward beside it."""
    rows = [
        {
            "sample": d | {"scene_name": "scene0000_00", "dataset": "scannet", "question": "?"},
            "prompt": "<|im_start|>user …",
            "model_output": t,
            "cleaned_model_output": t.lower(),
            "cleaned_gt_answer": d["ground_truth"].lower(),
            "reward": 0.0,
            "correct": False,
        }
        for d, t in zip(DOCS, TEXTS, strict=True)
    ]
    (path / "results_spatial-mllm.json").write_text(json.dumps(rows, indent=2))
    return path / "results_spatial-mllm.json"


def lmms_eval_samples(path: Path) -> Path:
    """samples_vsibench.jsonl: the row in `doc` (which loses its lists), the text in lists of lists."""
    rows = [
        {
            "doc_id": d["id"],
            "doc": {k: v for k, v in d.items() if k != "options"},
            "target": d["ground_truth"],
            "resps": [[t]],
            "filtered_resps": [t],
            "doc_hash": "74234e98",
        }
        for d, t in zip(DOCS, TEXTS, strict=True)
    ]
    return lines(path / "20250101_samples_vsibench.jsonl", rows)


def lmms_eval_log(path: Path) -> Path:
    """vsibench.json of older versions: `logs` in an object, the row with its prediction under the metric's name."""
    rows = [
        {"doc_id": d["id"], "target": d["ground_truth"], "resps": [[t]], "vsibench_score": d | {"prediction": t}}
        for d, t in zip(DOCS, TEXTS, strict=True)
    ]
    (path / "vsibench.json").write_text(json.dumps({"args": {"limit": None}, "time": "now", "logs": rows}))
    return path / "vsibench.json"


def windows_list(path: Path) -> Path:
    """A list of rows with a byte order mark, numbers as numbers."""
    rows = [d | {"response": t} for d, t in zip(DOCS, TEXTS, strict=True)]
    rows[0] |= {"response": 3, "ground_truth": 2}
    (path / "rows.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    return path / "rows.json"


def smx_items(path: Path) -> Path:
    """items.jsonl of a shard: a failed item is no wrong answer."""
    rows: list[dict[str, Any]] = [
        {
            "item": str(d["id"]),
            "ok": True,
            "at": "2025-01-01T00:00:00Z",
            "data": {"type": d["question_type"], "truth": d["ground_truth"], "options": d.get("options"), "text": t},
        }
        for d, t in zip(DOCS, TEXTS, strict=True)
    ]
    rows.insert(2, {"item": "77", "ok": False, "at": "2025-01-01T00:00:00Z", "error": {"line": "out of memory"}})
    return lines(path / "items.jsonl", rows)


SHAPES = [plain, plain_parquet, spatial_mllm_results, lmms_eval_samples, lmms_eval_log, windows_list, smx_items]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_tools_file_gives_the_same_scores(tmp_path: Path, shape: Any) -> None:
    assert score_file(shape(tmp_path), "vsibench") == (OFFICIAL, int(shape is smx_items))


def test_the_scorer_changes_the_score_and_is_named(tmp_path: Path) -> None:
    summary, _ = score_file(spatial_mllm_results(tmp_path), "vsibench", "spatial-mllm")
    assert summary["scorer"] == "spatial-mllm"
    assert [t["score"] for t in summary["types"].values()] == [0.0, 0.5, 0.0, 0.0]


def test_rows_of_the_built_in_rooms_are_scored_too(tmp_path: Path) -> None:
    assert score_file(plain(tmp_path), "rooms") == (OFFICIAL | {"bench": "rooms"}, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question_type": "object_count"}, "unknown question type 'object_count'"),
        ({"question_type": None}, "no 'question_type'"),
        ({"ground_truth": None}, "no 'ground_truth'"),
        ({"ground_truth": "0"}, "ground truth '0' is no positive number"),
        ({"ground_truth": True}, "no 'ground_truth'"),
        ({"prediction": [2, 3]}, "'prediction' is not one text"),
        ({"id": 1}, "id '1' again (first: line 2)"),
    ],
)
def test_a_row_that_cannot_be_scored_is_an_error_naming_its_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    good = [d | {"prediction": t} for d, t in zip(DOCS, TEXTS, strict=True)]
    bad = {"id": 9, "question_type": "object_counting", "ground_truth": "2", "prediction": "2"} | changes
    path = tmp_path / "predictions.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in [*good, bad]))  # blank lines count as lines
    with pytest.raises(UserError) as caught:
        score_file(path, "vsibench")
    assert caught.value.message.startswith(f"{path}, line 9: ")
    assert said.replace("line 2", "line 3") in caught.value.message


def test_a_row_without_a_known_text_field_lists_those_there_are(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", [DOCS[0] | {"answer_text": "2"}])
    with pytest.raises(UserError, match="line 1: no model text") as caught:
        score_file(path, "vsibench")
    assert "model_output" in caught.value.hint
    assert "answer_text" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.xls", "id,prediction", "cannot read files that end in '.xls'"),
        ("p.csv", "id,prediction", "holds no rows"),
        ("p.jsonl", "", "holds no rows"),
        ("p.jsonl", "[1, 2]", "line 1: a list, not one row"),
        ("p.jsonl", "3", "line 1: expected an object"),
        ("p.jsonl", '{"id": ' + "9" * 5000 + "}", "line 1: not valid JSON (a number of thousands of digits)"),
        ("p.json", "[" * 100_000, "not valid JSON (too many brackets in each other)"),
        ("p.csv", "id,pred,pred\n1,2,3", "line 1: two columns are called 'pred'"),
        ("p.json", '{"a": 1}\n{"a": 2}', "line 2, column 1: not valid JSON"),
        ("p.json", '{"acc": {"micro": 0.1}}', "no list of objects"),
        ("p.json", '{"a": [{"x": 1}], "b": [{"x": 1}]}', "several lists: a, b"),
        ("p.json", "3", "no list of objects"),
        ("p.parquet", "hello", "not a readable parquet file"),
    ],
)
def test_a_file_that_is_no_predictions_says_why(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        score_file(tmp_path / name, "vsibench")
    assert said in caught.value.message


def test_a_long_thought_in_a_cell_is_read_whole(tmp_path: Path) -> None:
    """Lost otherwise: every model that thinks aloud for longer than Python's limit of a cell."""
    thought = "so many chairs, " * 20_000
    cells = f'1,object_counting,4,"{thought}<answer>4</answer>"'
    (tmp_path / "p.csv").write_text(f"id,question_type,ground_truth,prediction\n{cells}\n")
    assert score_file(tmp_path / "p.csv", "vsibench", "spatial-mllm")[0]["all"]["micro"] > 0.9


def test_missing_files_and_misspelt_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        score_file(tmp_path / "p.jsonl", "vsibench")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match="is a folder, not a file"):
        score_file(tmp_path / "folder.jsonl", "vsibench")
    path = plain(tmp_path)
    with pytest.raises(UserError, match="did you mean vsibench"):
        score_file(path, "vsi-bench")
    with pytest.raises(UserError, match="did you mean spatial-mllm"):
        score_file(path, "vsibench", "spatial_mllm")


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(score)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_json_is_for_programs_and_nothing_else_is_printed(tmp_path: Path) -> None:
    assert json.loads(run(str(plain(tmp_path)), "--json")) == OFFICIAL


def test_the_table_names_scorer_averages_counts_and_unparsed(tmp_path: Path) -> None:
    output = run(str(plain(tmp_path)), "--scorer", "official")
    assert "vsibench, scorer official@1: 4 answers, 1 of them unparsed" in output
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    assert ["object_rel_direction", "", "2", "50.00"] in cells
    assert ["", "object_rel_direction_easy", "1", "100.00"] in cells
    assert ["object_counting", "", "1", "10.00"] in cells
    assert ["all", "42.50", "40.00"] in cells
    assert "micro" in output
    assert "macro" in output


def test_recorded_failures_are_counted_aloud(tmp_path: Path) -> None:
    assert "records 1 failed item" in run(str(smx_items(tmp_path)))


def test_a_type_that_is_absent_leaves_a_dash_not_a_zero(tmp_path: Path) -> None:
    output = run(str(lines(tmp_path / "p.jsonl", [DOCS[0] | {"output": "2"}])))
    assert any("acc" in line and line.count(" - ") == 2 for line in output.splitlines())
