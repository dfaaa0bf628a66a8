"""Scenes of one name under several roots: each root has its own samples, and all of them stay readable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.commands import data, smx
from support.media import make_video

from smx.datasets._rooms_files import write_vsibench
from smx.rooms import named_scene

GEN = ("gen", "--dataset", "frames", "--sampler", "uniform", "--frames", "2")


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders with a video each, of one name, and one more in the second; the current folder is a workspace."""
    for name, frames in (("a", 6), ("b", 8)):
        (tmp_path / name).mkdir()
        make_video(tmp_path / name / "kitchen.mp4", frames)
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    return tmp_path / "a", tmp_path / "b"


def scenes(lab: Path) -> list[str]:
    """Where samples are: `<sampler>/<set>/<dataset>/<scene>`."""
    samples = (path.parent.relative_to(lab / "samples") for path in lab.glob("samples/*/*/*/*/sample.json"))
    return [path.as_posix() for path in sorted(samples, key=lambda path: path.parts)]


def test_each_root_has_a_folder_and_a_row_and_what_was_made_is_not_made_again(
    roots: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost otherwise: a second folder of videos takes the samples of the first away, or is averaged with it."""
    first, second = roots
    for root in (first, second):
        assert smx(*GEN, "--root", root) == 0
    made = scenes(Path())
    folders = [place.split("/")[2] for place in made]
    assert folders[0] == "frames"
    assert folders[1].startswith("frames-")
    records = [json.loads((Path("samples") / place / "sample.json").read_bytes()) for place in made]
    assert [(record["scene"], record["dataset"], record["source"]["frames"]) for record in records] == [
        ("kitchen", "frames", 6),
        ("kitchen", "frames", 8),
    ]
    make_video(second / "hall.mp4", 8)
    assert smx(*GEN, "--root", second) == 0
    assert smx(*GEN, "--root", second, "--frames", "4") == 0  # first of its set, and still not in the other's folder
    assert {place.split("/")[2] for place in scenes(Path()) if "hall" in place or "/4f-" in place} == {folders[1]}

    found = data(capsys, "samples", "stats")
    assert [(row["dataset"], row["frames"], row["made"]) for row in found["rows"]] == [
        ("frames", 2, 1),
        (folders[1], 2, 2),
        (folders[1], 4, 2),
    ]
    assert found["roots"] == {"frames": str(first), folders[1]: str(second)}
    for root in roots:
        capsys.readouterr()
        assert smx(*GEN, "--root", root) == 0
        assert "done" in capsys.readouterr().out
    assert smx("samples", "view", "uniform/2", f"{folders[1]}/kitchen", "-o", "sheet.png") == 0


def test_samples_of_an_older_smx_are_found_and_no_other_root_touches_them(roots: tuple[Path, Path]) -> None:
    """Lost otherwise: after an upgrade every frame of a lab is chosen again, or another folder's are set aside."""
    first, second = roots
    assert smx(*GEN, "--root", first) == 0
    shutil.rmtree(Path("samples/.roots"))
    before = {path: path.stat().st_mtime_ns for path in Path("samples").rglob("kitchen/*")}
    assert smx(*GEN, "--root", second) == 0
    assert smx(*GEN, "--root", first) == 0
    assert len(scenes(Path())) == 2
    assert before.items() <= {path: path.stat().st_mtime_ns for path in Path("samples").rglob("kitchen/*")}.items()


def test_a_root_that_was_moved_keeps_its_samples(roots: tuple[Path, Path]) -> None:
    """Lost otherwise: data on another disk are sampled again, all of them."""
    first, _ = roots
    assert smx(*GEN, "--root", first) == 0
    made = scenes(Path())
    assert smx(*GEN, "--root", first.rename(first.with_name("moved"))) == 0
    assert scenes(Path()) == made


def test_evals_over_two_roots_work_one_after_the_other_without_a_retry(tmp_path: Path) -> None:
    """Lost otherwise: the second copy of a benchmark, edited, makes every run on the first one fail."""
    lab = tmp_path / "lab"
    lab.mkdir()
    for name, frames in (("a", 6), ("b", 8)):
        (tmp_path / name).mkdir()
        write_vsibench(tmp_path / name, [named_scene("test-000", frames=frames, width=64, height=48)])
    one = ("--set", "bench_options.where.question_type=room_size_estimation")
    ask = ("-w", lab, "eval", "--bench", "vsibench", "--model", "tiny", "--frames", "2", "--set", "max_new_tokens=1")
    gens = [("-w", lab, "gen", "--dataset", "vsibench", "--frames", "2", "--root", tmp_path / name) for name in "ab"]
    for gen in gens:
        assert smx(*gen) == 0
    for name in "ab":
        assert smx(*ask, *one, "--root", tmp_path / name) == 0
