"""`smx gc`. Lost otherwise: a full disk in one direction, a week of results in the other."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from support.commands import QUESTIONS, SCENES, left, smx
from support.processes import tree

from smx.processes import this_process
from smx.registry.store import Registry
from smx.runfolder import RunFolder, run_folders

DAY = 86400
GEN = ("gen", "--dataset", "rooms", "--sampler", "uniform,random", "--frames", 2, *SCENES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two sample sets and an evaluation."""
    place = tmp_path_factory.mktemp("made")
    assert smx("-w", place, *GEN) == 0
    assert smx("-w", place, "eval", "--model", "frequency", *QUESTIONS) == 0
    return place


@pytest.fixture
def lab(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    place = tmp_path / "lab"
    shutil.copytree(made, place)
    monkeypatch.setenv("SMX_WORKSPACE", str(place))
    return place


def aged(place: Path, days: float = 100) -> Path:
    """As if nobody had touched it for so long."""
    then = time.time() - days * DAY
    for path in sorted((place, *place.rglob("*")), reverse=True):
        os.utime(path, (then, then), follow_symlinks=False)
    return place


def found(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, list[str]]:
    """What `smx gc --json` lists: kind -> paths."""
    capsys.readouterr()
    assert smx("gc", "--json", *arguments) == code
    listed: dict[str, list[str]] = {}
    for entry in json.loads(capsys.readouterr().out)["found"]:
        listed.setdefault(entry["what"], []).extend(entry["paths"])
    return listed


def only(folder: Path, pattern: str) -> Path:
    """The one path there."""
    (path,) = folder.glob(pattern)
    return path


def test_nothing_recorded_ever_goes(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However old it is: specs, items, results, samples in use. What was removed is made again, the same."""
    aged(lab)
    before = {name: data for name, data in tree(lab).items() if not name.startswith("cache/")}
    assert list(found(capsys, "--older-than", "0h")) == ["cache"]
    assert smx("gc", "--yes", "--older-than", "0h") == 0
    after = tree(lab)
    assert {n: d for n, d in after.items() if not n.startswith("registry.db")} == {
        n: d for n, d in before.items() if not n.startswith("registry.db")
    }
    assert smx("db", "check") == 0
    assert found(capsys, "--older-than", "0h") == {}


def test_it_only_shows_unless_told(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With sizes and the reason; and a young cache is no leftover."""
    assert found(capsys) == {}
    aged(lab / "cache")
    before = left(lab)
    assert smx("gc") == 0
    told = capsys.readouterr()
    assert "cache/voxels (2): not used for 30 days" in told.out
    assert "KiB" in told.out
    assert "nothing was removed: smx gc --yes" in told.err
    assert left(lab) == before
    assert smx("gc", "--older-than", "soon") == 2


def test_a_cache_that_was_read_lately_stays(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scenes of this week's runs were computed long ago."""
    aged(lab / "cache")
    one = next((lab / "cache" / "voxels").iterdir())
    os.utime(one, (time.time(), one.stat().st_mtime))
    listed = found(capsys)["cache"]
    assert len(listed) == 1
    assert str(one) not in listed


def test_a_sample_set_goes_when_its_last_run_is_gone(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is made again, the same, when it is wanted; one that smx did not make is nobody's to remove."""
    aged(lab / "samples")
    mine = only(lab / "samples" / "random", "2f-*")
    frames = tree(mine)
    run = only(lab / "runs" / "gen", "random-*")
    assert "sample set" not in found(capsys)
    shutil.rmtree(run)
    assert smx("db", "rebuild") == 0
    assert found(capsys)["sample set"] == [str(mine)]
    published = lab / "samples" / "uniform" / "2f-00000000" / "scans" / "scene"
    shutil.copytree(next(mine.glob("*/*")), published)
    aged(published.parents[1])
    assert found(capsys)["sample set"] == [str(mine)]
    assert smx("gc", "--yes") == 0
    assert not mine.exists()
    assert published.exists()
    assert smx(*GEN) == 0
    made = tree(mine)
    assert {n: d for n, d in made.items() if "index" not in n} == {n: d for n, d in frames.items() if "index" not in n}


def test_samples_on_storage_of_several_workspaces_stay(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another workspace's runs are not known here."""
    elsewhere = lab.parent / f"{lab.name}-samples"
    (lab / "samples").rename(elsewhere)
    (lab / "experiments").mkdir()
    (lab / "experiments" / "site.yaml").write_text(f"storage: {{samples: {elsewhere}}}\n")
    for run in (lab / "runs" / "gen").iterdir():
        shutil.rmtree(run)
    assert smx("db", "rebuild") == 0
    aged(elsewhere)
    assert "sample set" not in found(capsys)


def test_a_set_of_another_version_of_a_sampler_stays(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which set its runs made cannot be told any more: what is in doubt stays."""
    run = only(lab / "runs" / "gen", "random-*")
    spec = json.loads((run / "spec.json").read_text())
    spec["plugins"]["samplers/random"] = 99
    (run / "spec.json").write_text(json.dumps(spec))
    stray = only(lab / "samples" / "random", "2f-*")
    shutil.copytree(stray, stray.with_name("2f-00000000"))
    aged(lab / "samples")
    assert "sample set" not in found(capsys)


def test_resume_states_go_with_a_training_that_is_done(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are three times the weights; those of a training that is not done are all there is to go on from."""
    with Registry.open(lab / "registry.db") as registry:
        row = registry.runs(kind="eval")[0]
        run = lab / "runs" / "train" / "tiny-rooms"
        (run / "training" / "checkpoint-10").mkdir(parents=True)
        (run / "training" / "checkpoint-10" / "optimizer.pt").write_bytes(b"x" * 100_000)
        text = "update runs set kind = 'train', folder = 'train/tiny-rooms' where fingerprint = ?"
        registry.execute(text, [row.fingerprint])
        assert "resume states" not in found(capsys)  # no weights yet
        (run / "checkpoint").mkdir()
        registry.update_run(row.fingerprint, state="partial")
        assert "resume states" not in found(capsys)
        registry.update_run(row.fingerprint, state="done")
    assert found(capsys, "--yes")["resume states"] == [str(run / "training")]
    assert [p.name for p in run.iterdir()] == ["checkpoint"]


def test_code_that_an_attempt_ran_stays(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy nobody refers to goes, after a day: a job that is being submitted may be about to."""
    assert smx(*GEN, "--seed", 3, "--executor", "local", "--watch") == 0
    used = only(lab / "runs" / ".code", "*")
    for name in ("0123456789abcdef", "fedcba9876543210"):
        shutil.copytree(used, lab / "runs" / ".code" / name)
    aged(used)
    stray = aged(lab / "runs" / ".code" / "0123456789abcdef")
    assert found(capsys, "--yes")["code"] == [str(stray)]
    assert {p.name for p in (lab / "runs" / ".code").iterdir()} == {used.name, "fedcba9876543210"}


def test_what_was_killed_while_it_wrote_goes_after_a_day(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A temporary file that is written this very moment looks the same, but for its age."""
    run = only(lab / "runs" / "gen", "random-*")
    torn = [run / ".result.json.12-34.tmp", run / ".checkpoint.77.tmp" / "model.safetensors"]
    torn += [lab / "samples" / "random" / ".scene.host.9.tmp" / "frame.png", lab / "cache" / ".a.npz.1-2.tmp"]
    for path in torn:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert found(capsys) == {}
    for path in torn:
        aged(path)
        aged(path.parent) if path.parent.name.endswith(".tmp") else None
    listed = found(capsys, "--yes")["unfinished"]
    assert len(listed) == 4
    assert not [path for path in torn if path.exists()]
    assert smx("db", "check") == 0


def test_a_reservation_whose_launcher_never_came_back_is_released(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another machine, so that nobody here can see that it died: its run could never be started again."""
    with Registry.open(lab / "registry.db") as registry:
        row = registry.runs(kind="gen")[0]
        gone = {**this_process(), "host": "elsewhere"}
        registry.reserve([(row.fingerprint, 2)], submission="abc", executor="local", provenance={"submitter": gone})
        assert found(capsys) == {}
        registry.update_attempt(row.fingerprint, 2, created="2026-01-01T00:00:00.000Z")
        assert found(capsys, "--yes") == {"reservation": []}
        assert [a.attempt for a in registry.attempts(row.fingerprint)] == [1]
    assert RunFolder(lab / "runs" / row.folder).attempt(1).planned


def test_queues_of_runs_that_are_gone(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of runs that are here are how a lost answer is found again."""
    aged(lab / "runs" / ".submissions")
    assert found(capsys) == {}
    submission = next(run_folders(lab / "runs")).attempt(1).plan["submission"]
    for run in run_folders(lab / "runs"):
        if run.attempt(1).plan["submission"] == submission:
            shutil.rmtree(run.path)
    assert smx("db", "rebuild") == 0
    aged(lab / "runs" / ".submissions")
    assert found(capsys)["submission"] == [str(lab / "runs" / ".submissions" / submission)]


def test_what_cannot_be_removed_is_said(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's file: exit code 1, the rest is gone."""
    aged(lab / "cache")
    first = sorted((lab / "cache" / "voxels").iterdir())[0]
    unlink = Path.unlink

    def refuses(path: Path, *arguments: Any, **options: Any) -> None:
        if path == first:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", refuses)
    assert smx("gc", "--yes") == 1
    assert f"could not remove {first}: Permission denied" in capsys.readouterr().err
    assert list((lab / "cache" / "voxels").iterdir()) == [first]
