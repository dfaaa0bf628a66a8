"""Samples on disk: whole or not at all, the same bytes every time, nothing outside their folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.walks import Walk

from smx import plugins, sampleset
from smx.errors import SceneError, UserError
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample


def test_a_sample_comes_back_as_it_was_chosen(tmp_path: Path) -> None:
    """Lost otherwise: an eval shows the model other frames, or other cameras, than gen chose."""
    scene = Walk(60)
    summary = make(tmp_path / "s", scene)
    sample = sampleset.read(tmp_path / "s")
    assert sample.frames().shape == (8, 18, 24, 3)
    assert sample.frames()[:, 0, 0, 0].tolist() == [i % 251 for i in sample.ids]
    assert sample.timestamps.tolist() == [i / 30 for i in sample.ids]
    cameras = scene.cameras(sample.ids)
    assert cameras is not None
    assert sample.w2c is not None
    assert sample.K is not None
    assert np.array_equal(sample.w2c, cameras.w2c)
    assert np.array_equal(sample.K, cameras.K)
    assert sample.metric
    assert [p["ids"] for p in sample.pairs] == np.reshape(sample.ids, (4, 2)).tolist()
    assert summary == {
        "frames": 8,
        "fill": 0,
        "overlap": pytest.approx(mean_overlap(sample)),
        "coverage": sample.coverage,
    }
    assert [f.name for f in sample.files][:1] == [f"frame_000_{sample.ids[0]:06d}.png"]


def test_bytes_are_the_same_every_time_and_hold_no_path(tmp_path: Path) -> None:
    """Lost otherwise: two machines make different sample sets of one fingerprint, and paths of one leak."""
    for name in ("a", "b"):
        make(tmp_path / name, Walk(60))
    first, second = (contents(tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_a_scene_shorter_than_n_repeats_its_last_frame(tmp_path: Path) -> None:
    """Lost otherwise: short scenes fail, or repeats go unnoticed."""
    summary = make(tmp_path / "s", Walk(5))
    sample = sampleset.read(tmp_path / "s")
    assert sample.ids == [0, 1, 2, 3, 4, 4, 4, 4]
    assert sample.fill == [False] * 5 + [True] * 3
    assert summary["fill"] == 3


@pytest.mark.parametrize("lacking", ["cameras", "depth"])
def test_plain_videos_have_no_overlap_but_frames(tmp_path: Path, lacking: str) -> None:
    """Lost otherwise: `uniform` fails on videos without geometry, or records an overlap nobody measured."""
    summary = make(tmp_path / "s", Walk(30, without=lacking), "uniform")
    sample = sampleset.read(tmp_path / "s")
    assert summary == {"frames": 8, "fill": 0, "overlap": None, "coverage": None}
    assert {pair["overlap"] for pair in sample.pairs} == {None}
    assert (sample.w2c is None) == (lacking == "cameras")


def test_a_complete_sample_is_adopted_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    """Lost otherwise: work is done twice, or a half-deleted sample is never mended."""
    make(tmp_path / "s", Walk(60))
    whole = contents(tmp_path / "s")
    make(tmp_path / "s", Undecodable(60))
    (tmp_path / "s" / sorted(whole)[3]).unlink()
    with pytest.raises(SceneError, match="damaged"):
        sampleset.read(tmp_path / "s")
    make(tmp_path / "s", Walk(60))
    assert contents(tmp_path / "s") == whole
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_frame_that_cannot_be_decoded_leaves_nothing_behind(tmp_path: Path) -> None:
    """Lost otherwise: a half-written sample is taken for a whole one."""
    with pytest.raises(SceneError, match="not decoded"):
        make(tmp_path / "s", Undecodable(60))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_sample_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    """Lost otherwise: SIGKILL in the middle of a scene leaves a sample that evaluates on fewer frames."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=make, args=(tmp_path / "s", Deadly(60)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "s").exists()
    assert len(list(tmp_path.iterdir())) == 1
    make(tmp_path / "s", Walk(60))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    assert list(sampleset.samples(tmp_path)) == [tmp_path / "s"]


def test_what_a_killed_process_of_our_number_left_is_no_hindrance(tmp_path: Path) -> None:
    """Lost otherwise: in a container, where pids repeat, the scene in hand at a kill fails once more on the retry."""
    left = tmp_path / f".s.{socket.gethostname()}.{os.getpid()}.tmp"
    left.mkdir()
    (left / "frame_000_000000.png").write_bytes(b"half")
    make(tmp_path / "s", Walk(60))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"schema": 1}', b"\xff", b'{"schema": "x", "files": [], "ids": []}'])
def test_a_damaged_record_is_one_scenes_error(tmp_path: Path, damage: bytes) -> None:
    """Lost otherwise: one bad file ends a whole evaluation."""
    make(tmp_path / "s", Walk(30))
    (tmp_path / "s" / "sample.json").write_bytes(damage)
    with pytest.raises(SceneError, match="damaged"):
        sampleset.read(tmp_path / "s")


@pytest.mark.parametrize("name", ["cameras.npz", "frame"])
def test_damaged_arrays_and_images_are_one_scenes_error(tmp_path: Path, name: str) -> None:
    """Lost otherwise: a truncated file ends a whole evaluation with a decoder's traceback."""
    make(tmp_path / "s", Walk(30))
    sample = sampleset.read(tmp_path / "s")
    (sample.files[2] if name == "frame" else tmp_path / "s" / name).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(SceneError, match="damaged"):
        _ = sample.frames() if name == "frame" else sample.w2c


def test_a_sample_of_a_newer_smx_asks_for_an_upgrade(tmp_path: Path) -> None:
    """Lost otherwise: fields of a later version are silently misread."""
    make(tmp_path / "s", Walk(30))
    record = json.loads((tmp_path / "s" / "sample.json").read_bytes())
    (tmp_path / "s" / "sample.json").write_text(json.dumps({**record, "schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        sampleset.read(tmp_path / "s")


@pytest.mark.parametrize("name", ["..", "a/../b", "/etc", "", "a//b", "a\0b", "a\nb", ".hidden", "a\\b", "x" * 300])
def test_no_scene_name_leaves_its_folder(tmp_path: Path, name: str) -> None:
    """Lost otherwise: a scene called ../../x overwrites other people's files."""
    with pytest.raises(UserError, match="scene"):
        sampleset.folder(tmp_path, "sa", 8, "0123abcd", "rooms", name)


def test_folders_are_named_as_documented(tmp_path: Path) -> None:
    """Lost otherwise: published paths and scripts that use them break."""
    place = sampleset.folder(tmp_path, "sa", 16, "0123abcd", "frames", "scannet/scene0000_00")
    assert place == tmp_path / "sa" / "16f-0123abcd" / "frames" / "scannet" / "scene0000_00"


def test_the_index_keeps_the_newest_of_each_scene_and_survives_a_torn_line(tmp_path: Path) -> None:
    """Lost otherwise: a killed job's last line hides the scenes after it."""
    sampleset.record_failed(tmp_path, "rooms", "a", SceneError("no depth"))
    with (tmp_path / "index.jsonl").open("ab") as file:
        file.write(b'{"dataset": "roo')
    sampleset.record_done(tmp_path, "rooms", "a", {"fill": 0})
    sampleset.record_failed(tmp_path, "rooms", "b", SceneError("no depth"))
    index = sampleset.index(tmp_path)
    assert {scene: entry["state"] for (_, scene), entry in index.items()} == {"a": "done", "b": "failed"}
    assert index["rooms", "b"]["error"] == "no depth"


class Undecodable(Walk):
    """A video that ends early."""

    def decode(self, ids: Any) -> Any:
        yield from list(super().decode(ids))[:3]


class Deadly(Walk):
    """Kills its process after three frames."""

    def decode(self, ids: Any) -> Any:
        yield from list(super().decode(ids))[:3]
        os.kill(os.getpid(), signal.SIGKILL)


def make(folder: Path, scene: Walk, name: str = "mergeaware_sa", n: int = 8) -> dict[str, Any]:
    return make_sample(
        scene,
        sampler_name=name,
        sampler=plugins.load("samplers", name)(),
        n=n,
        seed=0,
        geometry=GeometryOptions(),
        folder=folder,
        extra={"dataset": "walks"},
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def mean_overlap(sample: sampleset.Sample) -> float:
    return float(np.mean([pair["overlap"] for pair in sample.pairs]))
