"""Wrong input of datasets: each is one scene's message, with its file, and the other scenes are made all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.licensed import arkitscenes, scannet_exported

from smx import sampleset, video
from smx.datasets._rooms_files import write_frames
from smx.rooms import RoomScene, named_scene, render

GOOD = "good"


@pytest.fixture(scope="module")
def room() -> RoomScene:
    return named_scene("test-000", frames=24, width=64, height=48)


def gen(root: Path, place: Path, dataset: str, monkeypatch: pytest.MonkeyPatch, sampler: str = "sa") -> dict[str, str]:
    """`smx gen` over all scenes below `root`: scene -> "done", or the recorded error."""
    from smx.cli import run

    (place / "space").mkdir(exist_ok=True)
    monkeypatch.setenv("SMX_WORKSPACE", str(place / "space"))
    run(["gen", "--sampler", sampler, "--frames", "8", "--dataset", dataset, "--root", str(root), "--max-failed", "9"])
    (index,) = (place / "space" / "samples").rglob("index.jsonl")
    entries = sampleset.index(index.parent)
    return {scene: "done" if e["state"] == "done" else str(e["error"]) for (_, scene), e in entries.items()}


def every_pose_lost(scene: Path, room: RoomScene) -> str:
    cameras = json.loads((scene / "cameras.json").read_text())
    cameras["w2c"] = [[[float("inf")] * 4] * 4] * 24
    (scene / "cameras.json").write_text(json.dumps(cameras))
    return "bad/cameras.json: no pose of any frame is known"


def fewer_cameras(scene: Path, room: RoomScene) -> str:
    cameras = json.loads((scene / "cameras.json").read_text())
    (scene / "cameras.json").write_text(json.dumps({**cameras, "w2c": cameras["w2c"][:-1]}))
    return "bad/cameras.json: 23 poses for 24 frames"


def no_rotation(scene: Path, room: RoomScene) -> str:
    cameras = json.loads((scene / "cameras.json").read_text())
    for at in (5, 6, 7):
        cameras["w2c"][at][0] = [2, 0, 0, 0]
    (scene / "cameras.json").write_text(json.dumps(cameras))
    return "bad/cameras.json: w2c[5]: not a rigid motion"


def depth_of_another_shape(scene: Path, room: RoomScene) -> str:
    for file in (scene / "depth").iterdir():
        Image.fromarray(np.ones((64, 48), np.uint16)).save(file)
    return "bad/depth/0000.png: 48x64, the camera is 64x48"


def a_standing_video(scene: Path, room: RoomScene) -> str:
    frames = [np.rot90(frame.rgb).copy() for frame in render(room, range(24))]
    video.write(scene / "video.mp4", frames, 4)
    return "bad/cameras.json: intrinsics of 64x48 images, the frames are 48x64"


def broken_tail(scene: Path, room: RoomScene) -> str:
    data = (scene / "video.mp4").read_bytes()
    (scene / "video.mp4").write_bytes(data[: len(data) * 2 // 3])
    return "bad/cameras.json: 24 poses for "


def no_video(scene: Path, room: RoomScene) -> str:
    (scene / "video.mp4").write_bytes(b"not a video at all")
    return "bad/video.mp4: cannot be read as a video"


def times_of_a_variable_rate(scene: Path, room: RoomScene) -> str:
    (scene / "cameras.json").unlink()
    times = np.cumsum(np.linspace(0.1, 0.4, 24))
    video.write(scene / "video.mp4", (f.rgb for f in render(room, range(24))), 4, timestamps=times.tolist())
    rows = [f"{time} 0 0 {time} 0 0 0" for time in times]
    (scene / "groundtruth.txt").write_text("\n".join(rows))
    return "bad/groundtruth.txt:1: expected 8 numbers"


def an_empty_scene(scene: Path, room: RoomScene) -> str:
    shutil.rmtree(scene)
    (scene / "rgb").mkdir(parents=True)
    return "bad: an empty scene, no image in rgb/"


WRONG = (
    every_pose_lost, fewer_cameras, no_rotation, depth_of_another_shape, a_standing_video, broken_tail,
    no_video, times_of_a_variable_rate, an_empty_scene,
)  # fmt: skip


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_one_wrong_scene_is_named_and_the_other_is_made(
    spoil: Callable[[Path, RoomScene], str], room: RoomScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost otherwise: a night's job that one bad file ends, or a sample of cameras that are not the frames'."""
    for name in ("bad", GOOD):
        write_frames(room, tmp_path / "data" / name)
    message = spoil(tmp_path / "data" / "bad", room)
    found = gen(tmp_path / "data", tmp_path, "frames", monkeypatch)
    assert found[GOOD] == "done"
    assert message in found["bad"]
    assert str(tmp_path / "data") in found["bad"] or "bad" in found["bad"]


def test_some_lost_poses_cost_their_frames_and_not_the_scene(
    room: RoomScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_frames(room, tmp_path / "data" / GOOD)
    cameras = json.loads((folder / "cameras.json").read_text())
    for lost in (0, 5, 6):
        cameras["w2c"][lost] = [[None] * 4] * 4
    (folder / "cameras.json").write_text(json.dumps(cameras))
    assert gen(tmp_path / "data", tmp_path, "frames", monkeypatch) == {GOOD: "done"}
    (sample,) = sampleset.samples(tmp_path / "space" / "samples")
    assert not {0, 5, 6} & set(sampleset.read(sample).ids)


def test_licensed_sets_fail_scene_by_scene(room: RoomScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty scan, one without intrinsics, and a walk whose trajectory ends inside a line."""
    scans = tmp_path / "scannet" / "scans"
    for name in ("scene0000_00", "scene0001_00", "scene0002_00"):
        scannet_exported(room, scans / name)
    shutil.rmtree(scans / "scene0001_00" / "color")
    (scans / "scene0001_00" / "color").mkdir()
    (scans / "scene0002_00" / "intrinsic" / "intrinsic_color.txt").unlink()
    found = gen(tmp_path / "scannet", tmp_path / "scannet", "scannet", monkeypatch)
    assert found["scene0000_00"] == "done"
    assert "scene0001_00/color: an empty scene" in found["scene0001_00"]
    assert "scene0002_00/intrinsic/intrinsic_color.txt: no such file" in found["scene0002_00"]
    walks = tmp_path / "arkit"
    for name in ("41048190", "41048191"):
        arkitscenes(room, walks, name)
    traj = walks / "raw" / "Validation" / "41048191" / "lowres_wide.traj"
    traj.write_text(traj.read_text() + "3415.05 0 0")
    found = gen(walks, walks, "arkitscenes", monkeypatch)
    assert found["41048190"] == "done"
    assert "41048191/lowres_wide.traj:25: expected 7 numbers" in found["41048191"]
