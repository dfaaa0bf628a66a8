"""Datasets `frames` and `vsibench`: the right frame under the right id, with the right camera and depth."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import media

from smx import video
from smx.datasets import Scene
from smx.datasets.frames import Dataset
from smx.datasets.vsibench import Dataset as VsiBench
from smx.errors import SceneError, UserError

SIZE = (media.WIDTH, media.HEIGHT)
K = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])


def colour(number: int) -> tuple[int, int, int]:
    return (number % 251, number // 251 % 251, 7)


def make_images(folder: Path, names: Sequence[str], size: tuple[int, int] = SIZE) -> Path:
    """One-coloured pngs; the colour tells which position in `names` it was."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.new("RGB", size, colour(place)).save(folder / name)
    return folder


def make_depth(folder: Path, names: Sequence[str], size: tuple[int, int] = SIZE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.fromarray(np.full(size[::-1], 1000 + place, np.uint16)).save(folder / name)


def w2c_of(place: int) -> np.ndarray:
    """A camera that is not the identity and tells its place: turned about y, shifted by it."""
    angle = 0.3 + 0.1 * place
    pose = np.eye(4)
    pose[[0, 0, 2, 2], [0, 2, 0, 2]] = [np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)]
    pose[:3, 3] = [place, 1, -2]
    return pose


def cameras_json(folder: Path, n: int, **more: Any) -> None:
    data = {"K": K.tolist(), "w2c": [w2c_of(i).tolist() for i in range(n)], "width": SIZE[0], "height": SIZE[1], **more}
    (folder / "cameras.json").write_text(json.dumps(data))


def tum(folder: Path, times: Sequence[float]) -> None:
    lines = []
    for place, time in enumerate(times):
        c2w = np.linalg.inv(w2c_of(place))
        half = -(0.3 + 0.1 * place) / 2  # the inverse of a turn by w2c's angle about y
        lines.append(" ".join(map(str, [time, *c2w[:3, 3], 0, np.sin(-half) * -1, 0, np.cos(half)])))
    (folder / "groundtruth.txt").write_text("\n".join(lines))


def open_one(root: Path, **options: Any) -> Scene:
    dataset = Dataset.parse(options, "dataset frames")
    (scene_id,) = dataset.scenes(root)
    return dataset.open(root, scene_id)


def w2c(scene: Scene, ids: Sequence[int] | None = None) -> np.ndarray:
    cameras = scene.cameras(scene.frame_ids.tolist() if ids is None else ids)
    assert cameras is not None
    return cameras.w2c


# --- numbering ----------------------------------------------------------------------------------------------


def test_numbers_are_read_as_numbers_and_gaps_stay(tmp_path: Path) -> None:
    """As text, frame 10000 sorts before 9999: the reference implementation picks wrong frames there."""
    names = ["frame_9998.png", "frame_9999.png", "frame_10000.png", "frame_10007.png", "frame_100000.png"]
    scene = open_one(make_images(tmp_path / "scene", names))
    assert scene.frame_ids.tolist() == [9998, 9999, 10000, 10007, 100000]
    assert scene.frame_ids.dtype == np.int64
    got = [(frame_id, tuple(pixels[0, 0])) for frame_id, pixels in scene.decode([100000, 9999, 10000])]
    assert got == [(9999, colour(1)), (10000, colour(2)), (100000, colour(4))]
    for absent in (10001, 0, -1):
        with pytest.raises(SceneError, match=f"no image of frame {absent}"):
            list(scene.decode([absent]))
        with pytest.raises(SceneError, match=f"no frame {absent}"):
            scene.depth(absent)


def test_more_than_ten_thousand_frames_keep_their_order(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "scene", ["0000.png"])
    for number in range(1, 10_050):
        os.link(folder / "0000.png", folder / f"{number:04d}.png")
    scene = open_one(folder)
    assert scene.frame_ids.tolist() == list(range(10_050))


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["00001.jpg", "00003.jpg"], [1, 3]),
        (["scene0000_00_00012.png", "scene0000_00_00013.png"], [12, 13]),
        (["frame-000000.color.png", "frame-000001.color.png"], [0, 1]),
        (["kitchen.png", "sofa.png"], [0, 1]),
    ],
)
def test_names_give_frame_ids(names: list[str], ids: list[int], tmp_path: Path) -> None:
    assert open_one(make_images(tmp_path / "scene", names)).frame_ids.tolist() == ids


def test_names_that_are_times_order_and_time_the_frames(tmp_path: Path) -> None:
    """TUM RGB-D names its images by timestamp; the digits after the point are no frame number."""
    names = ["1305031102.975304.png", "1305031103.011215.png", "1305031103.043227.png"]
    scene = open_one(make_images(tmp_path / "rgb", names).parent)
    assert scene.frame_ids.tolist() == [0, 1, 2]
    clock = scene.clock()
    assert clock is not None
    assert clock[1] == pytest.approx(1305031103.011215, abs=1e-6)
    assert scene.timestamps()[1] == pytest.approx(1305031103.011215 - 1305031102.975304, abs=1e-6)


def test_ambiguous_numbering_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"left_01.png: frame number 1 again, as 1.png"):
        open_one(make_images(tmp_path / "a", ["1.png", "left_01.png"]))
    with pytest.raises(SceneError, match=r"1.500.png: timestamp 1.500 again, as 1.50.png"):
        open_one(make_images(tmp_path / "c", ["1.50.png", "1.500.png", "2.00.png"]))
    with pytest.raises(SceneError, match=r"cover.png: no frame number"):
        open_one(make_images(tmp_path / "b", ["1.png", "cover.png"]))


# --- images -------------------------------------------------------------------------------------------------


def test_mixed_sizes_and_broken_images_name_the_file(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "scene", ["0.png", "1.png", "2.png", "3.png"])
    make_images(folder, ["2.png"], (32, 48))
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:60])
    scene = open_one(folder)
    assert len(list(scene.decode([0, 1]))) == 2
    with pytest.raises(SceneError, match=r"2.png: 32x48, the scene's first image is 64x48"):
        list(scene.decode([2]))
    with pytest.raises(SceneError, match=r"3.png: cannot be read"):
        list(scene.decode([3]))


def test_a_depth_map_is_no_colour_frame(tmp_path: Path) -> None:
    make_depth(tmp_path / "images", ["0.png"])
    with pytest.raises(SceneError, match=r"0.png.*depth"):
        open_one(tmp_path)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright, stored lying on its left side
    (tmp_path / "scene").mkdir()
    image.save(tmp_path / "scene" / "0.png", exif=exif)
    scene = open_one(tmp_path / "scene")
    assert (scene.width, scene.height) == (20, 40)
    ((_, pixels),) = scene.decode([0])
    assert pixels[0, 19].tolist() == [255, 255, 255]


# --- cameras and depth --------------------------------------------------------------------------------------


def test_images_and_video_of_one_scene_have_the_same_cameras(tmp_path: Path) -> None:
    make_images(tmp_path / "rgb", [f"{i:04d}.png" for i in range(5)])
    media.make_video(tmp_path / "video.mp4", 5)
    make_depth(tmp_path / "depth", [f"{i:04d}.png" for i in range(5)], (32, 24))
    cameras_json(tmp_path, 5)
    for prefer, kind in (("auto", "images"), ("images", "images"), ("video", "video")):
        scene = open_one(tmp_path, prefer=prefer)
        np.testing.assert_allclose(w2c(scene, [3, 1]), [w2c_of(3), w2c_of(1)])
        found = scene.depth(4)
        assert found is not None
        depth, K_depth = found
        assert depth.dtype == np.float32
        assert np.allclose(depth, 1.004)
        np.testing.assert_allclose(K_depth, np.array([[25, 0, 15.5], [0, 25, 11.5], [0, 0, 1]]))
        source = scene.source()
        assert source["kind"] == kind
        assert source["cameras"] == {"format": "cameras_json", "file": "cameras.json", "matched_by": "order"}
        assert str(tmp_path) not in json.dumps(source)
    assert open_one(tmp_path, poses="none").cameras([0]) is None


@pytest.mark.parametrize("n", [4, 6])
def test_a_camera_too_few_or_too_many_is_an_error(n: int, tmp_path: Path) -> None:
    """Shifted by one, every camera is wrong and nothing looks it."""
    media.make_video(tmp_path / "video.mp4", 5)
    cameras_json(tmp_path, n)
    with pytest.raises(SceneError, match=f"cameras.json: {n} poses for 5 frames"):
        open_one(tmp_path).cameras([0])


def test_depth_of_other_numbers_is_an_error(tmp_path: Path) -> None:
    make_images(tmp_path / "rgb", [f"{i}.png" for i in range(5)])
    make_depth(tmp_path / "depth", [f"{i}.png" for i in range(1, 6)])
    cameras_json(tmp_path, 5)
    with pytest.raises(SceneError, match="depth: numbered 1 to 5, the frames 0 to 4"):
        open_one(tmp_path).depth(0)


def test_invalid_depth_is_nan_and_the_scale_is_an_option(tmp_path: Path) -> None:
    make_images(tmp_path / "rgb", ["0.png", "2.png"])
    (tmp_path / "depth").mkdir()
    raw = np.array([[0, 5000, 65535, 10000]] * 3, np.uint16)
    Image.fromarray(raw).save(tmp_path / "depth" / "2.png")
    cameras_json(tmp_path, 2)
    scene = open_one(tmp_path, depth_scale=5000)
    found = scene.depth(2)
    assert found is not None
    np.testing.assert_array_equal(found[0], np.array([[np.nan, 1, np.nan, 2]] * 3, np.float32))
    assert scene.depth(0) is None


def test_lost_frames_and_missing_pose_files_are_nan_cameras(tmp_path: Path) -> None:
    """ScanNet's layout: color, depth, pose with gaps, and a colour camera of another size than the depth's."""
    make_images(tmp_path / "color", ["0.png", "1.png", "2.png", "10.png"])
    make_depth(tmp_path / "depth", ["0.png", "10.png"], (32, 24))
    (tmp_path / "pose").mkdir()
    for number in (0, 1, 10, 11):
        lines = [" ".join(map(str, row)) for row in np.linalg.inv(w2c_of(number))]
        (tmp_path / "pose" / f"{number}.txt").write_text("\n".join(lines if number != 1 else ["-inf " * 4] * 4))
    (tmp_path / "intrinsic").mkdir()
    for kind, f in (("color", 50), ("depth", 27)):
        text = f"{f} 0 31.5 0\n0 {f} 23.5 0\n0 0 1 0\n0 0 0 1"
        (tmp_path / "intrinsic" / f"intrinsic_{kind}.txt").write_text(text)
    scene = open_one(tmp_path)
    got = w2c(scene)
    np.testing.assert_allclose(got[[0, 3]], [w2c_of(0), w2c_of(10)], atol=1e-12)
    assert np.isnan(got[1:3]).all()
    found = scene.depth(10)
    assert found is not None
    assert found[1][0, 0] == 27


def test_poses_are_matched_by_the_nearest_time(tmp_path: Path) -> None:
    """Poses at 10 Hz for a video at 25: frames far from any pose have no camera, not a stale one."""
    media.make_video(tmp_path / "video.mp4", 20)
    tum(tmp_path, [0.1, 0.2, 0.3, 0.4])
    (tmp_path / "intrinsics.txt").write_text("50 0 31.5 0 50 23.5 0 0 1")
    scene = open_one(tmp_path)
    got = w2c(scene)
    nearest = {frame: min(range(4), key=lambda p: abs(0.1 * (p + 1) - frame / 25)) for frame in range(20)}
    for frame in range(20):
        if 0.06 <= frame / 25 <= 0.44:
            np.testing.assert_allclose(got[frame], w2c_of(nearest[frame]), atol=1e-9)
        else:
            assert np.isnan(got[frame]).all()
    assert scene.source()["cameras"]["matched_by"] == "time"


def test_a_time_column_of_frame_numbers_is_one(tmp_path: Path) -> None:
    make_images(tmp_path / "rgb", [f"{i}.png" for i in (0, 2, 4, 9)])
    tum(tmp_path, [2, 4, 9])
    scene = open_one(tmp_path, intrinsics=(50, 50, 31.5, 23.5))
    got = w2c(scene)
    assert np.isnan(got[0]).all()
    np.testing.assert_allclose(got[1:], [w2c_of(0), w2c_of(1), w2c_of(2)], atol=1e-9)
    cameras = scene.cameras([9])
    assert cameras is not None
    np.testing.assert_allclose(cameras.K, K[None])


def test_colmap_images_are_matched_by_name(tmp_path: Path) -> None:
    """COLMAP lists images in its own order and leaves out what it could not register."""
    make_images(tmp_path / "images", ["a_1.png", "a_2.png", "a_3.png"])
    folder = tmp_path / "sparse" / "0"
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text("1 PINHOLE 128 96 100 100 64 48\n")
    (folder / "images.txt").write_text("1 1 0 0 0 3 0 0 1 a_3.png\n\n2 1 0 0 0 1 0 0 1 a_1.png\n\n")
    cameras = open_one(tmp_path).cameras([1, 2, 3])
    assert cameras is not None
    assert cameras.w2c[[0, 2], 0, 3].tolist() == [1, 3]
    assert np.isnan(cameras.w2c[1]).all()
    assert not cameras.metric
    np.testing.assert_allclose(cameras.K[0], K)  # of images twice as large, so halved
    (folder / "images.txt").write_text("1 1 0 0 0 3 0 0 1 other.png\n\n")
    with pytest.raises(SceneError, match="none of its images"):
        open_one(tmp_path).cameras([1])


def test_intrinsics_of_a_turned_image_are_refused(tmp_path: Path) -> None:
    make_images(tmp_path / "rgb", ["0.png"])
    cameras_json(tmp_path, 1, width=48, height=64)
    with pytest.raises(SceneError, match="intrinsics of 48x64 images, the frames are 64x48"):
        open_one(tmp_path).cameras([0])


def test_poses_without_intrinsics_say_what_to_add(tmp_path: Path) -> None:
    make_images(tmp_path / "rgb", ["0.png", "1.png"])
    tum(tmp_path, [0, 1])
    with pytest.raises(SceneError, match=r"no intrinsics.*camera_intrinsic.json"):
        open_one(tmp_path).cameras([0])
    with pytest.raises(SceneError, match=r"no cameras of format 'colmap'; looked for images.txt"):
        open_one(tmp_path, poses="colmap").cameras([0])


# --- which scenes -------------------------------------------------------------------------------------------


def test_a_root_of_scenes_skips_what_is_none_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_images(tmp_path / "photos", ["0.png"])
    media.make_video(tmp_path / "walk.mp4", 4)
    (tmp_path / "clip").mkdir()
    shutil.copy(tmp_path / "walk.mp4", tmp_path / "clip" / "any name.mp4")
    (tmp_path / "two").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(tmp_path / "walk.mp4", tmp_path / "two" / name)
    shutil.copy(tmp_path / "walk.mp4", tmp_path / "second.mp4")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    with caplog.at_level(logging.WARNING):
        assert Dataset().scenes(tmp_path) == ["clip", "photos", "second", "walk"]
    assert "two is no scene and is skipped: 2 videos in it" in caplog.text
    assert "notes is no scene and is skipped: no images and no video in it" in caplog.text
    for scene_id, n in (("clip", 4), ("photos", 1), ("walk", 4)):
        scene = Dataset().open(tmp_path, scene_id)
        assert (scene.id, len(scene.frame_ids)) == (scene_id, n)
    assert Dataset.parse({"prefer": "images"}, "frames").scenes(tmp_path) == ["photos"]
    with pytest.raises(UserError, match=r"unknown scene 'wlak'\ndid you mean walk"):
        Dataset().open(tmp_path, "wlak")


def test_a_root_that_is_one_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = media.make_video(tmp_path / "walk.mp4", 4)
    assert Dataset().scenes(path) == ["walk"]
    assert Dataset().scenes(tmp_path) == ["walk"]  # as it is called once a second video lies beside it
    monkeypatch.chdir(tmp_path)
    assert Dataset().scenes(Path()) == ["walk"]
    scene = Dataset().open(path, "walk")
    assert scene.cameras([0]) is None
    assert scene.depth(0) is None
    assert scene.fps == pytest.approx(25)


@pytest.mark.parametrize("dataset", [Dataset(), VsiBench()])
def test_a_root_without_frames_says_what_was_looked_for(dataset: Dataset | VsiBench, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    for root in (None, tmp_path / "gone", tmp_path, tmp_path / "readme.txt"):
        for call in (dataset.scenes, dataset.digest):
            with pytest.raises(UserError) as caught:
                call(root)
            assert "video" in caught.value.hint or "mp4" in caught.value.hint


def test_a_broken_scene_is_listed_and_fails_alone(tmp_path: Path) -> None:
    """One bad download must not keep the other scenes from being sampled."""
    media.make_video(tmp_path / "good.mp4", 4)
    (tmp_path / "bad.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:300])
    assert Dataset().scenes(tmp_path) == ["bad", "good"]
    with pytest.raises(SceneError, match=r"bad.mp4: "):
        Dataset().open(tmp_path, "bad")
    assert len(Dataset().open(tmp_path, "good").frame_ids) == 4


def test_the_digest_is_of_the_data_and_not_of_its_place(tmp_path: Path) -> None:
    """It goes into fingerprints: a copy on another disk is the same run, a changed camera file is not."""
    one = tmp_path / "one" / "scene"
    make_images(one / "rgb", ["0.png", "1.png"])
    make_depth(one / "depth", ["0.png"])
    cameras_json(one, 2)
    (one / "readme.txt").write_text("a note")
    two = tmp_path / "two" / "scene"
    shutil.copytree(one, two)
    dataset = Dataset()
    first = dataset.digest(one)
    assert first == dataset.digest(two)
    assert dataset.digest(tmp_path / "one") == dataset.digest(shutil.copytree(tmp_path / "one", tmp_path / "three"))
    (two / "readme.txt").write_text("another")
    assert dataset.digest(two) == first
    for change in ("cameras.json", "rgb/1.png", "depth/0.png"):
        changed = Path(shutil.copytree(one, tmp_path / change.replace("/", "-") / "scene"))
        (changed / change).write_bytes((changed / change).read_bytes() + b" ")
        assert dataset.digest(changed) != first, change
    (two / "rgb" / "1.png").rename(two / "rgb" / "2.png")
    assert dataset.digest(two) != first
    assert dataset.digest(shutil.copytree(one, tmp_path / "hall")) != first, "a sample names its scene"


# --- the fixtures and VSI-Bench's layout --------------------------------------------------------------------


def test_the_fixtures_as_they_lie_on_disk(fixtures: Path) -> None:
    assert Dataset().scenes(fixtures) == ["miniworld_threerooms", "redwood_livingroom1_micro"]
    redwood = Dataset().open(fixtures, "redwood_livingroom1_micro")
    assert (len(redwood.frame_ids), redwood.width, redwood.height) == (106, 640, 480)
    assert redwood.source()["cameras"]["format"] == "open3d"
    cameras = redwood.cameras([0, 105])
    assert cameras is not None
    np.testing.assert_allclose(cameras.K[1], np.array([[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]]))
    world = fixtures / "miniworld_threerooms"
    from_images = Dataset().open(world, world.name)
    from_video = Dataset.parse({"prefer": "video"}, "frames").open(world, world.name)
    assert from_images.frame_ids.tolist() == from_video.frame_ids.tolist() == list(range(240))
    for (_, image), (_, shown) in zip(from_images.decode([0, 120, 239]), from_video.decode([0, 120, 239]), strict=True):
        assert np.abs(image.astype(int) - shown).mean() < 8, "image and video frame of one id differ"


def test_vsibench_videos_in_both_places(tmp_path: Path) -> None:
    for place in ("scannet/scene0000_00", "videos/arkitscenes/41069025", "videos/scannet/scene0000_00"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        media.make_video(tmp_path / f"{place}.mp4", 5 if place.startswith("scannet") else 3)
    dataset = VsiBench()
    assert dataset.scenes(tmp_path) == ["arkitscenes/41069025", "scannet/scene0000_00"]
    scene = dataset.open(tmp_path, "scannet/scene0000_00")
    assert (scene.id, len(scene.frame_ids)) == ("scannet/scene0000_00", 5)
    assert scene.cameras([0]) is None
    assert scene.timestamps()[4] == pytest.approx(4 / 25)
    ((_, pixels),) = scene.decode([3])
    ((_, same),) = video.decode(tmp_path / "scannet" / "scene0000_00.mp4", [3])
    assert np.array_equal(pixels, same)
    with pytest.raises(UserError, match="unknown scene"):
        dataset.open(tmp_path, "scannet/scene0000_01")
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    shutil.move(tmp_path, moved)
    before = dataset.digest(moved)
    shutil.move(moved / "scannet" / "scene0000_00.mp4", moved / "scannet" / "scene0001_00.mp4")
    assert dataset.digest(moved) != before


def test_a_focal_length_of_zero_is_refused_before_anything_runs() -> None:
    """Lost otherwise: every scene of the run fails on a singular matrix."""
    with pytest.raises(UserError, match=r"intrinsics.*greater than 0"):
        Dataset.parse({"intrinsics": [0, 525, 319.5, 239.5]}, "dataset frames")
