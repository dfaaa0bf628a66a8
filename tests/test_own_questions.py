"""Questions of one's own without code: a table and a folder of videos."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import data, smx
from support.media import make_video

from smx.benches._columns import guess, scene_of
from smx.benches._rows import read_rows
from smx.benches.table import Bench
from smx.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"video": "clips/hall.mp4", "question": "How many chairs?", "options": None, "answer": "4"},
    {"video": "kitchen", "question": "Which is nearer?", "options": ["sofa", "door"], "answer": "door"},
    {"video": "kitchen.mp4", "question": "What colour is it?", "options": None, "answer": "Dark red"},
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name in ("hall", "kitchen", "other"):
        make_video(root / f"{name}.mp4", n=8)
    return root


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "lab" / "experiments").mkdir(parents=True)
    (tmp_path / "lab" / "experiments" / "site.yaml").write_text("executor: inline\n")
    return tmp_path / "lab"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` as the table that `path` ends like."""
    text = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    columns = list(rows[0])
    if path.suffix in (".csv", ".tsv"):
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(text)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        from openpyxl import Workbook

        book = Workbook()
        book.active.append(columns)
        for row in text:
            book.active.append([row[column] for column in columns])
        book.save(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet", "xlsx"])
def test_every_kind_of_table_holds_the_same_questions(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"my.{ending}", ROWS)
    bench = Bench(file=path.name, options="options")
    asked = bench.questions(tmp_path)
    assert [(q.id, q.scene, q.type, q.truth) for q in asked] == [
        ("1", "hall", "number", "4"),
        ("2", "kitchen", "choice", "B"),
        ("3", "kitchen", "text", "Dark red"),
    ]
    assert asked[1].options == ("A. sofa", "B. door")
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_rows(packed) == read_rows(path)


def test_a_table_is_evaluated_and_kept(
    lab: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: an afternoon of writing a plugin, for forty questions in a sheet."""
    table = write(tmp_path / "my.csv", ROWS)
    run = ("--workspace", lab, "eval", "--model", "tiny", "--frames", "2", "--set", "max_new_tokens=2")
    assert smx(*run, "--bench", table, "--root", videos) == 0
    told = capsys.readouterr()
    assert "`video` → scene, `question`, `answer` → truth (letter where `options`, number → MRA, else em)" in told.err
    assert "3 questions, 2 videos, 0 missing" in told.err
    assert "experiments/benches/my.yaml" in told.err
    assert "3/3" in told.out
    (again,) = data(capsys, *run, "--bench", "my")
    assert (again["run"].startswith("tiny-my-uniform-2f-"), again["done"]) == (True, 3)
    assert f"{again['fingerprint']}" == data(capsys, *run, "--bench", table, "--root", videos)[0]["fingerprint"]
    assert smx("--workspace", lab, "report", "--bench", "my") == 0
    assert "my" in capsys.readouterr().out


def test_columns_can_be_named(lab: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"which": r["video"], "ask": r["question"], "A": "sofa", "B": "door", "gold": "B", "kind": "near"} for r in ROWS
    ]
    table = write(tmp_path / "my.csv", rows)
    run = ("--workspace", lab, "eval", "--model", "chance", "--bench", table, "--root", videos)
    assert smx(*run) == 2
    said = capsys.readouterr().err
    assert "which column is the scene?" in said
    assert "--set bench_options.scene=COLUMN; columns: which, ask, A, B, gold, kind" in said
    named = {"scene": "which", "question": "ask", "truth": "gold", "type": "kind"}
    sets = [part for role, column in named.items() for part in ("--set", f"bench_options.{role}={column}")]
    assert smx(*run, *sets) == 0
    kept = yaml.safe_load((lab / "experiments" / "benches" / "my.yaml").read_text())
    assert kept["options"] == {**named, "types": ["near"]}
    assert smx("--workspace", lab, "eval", "--model", "frequency", "--bench", "my") == 0  # without naming them again
    assert smx(*run, "--set", "bench_options.truth=nothing") == 2
    assert "has no column 'nothing'" in capsys.readouterr().err


def test_missing_videos_are_said_and_the_rest_is_asked(
    lab: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: 60 of 100 answers, or 40 that count as wrong."""
    gone = [{**ROWS[0], "video": f"gone{k}.mp4"} for k in range(2)]
    table = write(tmp_path / "my.csv", ROWS + gone)
    run = (
        "--workspace",
        lab,
        "eval",
        "--model",
        "tiny",
        "--frames",
        "2",
        "--set",
        "max_new_tokens=2",
        "--bench",
        table,
    )
    smx(*run, "--root", videos)
    told = capsys.readouterr()
    assert "5 questions, 4 videos, 2 missing: gone0, gone1" in told.err
    assert "n 3/5" in told.out


def test_wrong_tables_are_one_sentence(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    path = write(tmp_path / "my.xlsx", ROWS)
    book = load_workbook(path)
    book.active.merge_cells("A2:A3")
    book.save(path)
    with pytest.raises(UserError, match="cells A2:A3 are merged"):
        read_rows(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a readable xlsx file"):
        read_rows(path)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:20])
    with pytest.raises(UserError, match="cannot be unpacked"):
        read_rows(tmp_path / "cut.csv.gz")
    for change, words in (
        ({"answer": "shelf"}, "no option's letter or text"),
        ({"question": ""}, "no 'question'"),
        ({"video": None}, "no 'video'"),
    ):
        write(tmp_path / "my.jsonl", [ROWS[0], {**ROWS[1], **change}])
        with pytest.raises(UserError, match=f"line 2.*{words}"):
            Bench(file="my.jsonl", options="options").questions(tmp_path)


def test_another_table_of_the_same_name_is_refused(
    lab: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    first, second = (write(folder / "my.csv", ROWS) for folder in (tmp_path, tmp_path / "other"))
    run = ("--workspace", lab, "eval", "--model", "chance", "--root", videos, "--bench")
    assert smx(*run, first) == 0
    assert smx(*run, second) == 2
    assert "bench 'my' of this workspace is the table" in capsys.readouterr().err
    assert smx("--workspace", lab, "eval", "--model", "chance", "--bench", "m") == 2
    assert "valid: my, " in capsys.readouterr().err


def test_a_dry_run_keeps_nothing(lab: Path, videos: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "my.csv", ROWS)
    assert smx("--workspace", lab, "eval", "--model", "chance", "--bench", table, "--root", videos, "--dry-run") == 0
    assert not (lab / "experiments" / "benches").exists()


def test_columns_are_told_by_their_names() -> None:
    assert guess(["index", "Video", "Question", "Answer", "candidates"], {}, "x") == {
        "scene": "Video",
        "question": "Question",
        "truth": "Answer",
        "options": "candidates",
        "type": None,
        "id": "index",
    }
    for cell, scene in {"a/b.mp4": "b", "b.v2.MOV": "b.v2", "c:\\d.avi": "d", "scene0000_00": "scene0000_00"}.items():
        assert scene_of(cell) == scene
