"""Frames for other tools: what `smx samples export` writes is what they load."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support.commands import data, smx

from smx import sampleset, video


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with two rooms sampled: 4 of their 16 frames."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))
    size = [word for key, value in ROOMS.items() for word in ("--set", f"dataset_options.{key}={value}")]
    assert smx("gen", "--dataset", "rooms", "--sampler", "uniform", "--frames", "4", *size) == 0
    capsys.readouterr()
    return tmp_path


ROOMS = {"count": 2, "frames": 16, "width": 64, "height": 48}
BENCH = [
    "--bench",
    "rooms",
    *(word for pair in ("scenes=2", "frames=16", "width=64", "height=48") for word in ("--set", pair)),
]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_task_folder_for_lmms_eval(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: frames in another order, or questions of another scene, under a task's name."""
    found = data(capsys, "samples", "export", "uniform/4", "--as", "lmms-eval", "-o", lab / "task", *BENCH)
    task = yaml.load((lab / "task" / f"{found['task']}.yaml").read_text().replace("!function", ""), yaml.SafeLoader)
    rows = lines(Path(task["dataset_kwargs"]["data_files"]["test"]))
    assert len(rows) == found["questions"] > 20
    folder = next(place for place in sampleset.samples(lab / "samples") if place.name == rows[0]["scene_name"])
    sample = sampleset.read(folder)
    pictures = [np.asarray(Image.open(lab / "task" / str(name))) for name in rows[0]["frames"]]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.stack(pictures), sample.frames())
    assert rows[0]["ground_truth"]
    assert str(rows[0]["question"]) in str(rows[0]["prompt"])


def test_it_is_the_real_lmms_eval_that_loads_it(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: a folder that the tool refuses. Runs where lmms-eval is installed: `SMX_LMMS_EVAL=python`."""
    import os

    python = os.environ.get("SMX_LMMS_EVAL") or (sys.executable if importlib.util.find_spec("lmms_eval") else None)
    if python is None:
        pytest.skip("lmms-eval is not installed here (SMX_LMMS_EVAL names a Python that has it)")
    found = data(capsys, "samples", "export", "uniform/4", "--as", "lmms-eval", "-o", lab / "task", *BENCH)
    script = f"""
import json
from lmms_eval.tasks import TaskManager, get_task_dict
manager = TaskManager("ERROR", include_path={str(lab / "task")!r}, include_defaults=False)
task = get_task_dict([{found["task"]!r}], manager)[{found["task"]!r}]
doc = task.test_docs()[0]
text, pictures = task.doc_to_text(doc), task.doc_to_visual(doc)
right = task.process_results(doc, [doc["ground_truth"]])
wrong = task.process_results(doc, ["nothing"])
mean = task.aggregation()["score"]([right["score"], wrong["score"]])
print(json.dumps([len(task.test_docs()), text, [p.size for p in pictures], right["score"]["score"], mean]))
"""
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, text, sizes, right, mean = json.loads(done.stdout.splitlines()[-1])
    assert count == found["questions"]
    assert text.startswith("These are frames of a video.")
    assert sizes == [[64, 48]] * 4
    assert (right, mean) == (1.0, 0.5)


def test_a_table_for_vlmevalkit(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "samples", "export", "uniform/4", "--as", "vlmevalkit", "-o", lab / "kit", *BENCH)
    rows = list(csv.DictReader((lab / "kit" / f"{found['task']}.tsv").read_text().splitlines(True), delimiter="\t"))
    assert [row["index"] for row in rows] == [str(i) for i in range(found["questions"])]
    assert set(rows[0]) >= {"image_path", "question", "answer", "question_type", "ground_truth"}
    paths = yaml.safe_load(rows[0]["image_path"])  # a list as Python and YAML write it
    assert len(paths) == 4
    assert all(Path(path).is_file() for path in paths)
    assert "A" not in rows[0]  # with columns A, B … VLMEvalKit would put its own prompt around ours


def test_pictures_and_clips_for_any_tool(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smx("samples", "export", "uniform/4", "--as", "list", "-o", lab / "list") == 0
    entries = lines(lab / "list" / "frames.jsonl")
    assert len(entries) == 2
    assert all((lab / "list" / str(name)).is_file() for entry in entries for name in entry["frames"])  # type: ignore[attr-defined]
    assert smx("samples", "export", "uniform/4", "--as", "video", "-o", lab / "clips") == 0
    entry = lines(lab / "clips" / "frames.jsonl")[0]
    clip = lab / "clips" / str(entry["video"])
    assert video.probe(clip).n_frames == 4
    sample = sampleset.read(next(p for p in sampleset.samples(lab / "samples") if p.name == entry["scene"]))
    shown = np.stack([pixels for _, pixels in video.decode(clip, range(4))]).astype(int)
    assert np.abs(shown - sample.frames()).mean() < 8
    assert smx("samples", "export", "uniform/4", "--as", "list", "-o", lab / "list") == 2
    assert "is not empty" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One damaged scene costs that scene; a bench of other scenes, or a kind nobody knows, writes nothing."""
    (name,) = next(sampleset.samples(lab / "samples")).glob("sample.json")
    picture = next(path for path in sorted(name.parent.iterdir()) if path.suffix in (".png", ".jpg"))
    picture.write_bytes(b"")
    assert smx("samples", "export", "uniform/4", "--as", "list", "-o", lab / "list") == 1
    assert picture.name in capsys.readouterr().err
    assert len(lines(lab / "list" / "frames.jsonl")) == 1
    assert smx("samples", "export", "uniform/4", "--as", "lmms-evals", "-o", lab / "x") == 2
    assert "did you mean lmms-eval?" in capsys.readouterr().err
    assert (
        smx("samples", "export", "uniform/4", "--as", "lmms-eval", "-o", lab / "x", "--set", "where=scene_name=gone")
        == 2
    )
    assert not (lab / "x").exists()
