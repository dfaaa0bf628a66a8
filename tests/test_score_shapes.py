"""Files of predictions as other tools write them: each answer is found, and none counts that was not given."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.commands import data, smx

from smx.errors import UserError
from smx.report.score_file import Asked, score_file

ROWS: list[dict[str, Any]] = [
    {
        "id": k,
        "dataset": "scannet",
        "scene_name": f"scene000{k % 3}_00",
        "question_type": "object_counting" if k % 2 else "object_rel_distance",
        "question": "How many chairs, or which?",
        "options": None if k % 2 else ["A. chair", "B. lamp"],
        "ground_truth": "4" if k % 2 else "A",
    }
    for k in range(6)
]
TEXTS = ["A", "4", "B", "5", "A. chair", "4"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "vsi").mkdir()
    (tmp_path / "vsi" / "test.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "vsi" / "pruned_ids.txt").write_text("0\n1\n")
    return tmp_path / "vsi"


def joined(root: Path) -> Asked:
    from smx.benches.vsibench import Bench

    return Asked(Bench(), {q.id: q for q in Bench().questions(root)})


def vlmevalkit(folder: Path) -> Path:
    """Its VSI-Bench result sheet, whose columns are its own."""
    from openpyxl import Workbook

    names = {"dataset": "prefix", "scene_name": "video", "question_type": "type", "ground_truth": "answer"}
    names |= {"options": "candidates"}
    book = Workbook()
    columns = ["index", *(names.get(key, key) for key in ROWS[0]), "prediction"]
    book.active.append(columns)
    for number, (row, text) in enumerate(zip(ROWS, TEXTS, strict=True)):
        cells = [repr(value) if isinstance(value, list) else value for value in row.values()]
        book.active.append([number, *cells, float(text) if text.isdigit() else text])
    book.save(folder / "result.xlsx")
    return folder / "result.xlsx"


def vlmevalkit_tsv(folder: Path) -> Path:
    lines = ["index\tid\ttype\tanswer\tcandidates\tprediction"]
    lines += [
        f"{n}\t{r['id']}\t{r['question_type']}\t{r['ground_truth']}\t{r['options'] or ''}\t{t}"
        for n, (r, t) in enumerate(zip(ROWS, TEXTS, strict=True))
    ]
    (folder / "result.tsv").write_text("\n".join(lines))
    return folder / "result.tsv"


def sample(row: dict[str, Any], text: str) -> dict[str, Any]:
    about = {key: row[key] for key in ("question_type", "options", "dataset", "scene_name")}
    output = {"model": "x", "choices": [{"message": {"content": text}}], "completion": text}
    return {
        "id": row["id"],
        "epoch": 1,
        "input": "…",
        "target": row["ground_truth"],
        "metadata": about,
        "output": output,
    }


def inspect_json(folder: Path) -> Path:
    samples = [sample(row, text) for row, text in zip(ROWS, TEXTS, strict=True)]
    log = {"version": 2, "eval": {"task": "vsi"}, "reductions": [{"scorer": "x"}], "samples": samples}
    (folder / "log.json").write_text(json.dumps(log))
    return folder / "log.json"


def inspect_eval(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "log.eval", "w") as log:
        log.writestr("header.json", "{}")
        for row, text in zip(ROWS, TEXTS, strict=True):
            log.writestr(f"samples/{row['id']}_epoch_1.json", json.dumps(sample(row, text)))
    return folder / "log.eval"


def llava_3d(folder: Path) -> Path:
    """Ids and texts alone; what was asked stands in the bench."""
    lines = [
        json.dumps(
            {"question_id": r["id"], "prompt": "…", "text": t, "answer_id": "x", "model_id": "m", "metadata": {}}
        )
        for r, t in zip(ROWS, TEXTS, strict=True)
    ]
    (folder / "answers.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder / "answers.jsonl.gz"


@pytest.mark.parametrize("write", [vlmevalkit, vlmevalkit_tsv, inspect_json, inspect_eval, llava_3d])
def test_every_shape_scores_the_same(write: Any, root: Path, tmp_path: Path) -> None:
    """Lost otherwise: a script for each tool, and a truth that was joined to the wrong row."""
    plain = tmp_path / "plain.jsonl"
    plain.write_text("\n".join(json.dumps(r | {"prediction": t}) for r, t in zip(ROWS, TEXTS, strict=True)))
    expected, _ = score_file(plain, "vsibench", asked=joined(root))
    assert (expected["n"], expected["scenes"]) == (6, 3)
    assert expected["ci"]["all.micro"][""][0] < expected["all"]["micro"] < expected["ci"]["all.micro"][""][1]
    assert score_file(write(tmp_path), "vsibench", asked=joined(root))[0] == expected


def test_what_was_not_answered_is_counted_and_not_wrong(root: Path, tmp_path: Path) -> None:
    said: list[Any] = [None, "4", float("nan"), ["5", "4"], "A. chair", [["4"]]]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps(r | {"said": t}) for r, t in zip(ROWS, said, strict=True)))
    with pytest.raises(UserError, match="no model text"):
        score_file(path, "vsibench")
    found, _ = score_file(path, "vsibench", asked=Asked(text_field="said"))
    assert (found["n"], found["unanswered"], found["repeats"]) == (4, 2, 1)
    assert found["types"]["object_counting"]["n"] == 3


def test_a_truth_that_is_nowhere_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="question_type") as caught:
        score_file(llava_3d(tmp_path), "vsibench")
    assert "--root DIR" in caught.value.hint


def test_subsets_and_lists_of_ids(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--workspace", tmp_path, "score", llava_3d(tmp_path), "--root", root)
    assert [data(capsys, *given, *more)["n"] for more in ((), ("--subset", "debiased"), ("--subset", "pruned"))] == [
        6,
        4,
        2,
    ]
    (tmp_path / "tiny.txt").write_text("1\n5\n")
    assert data(capsys, *given, "--ids", tmp_path / "tiny.txt")["left_out"] == 4
    assert smx(*given, "--ids", tmp_path / "gone.txt") == 2
    assert smx(*given) == 0
    assert "95 %" in capsys.readouterr().out


def test_a_table_of_ones_own_is_a_bench_here_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiments" / "benches").mkdir(parents=True)
    (tmp_path / "my.csv").write_text("id,video,question,answer\n7,a.mp4,How many?,4\n8,b.mp4,What?,lamp\n")
    kept = "questions: my.csv\nvideos: videos\noptions: {scene: video, id: id}\n"
    (tmp_path / "experiments" / "benches" / "my.yaml").write_text(kept)
    (tmp_path / "p.jsonl").write_text('{"id": 7, "text": "4"}\n{"id": 8, "text": "a lamp"}\n')
    found = data(capsys, "--workspace", tmp_path, "score", tmp_path / "p.jsonl", "--bench", "my")
    assert (found["n"], found["all"]["micro"]) == (2, 1.0)
