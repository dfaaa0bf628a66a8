"""`--depth DIR` beside `--poses FILE`: cameras and depth that a network or a SLAM made, in a scale of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import smx

from smx import sampleset, video
from smx.datasets._rooms_files import write_frames
from smx.rooms import RoomScene, named_scene, render

SCALE = 2.5  # of the other tool's world


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoomScene:
    """A video alone in data/, the cameras of another tool in poses.json, its depth in maps/."""
    room = named_scene("test-000", frames=16, width=64, height=48)
    (tmp_path / "lab").mkdir()
    monkeypatch.setenv("SMX_WORKSPACE", str(tmp_path / "lab"))
    write_frames(room, tmp_path / "metric" / "walk")
    frames = list(render(room, range(16)))
    (tmp_path / "data" / "walk").mkdir(parents=True)
    video.write(tmp_path / "data" / "walk" / "video.mp4", (frame.rgb for frame in frames), room.fps)
    w2c = room.w2c.copy()
    w2c[:, :3, 3] *= SCALE
    cameras = {"w2c": w2c.tolist(), "K": room.K.tolist(), "width": 64, "height": 48, "metric": False}
    (tmp_path / "poses.json").write_text(json.dumps(cameras))
    (tmp_path / "maps").mkdir()
    for i, frame in enumerate(frames):
        np.save(tmp_path / "maps" / f"{i:03d}.npy", frame.depth.astype(np.float32) * SCALE)
    return room


def gen(root: Path, *more: object) -> int:
    return smx("gen", "--dataset", "frames", "--root", root, "--sampler", "sa", "--frames", "4", *more)


def test_cameras_and_depth_of_one_tool_fit_whatever_their_scale(room: RoomScene, tmp_path: Path) -> None:
    """Lost otherwise: samplers that weigh coverage, for every video whose geometry a network made."""
    assert gen(tmp_path / "data", "--poses", tmp_path / "poses.json", "--depth", tmp_path / "maps", "--strict") == 0
    assert gen(tmp_path / "metric") == 0
    samples = [sampleset.read(folder) for folder in sampleset.samples(tmp_path / "lab" / "samples")]
    assert len(samples) == 2
    assert samples[0].ids == samples[1].ids
    assert samples[0].coverage == pytest.approx(samples[1].coverage, abs=0.02)
    assert (samples[0].coverage or 0) > 0.3


def test_its_files_are_part_of_the_run(room: RoomScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost otherwise: frames chosen by depth of last week, under the name of today's."""
    command = ("--poses", tmp_path / "poses.json", "--depth", tmp_path / "maps")
    assert gen(tmp_path / "data", *command) == 0
    capsys.readouterr()
    assert gen(tmp_path / "data", *command, "--dry-run") == 0
    assert "new" not in capsys.readouterr().out
    (tmp_path / "maps" / "015.npy").unlink()
    assert gen(tmp_path / "data", *command, "--dry-run") == 0
    assert "new" in capsys.readouterr().out


def test_what_does_not_belong_together_is_said(
    room: RoomScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gen(tmp_path / "data", "--depth", tmp_path / "maps") == 2
    assert "without the cameras they were made with" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert gen(tmp_path / "data", "--poses", tmp_path / "poses.json", "--depth", tmp_path / "empty") == 2
    assert "no depth map under" in capsys.readouterr().err
    np.save(tmp_path / "empty" / "500.npy", np.ones((48, 64), np.float32))
    assert gen(tmp_path / "data", "--poses", tmp_path / "poses.json", "--depth", tmp_path / "empty") == 2
    assert "numbered 500 to 500, the frames 0 to 15" in capsys.readouterr().err
