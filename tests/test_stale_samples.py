"""A run's samples are those of its own data, whatever was made in the workspace before, and whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import QUESTIONS, SCENES, data, smx

from smx.datasets._rooms_files import write_frames
from smx.errors import SceneError
from smx.node.eval import load_scene, made_by
from smx.node.shard import Shard, describe
from smx.rooms import named_scene
from smx.runfolder import RunFolder
from smx.spec import EvalSpec

GEN = ("gen", "--sampler", "sa", "--frames", "4", "--set", "geometry.candidates=6")


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with one scene on disk: video, cameras and depth. The workspaces are beside it."""
    monkeypatch.chdir(tmp_path)
    for lab in ("lab", "fresh"):
        (tmp_path / lab).mkdir()
    write_frames(named_scene("test-000", frames=8, width=64, height=48), tmp_path / "data" / "kitchen")
    return tmp_path / "data"


def samples(lab: Path) -> dict[str, bytes]:
    """Every file of the samples that runs read, but for the index, which remembers what was."""
    names = [path.relative_to(lab) for path in (lab / "samples").rglob("*") if path.is_file()]
    read = [name for name in names if name.name != "index.jsonl" and not any(p.startswith(".") for p in name.parts)]
    return {name.as_posix(): (lab / name).read_bytes() for name in read}


def test_a_mended_camera_file_gives_what_a_fresh_workspace_gives(
    kitchen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: cameras with twice the focal length stay in the samples after their file was mended."""
    cameras = kitchen / "kitchen" / "cameras.json"
    right = cameras.read_text()
    wrong = json.loads(right)
    for axis in (0, 1):  # all of K times four is refused by now, for its principal point
        wrong["K"][axis][axis] *= 2
    cameras.write_text(json.dumps(wrong))
    assert smx("-w", "lab", *GEN, "--root", kitchen) == 0
    of_wrong = samples(Path("lab"))
    cameras.write_text(right)
    for lab in ("lab", "fresh"):
        assert smx("-w", lab, *GEN, "--root", kitchen) == 0
    of_right = samples(Path("lab"))
    assert of_right == samples(Path("fresh")) != of_wrong
    (fresh,) = data(capsys, "-w", "fresh", "ls")
    runs = {run["run"] for run in data(capsys, "-w", "lab", "ls")}
    assert len(runs) == 2
    assert fresh["run"] in runs

    cameras.write_text(json.dumps(wrong))  # the wrong one again: its run is done, and its sample is found again
    assert smx("-w", "lab", *GEN, "--root", kitchen) == 0
    assert samples(Path("lab")) == of_wrong
    cameras.write_text(right)
    assert smx("-w", "lab", *GEN, "--root", kitchen) == 0
    assert samples(Path("lab")) == of_right


def test_a_file_of_a_sample_that_was_truncated_changed_or_deleted_is_made_again(tmp_path: Path) -> None:
    """Lost otherwise: a disk that ran full leaves half a picture, and every later run reads it or fails on it."""
    lab = tmp_path / "lab"
    lab.mkdir()
    assert smx("-w", lab, *GEN, *SCENES) == 0
    whole = samples(lab)
    damages = {
        "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
        "deleted": lambda path: path.unlink(),
        "changed": lambda path: path.write_bytes(bytes(reversed(path.read_bytes()))),
    }
    names = [name for name in whole if "test-000" in name]
    assert {Path(name).suffix for name in names} == {".json", ".npz", ".png"}
    for number, name in enumerate(names):
        how = list(damages)[number % 3]
        damages[how](lab / name)
        assert smx("-w", lab, *GEN, *SCENES) == 0
        assert samples(lab) == whole, f"{name} {how}"


def test_a_picture_that_is_not_what_was_written_fails_its_questions_by_name_and_a_retry_makes_it_again(
    tmp_path: Path,
) -> None:
    """Lost otherwise: a model is shown half a frame, or another one, and its answers count."""
    lab = tmp_path / "lab"
    lab.mkdir()
    ask = ("eval", "--bench", "rooms", "--model", "tiny", "--sampler", "uniform", "--frames", "4", *QUESTIONS)
    assert smx("-w", lab, *ask, "--set", "max_new_tokens=1") == 0
    whole = samples(lab)
    (run,) = (lab / "runs/eval").iterdir()
    attempt = RunFolder(run).attempts()[0]
    shard = Shard(
        spec=EvalSpec.model_validate(attempt.run.spec["spec"]),
        fingerprint=attempt.run.spec["fingerprint"],
        paths=attempt.plan["paths"],
        items=[],
        attempt=attempt,
        folder=attempt.shard(0),
    )
    made = made_by(shard.path("gen"))
    (picture,) = (lab / name for name in whole if "test-000/frame_002" in name)
    label = picture.parent.parent.name
    assert load_scene(shard, label, "test-000", cameras=True, made=made).frames.shape[0] == 4
    content = bytearray(picture.read_bytes())
    content[-20] ^= 1
    for damaged in (bytes(content), bytes(content[:-9]), None):
        picture.unlink()
        if damaged is not None:
            picture.write_bytes(damaged)
        with pytest.raises(SceneError, match=rf"{picture.name}.*: smx retry \S+ {run.name}$") as caught:
            load_scene(shard, label, "test-000", cameras=False, made=made)
        assert describe(caught.value)["kind"] == "missing-input"
        assert smx("-w", lab, *str(caught.value).rpartition(": smx ")[2].split()) == 0
        assert samples(lab) == whole
