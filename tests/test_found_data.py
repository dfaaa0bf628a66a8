"""Data found where other tools put it: VSI-Bench's snapshot and its zips, lmms-eval's and VLMEvalKit's folders."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import data, smx
from support.media import make_video

from smx import zipped
from smx.datasets.vsibench import Dataset
from smx.digests import file_digest
from smx.doctor._downloads import downloads
from smx.errors import SceneError, UserError
from smx.models.tiny import Model as Tiny
from smx.workspace import Workspace, builtin

SCENES = ("scannet/scene0000_00", "scannet/scene0001_00", "arkitscenes/41069025")
FEW = ("--frames", "4", "--set", "max_new_tokens=2")


def rows() -> list[dict[str, Any]]:
    asked = [("object_counting", None, "3"), ("object_rel_distance", ["A. chair", "B. table"], "A")]
    return [
        {
            "id": 2 * k + n,
            "dataset": scene.split("/")[0],
            "scene_name": scene.split("/")[1],
            "question_type": kind,
            "question": "How many chairs are in this room?",
            "options": options,
            "ground_truth": truth,
        }
        for k, scene in enumerate(SCENES[:2])
        for n, (kind, options, truth) in enumerate(asked)
    ]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for scene in SCENES:
        (root / scene).parent.mkdir(exist_ok=True)
        make_video(root / f"{scene}.mp4", n=12)
    return root


@pytest.fixture
def home(tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$HF_HOME with VSI-Bench as `hf download` leaves it: blobs, links, one zip a dataset."""
    home = tmp_path / "hf"
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    place = home / "hub" / "datasets--nyu-visionx--VSI-Bench"
    snapshot = place / "snapshots" / ("a" * 40)
    for folder in (snapshot, place / "blobs", place / "refs"):
        folder.mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    (place / "blobs" / "q").write_text("\n".join(map(json.dumps, rows())))
    (snapshot / "test.jsonl").symlink_to("../../blobs/q")
    for number, dataset in enumerate(("scannet", "arkitscenes")):
        how = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)[number]
        with zipfile.ZipFile(place / "blobs" / dataset, "w", how) as archive:
            archive.writestr(f"__MACOSX/{dataset}/._x.mp4", b"no video")
            for path in sorted((videos / dataset).iterdir()):
                archive.write(path, f"{dataset}/{path.name}")
        (snapshot / f"{dataset}.zip").symlink_to(f"../../blobs/{dataset}")
    return home


@pytest.fixture
def snapshot(home: Path) -> Path:
    return next((home / "hub" / "datasets--nyu-visionx--VSI-Bench" / "snapshots").iterdir())


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    (folder / "experiments" / "models").mkdir(parents=True)
    return folder


def test_a_video_in_a_zip_is_the_video(snapshot: Path, videos: Path) -> None:
    """Lost otherwise: 5 GB of zips unpacked a second time, or other frames, or another run for the same data."""
    dataset = Dataset()
    assert dataset.scenes(snapshot) == sorted(SCENES)
    assert dataset.digest(snapshot) == dataset.digest(videos)
    for scene in SCENES:  # one zip is compressed, the other is not
        packed, plain = dataset.open(snapshot, scene), dataset.open(videos, scene)
        assert packed.source() == plain.source()
        assert np.array_equal(packed.timestamps(), plain.timestamps())
        for (_, left), (_, right) in zip(packed.decode([3, 11]), plain.decode([3, 11]), strict=True):
            assert np.array_equal(left, right)


def test_eval_of_what_lies_in_the_cache_needs_no_further_word(
    home: Path, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: a lab's first afternoon, and rooms asked in place of VSI-Bench."""
    folder = home / "hub" / "models--Qwen--Qwen2.5-VL-3B-Instruct"
    Tiny().load(None, seed=0, device="cpu", dtype="float32").save(folder / "snapshots" / ("b" * 40))
    (folder / "snapshots" / ("b" * 40) / "smx.json").unlink()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("b" * 40)
    shipped = builtin("experiments") / "models" / "qwen2_5vl.yaml"
    small = shipped.read_text() + "pixels: [3136, 9800]\n"
    (lab / "experiments" / "models" / "qwen2_5vl.yaml").write_text(small)
    assert smx("--workspace", lab, "eval", "--model", "qwen2_5vl", "--bench", "vsibench", *FEW, "--json") == 0
    told = capsys.readouterr()
    assert "Questions of vsibench: nyu-visionx/VSI-Bench@" in told.err
    assert f"Weights of qwen2_5vl: Qwen/Qwen2.5-VL-3B-Instruct@{'b' * 40}" in told.err
    assert "serve instead" not in told.err
    (run,) = json.loads(told.out)
    assert (run["done"], run["failed"]) == (4, 0)


def test_gen_makes_what_is_asked_about(home: Path, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: hours for videos that nobody asks about, and a second run for the same frames."""
    gen = ("--workspace", lab, "gen", "--dataset", "vsibench", "--frames", 4, "--dry-run")
    (asked,) = data(capsys, *gen)
    (every,) = data(capsys, *gen, "--all-scenes")
    (named,) = data(capsys, *gen, "--scenes", "arkitscenes/*")
    assert [run["items"] for run in (asked, every, named)] == [2, 3, 1]
    evaluation = ("--workspace", lab, "eval", "--model", "tiny", "--bench", "vsibench", "--frames", 4, "--dry-run")
    assert asked["fingerprint"] in [run["fingerprint"] for run in data(capsys, *evaluation)]


@pytest.mark.parametrize("place", ["vsibench", "hub/datasets--nyu-visionx--VSI-Bench/snapshots/{}/video"])
def test_what_other_tools_unpacked_is_read(place: str, home: Path, snapshot: Path, lab: Path, videos: Path) -> None:
    """lmms-eval's folder of $HF_HOME, and EASI's in the snapshot."""
    from smx.resolve.hub_data import published

    for archive in snapshot.glob("*.zip"):
        archive.unlink()
    shutil.copytree(videos, home / place.format(snapshot.name))
    found = published("vsibench", "videos")
    assert found is not None
    assert Dataset().scenes(found.folder) == sorted(SCENES)


def test_questions_and_videos_may_be_in_two_places(
    lab: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "test.jsonl").write_text("\n".join(map(json.dumps, rows())))
    site = f"data: {{vsibench: {{questions: ../questions, videos: {videos}}}}}"
    (lab / "experiments" / "site.yaml").write_text(site)
    gen, evaluated = data(
        capsys, "--workspace", lab, "eval", "--model", "tiny", "--bench", "vsibench", *FEW, "--dry-run"
    )
    assert (gen["items"], evaluated["items"]) == (2, 4)
    (lab / "experiments" / "site.yaml").write_text("data: {vsibench: {questions: ../questions}}")
    assert smx("--workspace", lab, "eval", "--model", "tiny", "--bench", "vsibench", "--dry-run") == 2
    assert "where are the videos of 'vsibench'?" in capsys.readouterr().err


def test_doctor_lists_what_is_here(home: Path, snapshot: Path, lab: Path) -> None:
    begun = home / "hub" / "models--Qwen--Qwen3-VL-4B-Instruct" / "blobs"
    begun.mkdir(parents=True)
    here = f"nyu-visionx/VSI-Bench@{'a' * 40}, from the Hugging Face cache"
    half, *lines = downloads(Workspace(lab, "--workspace"))
    assert [line.text for line in lines] == [f"vsibench: questions in {here}", f"vsibench: 3 videos in {here}"]
    assert half.level == "problem"
    assert half.hint.startswith("download it again: hf download Qwen/Qwen3-VL-4B-Instruct")
    for archive in snapshot.glob("*.zip"):
        archive.unlink()
    *_, last = downloads(Workspace(lab, "--workspace"))
    assert (last.level, last.hint) == ("warning", "hf download nyu-visionx/VSI-Bench --repo-type dataset")


def test_a_zip_that_is_cut_off_or_leads_out_is_refused(home: Path, snapshot: Path, videos: Path) -> None:
    """Lost otherwise: half of a bench passes for all of it."""
    archive = (snapshot / "scannet.zip").resolve()
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no whole zip file"):
        Dataset().scenes(snapshot)
    with zipfile.ZipFile(archive, "w") as made:
        made.write(videos / "scannet/scene0000_00.mp4", "scannet/../../scannet/scene0000_00.mp4")
    with pytest.raises(UserError, match="leads out of it"):
        Dataset().scenes(snapshot)


def test_a_damaged_member_fails_alone(snapshot: Path) -> None:
    archive = (snapshot / "scannet.zip").resolve()
    content = bytearray(archive.read_bytes())
    at = content.index(b"scene0001_00.mp4") + 200
    content[at : at + 100] = os.urandom(100)
    archive.write_bytes(content)
    assert list(Dataset().open(snapshot, SCENES[0]).decode([0]))
    with pytest.raises(SceneError, match="cannot be unpacked"):
        Dataset().open(snapshot, SCENES[1])


def test_paths_into_archives_are_told_from_others(snapshot: Path, videos: Path) -> None:
    inside = snapshot / "arkitscenes.zip" / "arkitscenes" / "41069025.mp4"
    plain = videos / "arkitscenes" / "41069025.mp4"
    assert zipped.split(inside) == (snapshot / "arkitscenes.zip", "arkitscenes/41069025.mp4")
    assert zipped.split(plain) is None
    assert zipped.split(videos / "gone" / "x.mp4") is None
    assert zipped.stat(inside)[0] == plain.stat().st_size
    assert file_digest(inside) == file_digest(plain)
    with zipped.opened(inside) as stream:
        stream.seek(-10, 2)
        assert stream.read() == plain.read_bytes()[-10:]
    with pytest.raises(FileNotFoundError):
        zipped.stat(snapshot / "arkitscenes.zip" / "gone.mp4")
