"""`smx samples import`: frames that another tool saved can be looked at and held against smx's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from smx import sampleset
from smx.cli.samples import app
from smx.errors import UserError


@pytest.fixture(autouse=True)
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "space").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "space"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "space"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def saved(folder: Path, numbers: list[int]) -> Path:
    """Pictures as Spatial-MLLM's samplers save them; a picture's colour is its number."""
    folder.mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", (32, 24), (number % 251, number // 251, 9)).save(folder / f"frame_{number:04d}.png")
    return folder


def test_published_frames_become_a_sample_set(space: Path, tmp_path: Path) -> None:
    """Lost otherwise: frames 9998 and 10004 change places, as they do where names are sorted as text."""
    numbers = [9990, 9998, 10004, 10012]
    saved(tmp_path / "sa_sampling_4f" / "scannet" / "scene0011_00", numbers)
    saved(tmp_path / "sa_sampling_4f" / "arkitscenes" / "41069021", [0, 2])
    result = run("import", "sa_sampling_4f", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["scenes"] == 2
    assert [Path(place).parent.name for place in found["sets"]] == ["sa_sampling", "sa_sampling"]
    (folder,) = space.glob("samples/sa_sampling/4f-*/scannet/scene0011_00")
    sample = sampleset.read(folder)
    assert sample.ids == numbers
    assert [int(f[0, 0, 0]) + 251 * int(f[0, 0, 1]) for f in sample.frames()] == numbers
    assert np.isnan(sample.timestamps).all()  # the numbers might as well be positions
    assert [pair["ids"] for pair in sample.pairs] == [[9990, 9998], [10004, 10012]]
    assert sample.coverage is None
    assert str(tmp_path) not in json.dumps(sample.record)
    assert run("view", "sa_sampling/4", "scene0011_00", "-o", "sheet.png").exit_code == 0
    assert run("view", "sa_sampling/4", "scene0011_00", "-o", "sheet.html").exit_code == 0
    assert "time unknown" in Path("sheet.html").read_text()
    assert run("stats").exit_code == 0


def test_reading_twice_changes_nothing_and_other_pictures_are_refused(space: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "x_8f" / "scannet" / "one", [1, 2])
    assert run("import", "x_8f").exit_code == 0
    assert run("import", "x_8f").exit_code == 0
    Image.new("RGB", (32, 24)).save(folder / "frame_0002.png")
    again = run("import", "x_8f")
    assert again.exit_code == 1
    assert "holds other pictures" in again.stderr
    (sample,) = sampleset.samples(space / "samples")
    assert int(sampleset.read(sample).frames()[1, 0, 0, 0]) == 2


def test_times_come_with_a_rate_and_stay(space: Path, tmp_path: Path) -> None:
    """Lost otherwise: times made up without anybody's word, or changed under runs that were told others."""
    saved(tmp_path / "x_2f" / "scannet" / "one", [30, 45])

    def times() -> list[float]:
        (folder,) = sampleset.samples(space / "samples")
        return list(sampleset.read(folder).timestamps)

    assert run("import", "x_2f").exit_code == 0
    assert np.isnan(times()).all()
    assert run("import", "x_2f", "--fps", "30").exit_code == 0
    assert times() == [1, 1.5]
    assert run("import", "x_2f").exit_code == 0
    assert times() == [1, 1.5]
    other = run("import", "x_2f", "--fps", "25")
    assert other.exit_code == 1
    assert "has other times" in other.stderr
    assert times() == [1, 1.5]


def test_an_endless_rate_is_refused(space: Path, tmp_path: Path) -> None:
    """Lost otherwise: every frame was taken at 0 s, and a model is told so."""
    saved(tmp_path / "x_2f" / "a" / "one", [1, 2])
    error = run("import", "x_2f", "--fps", "inf").exception
    assert isinstance(error, UserError)
    assert "--fps inf is no rate" in error.message
    assert not (space / "samples").exists()


def test_a_dataset_that_nests_its_scenes_can_be_named(space: Path, tmp_path: Path) -> None:
    """VSI-Bench's scenes are called scannet/scene0011_00: a diff with smx's own set needs the same names."""
    saved(tmp_path / "x_2f" / "scannet" / "scene0011_00", [1, 2])
    assert run("import", "x_2f", "--dataset", "vsibench", "--as", "published").exit_code == 0
    (folder,) = space.glob("samples/published/2f-*/vsibench/scannet/scene0011_00")
    assert sampleset.read(folder).scene == "scannet/scene0011_00"
    (row,) = json.loads(run("diff", "published/2", "published/2", "--json").stdout)["rows"]
    assert row["scene"] == "vsibench/scannet/scene0011_00"


def test_what_is_no_sample_is_named_and_the_rest_is_read(space: Path, tmp_path: Path) -> None:
    saved(tmp_path / "x_4f" / "a" / "odd", [1, 2, 3])
    broken = saved(tmp_path / "x_4f" / "a" / "broken", [1, 2])
    (broken / "frame_0002.png").write_bytes(b"no picture")
    saved(tmp_path / "x_4f" / "a" / "good", [1, 2])
    result = run("import", "x_4f")
    assert result.exit_code == 1
    assert "odd: 3 pictures cannot be paired" in result.stderr
    assert "broken/frame_0002.png: cannot be read" in result.stderr
    assert [path.name for path in sampleset.samples(space / "samples")] == ["good"]


def test_nothing_to_read_and_a_name_of_smx_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "sa_4f" / "a" / "one", [1, 2])
    for words, message in (
        (["empty"], "no folder with pictures under"),
        (["sa_4f/a/one"], "those in the folder itself have no scene"),
        (["gone"], "is not a folder"),
        (["sa_4f", "--as", ""], "cannot name a folder"),
        (["sa_4f", "--as", "mine,yours"], "holds a comma"),
        (["sa_4f"], "'sa' is a sampler of smx"),
        (["sa_4f", "--as", "none"], "'none' is a sampler of smx"),
    ):
        error = run("import", *words).exception
        assert isinstance(error, UserError)
        assert message in error.message
