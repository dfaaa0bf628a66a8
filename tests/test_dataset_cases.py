"""Scenes that once gave a wrong number or a wrong refusal: each gives its right value, through `smx gen`.

`fixtures/cases/frames/make.py` writes them, after public bug reports; its comments hold the right values. Of the room
seen with right cameras and depth, `sa` with 8 frames has voxels of 0.15 m, coverage 0.962 and pair overlap 0.171.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import skip_or_fail

from smx import sampleset
from smx.cli import run
from smx.datasets.frames import Dataset


@pytest.fixture(scope="module")
def cases(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = fixtures / "cases" / "frames" / "make.py"
    if not script.is_file():
        skip_or_fail("fixtures", f"no {script}")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@pytest.fixture
def gen(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`smx gen` of 8 frames over a case: (exit code, what was said on stderr, the sample or None)."""
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path))

    def made(case: str, sampler: str = "sa", *more: str) -> tuple[int, str, sampleset.Sample | None]:
        root = cases / case
        code = run(["gen", "--sampler", sampler, "--frames", "8", "--dataset", "frames", "--root", str(root), *more])
        samples = list(sampleset.samples(tmp_path / "samples")) if (tmp_path / "samples").is_dir() else []
        return code, capsys.readouterr().err, sampleset.read(samples[0]) if samples else None

    return made


def is_right(sample: sampleset.Sample | None) -> bool:
    assert sample is not None
    edge, overlaps = sample.record["geometry"]["voxel_edge"], [pair["overlap"] for pair in sample.pairs]
    return (
        abs(edge - 0.15) < 0.005
        and abs((sample.coverage or 0) - 0.962) < 0.01
        and abs(np.mean(overlaps) - 0.171) < 0.02
    )


@pytest.mark.parametrize("case", ["tum", "tum_twice", "log_order", "replica", "kitti"])
def test_what_is_written_as_its_format_has_it_is_read_as_that(case: str, gen: Any) -> None:
    """Lost otherwise: depth five times as far, one timestamp that costs a scene, poses of other frames."""
    code, said, sample = gen(case)
    assert code == 0
    assert is_right(sample)
    assert ("1 pose not taken: groundtruth.txt:22: timestamp" in said) == (case == "tum_twice")


def test_depth_of_the_tum_layout_is_as_rendered(cases: Path) -> None:
    truth = np.load(cases / "truth.npz")
    found = Dataset().open(cases / "tum", "s").depth(0)
    assert found is not None
    assert np.abs(found[0] - truth["depth0"]).max() < 1 / 5000
    np.testing.assert_allclose(found[1], truth["K"])


def test_poses_without_scale_are_refused_beside_depth_in_metres(gen: Any) -> None:
    """Lost otherwise: a coverage of 0.44 without a word."""
    code, said, sample = gen("colmap_scale")
    assert code == 2
    assert "the poses of sparse/0/images.txt have no scale; the dataset's option metric=true" in said
    assert sample is None


def test_poses_in_metres_may_be_said_to_be_that(gen: Any) -> None:
    code, _, sample = gen("colmap_full", "sa", "--set", "dataset_options.metric=true")
    assert code == 0
    assert is_right(sample)


def test_a_lens_model_whose_distortion_is_zero_is_a_pinhole(cases: Path) -> None:
    K = Dataset().open(cases / "colmap_full", "s").intrinsics([0, 39])
    assert K is not None
    np.testing.assert_allclose(K, np.tile([[130, 0, 79.5], [0, 130, 59.5], [0, 0, 1]], (2, 1, 1)))


@pytest.mark.parametrize("sampler", ["uniform", "random", "mergeaware_uniform"])
def test_frames_are_chosen_without_cameras_that_cannot_be_read(sampler: str, gen: Any) -> None:
    """Lost otherwise: smx recommends `uniform`, and fails on the cameras that it does not read."""
    code, said, sample = gen("distorted", sampler)
    assert code == 0
    assert sample is not None
    assert sample.w2c is None
    assert said.count("cameras are not used: transforms.json: frames[0]: OPENCV with distortion") == 1


def test_a_sampler_that_reads_cameras_says_what_to_do(gen: Any) -> None:
    code, said, _ = gen("distorted")
    assert code == 2
    assert "undistort the images first (`colmap image_undistorter`)" in said
    assert "mergeaware_uniform, random, uniform" in said


def test_names_with_a_clock_are_in_its_order(cases: Path) -> None:
    scene = Dataset().open(cases / "names_clock", "s")
    assert scene.frame_ids.tolist() == list(range(16))
    first = [int(pixels.astype(int).sum()) for _, pixels in scene.decode([0, 3, 4])]
    names = [f"2024-01-05_12-{clock}.png" for clock in ("00-50", "00-59", "01-02")]
    from PIL import Image

    assert first == [
        int(np.asarray(Image.open(cases / "names_clock" / "s" / name)).astype(int).sum()) for name in names
    ]


def test_cameras_elsewhere_give_depth_its_intrinsics(cases: Path, gen: Any) -> None:
    """Lost otherwise: "has no depth", where it lies beside the frames."""
    code, _, sample = gen("poses_K/root", "sa", "--poses", str(cases / "poses_K" / "poses"))
    assert code == 0
    assert is_right(sample)


@pytest.mark.parametrize("sampler", ["sa", "fps"])
def test_one_camera_far_off_is_left_out(sampler: str, gen: Any) -> None:
    """Lost otherwise: voxels 1.58 m wide, every coverage 1.0, and the wrong camera among the chosen."""
    code, said, sample = gen("outlier", sampler)
    assert code == 0
    assert "warning: s: no neighbour confirms the camera of frame 17: left out" in said
    assert sample is not None
    assert 17 not in sample.record["candidates"] + sample.ids
    assert abs(sample.record["geometry"]["voxel_edge"] - 0.15) < 0.005
    if sampler == "sa":
        assert abs((sample.coverage or 0) - 0.962) < 0.01
