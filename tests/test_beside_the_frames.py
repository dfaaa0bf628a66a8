"""What lies beside the frames and tells of them: tags, names, rigs, clocks. Each means what its format says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from support.media import make_video
from support.reprojection import errors, wide_pairs

from smx import video
from smx.datasets._files import NoScene, look, numbered
from smx.datasets._rooms_files import write_frames
from smx.datasets.frames import Dataset
from smx.errors import UserError
from smx.geometry.poses import read_colmap, read_tum
from smx.resolve.preflight import require_times
from smx.rooms import named_scene


@pytest.mark.parametrize(
    ("names", "order", "numbers"),
    [
        (["2024-01-05_12-01-02.png", "2024-01-05_12-00-50.png"], [1, 0], (0, 1)),
        (["41048190_3415.050.png", "41048190_999.500.png"], [1, 0], (0, 1)),
        (["IMG_20240105_120050_007.png", "IMG_20240105_120049_006.png"], [1, 0], (6, 7)),
        (["take3_frame_10_640.png", "take3_frame_9_640.png"], [1, 0], (9, 10)),
    ],
)
def test_names_sort_by_all_their_numbers(names: list[str], order: list[int], numbers: tuple[int, ...]) -> None:
    found = numbered(map(Path, names))
    assert [file.name for file in found.files] == [names[at] for at in order]
    assert found.numbers == numbers


def test_names_that_end_in_seconds_are_times() -> None:
    assert numbered(map(Path, ["41048190_3415.050.png", "41048190_999.500.png"])).times == (999.5, 3415.05)


@pytest.mark.parametrize("orientation", [6, 3, 8])
def test_the_exif_tag_turns_camera_and_depth_with_the_picture(orientation: int, tmp_path: Path) -> None:
    """Lost otherwise: K and poses of the lying picture for the standing one, and nothing looks it."""
    room = named_scene("test-000", frames=60, width=64, height=48)
    plain = write_frames(room, tmp_path / "plain")
    (plain / "video.mp4").unlink()
    turned = tmp_path / "turned"
    for place in (plain, turned):
        (place / "images").mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = orientation if place == turned else 1
        from smx.rooms import render

        for frame_id, frame in enumerate(render(room, range(60))):
            Image.fromarray(frame.rgb).save(place / "images" / f"{frame_id:04d}.jpg", exif=exif, quality=95)
    (plain / "depth").rename(turned / "depth")
    (turned / "cameras.json").write_bytes((plain / "cameras.json").read_bytes())
    scene = Dataset().open(turned, "turned")
    assert (scene.width, scene.height) == ((64, 48) if orientation == 3 else (48, 64))
    cameras = scene.cameras(range(60))
    assert cameras is not None
    assert np.nanmedian(errors(scene, cameras.w2c, wide_pairs(cameras.w2c, step=1, apart=6))) < 0.02


def test_poses_of_rigs_are_composed(tmp_path: Path) -> None:
    """COLMAP 3.12 and later: what images.txt says does not count where frames.txt names the image."""
    rig = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    sensor = Rotation.from_euler("xyz", [0, 90, 0], degrees=True)

    def text(rotation: Rotation, translation: str) -> str:
        x, y, z, w = rotation.as_quat()
        return f"{w} {x} {y} {z} {translation}"

    (tmp_path / "cameras.txt").write_text("1 PINHOLE 64 48 50 50 32 24\n2 PINHOLE 64 48 50 50 32 24\n")
    (tmp_path / "rigs.txt").write_text(f"# rigs\n7 2 CAMERA 1 CAMERA 2 1 {text(sensor, '0.1 0 0')}\n")
    (tmp_path / "frames.txt").write_text(f"# frames\n5 7 {text(rig, '1 2 3')} 2 CAMERA 1 11 CAMERA 2 12\n")
    images = "11 1 0 0 0 9 9 9 1 left.png\n\n12 1 0 0 0 9 9 9 2 right.png\n\n13 1 0 0 0 4 5 6 1 alone.png\n\n"
    (tmp_path / "images.txt").write_text(images)
    left, right, alone = read_colmap(tmp_path).w2c
    np.testing.assert_allclose(left[:3, :3], rig.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(left[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(right[:3, :3], (sensor * rig).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(right[:3, 3], sensor.apply([1, 2, 3]) + np.array([0.1, 0, 0]), atol=1e-12)
    np.testing.assert_allclose(alone[:3, 3], [4, 5, 6])


def test_a_few_bad_poses_are_lost_and_counted(tmp_path: Path) -> None:
    rows = [f"{i} {i} 0 0 0 0 0 1" for i in range(30)]
    rows[4] = "4 0 0 0 0 0 0 0"
    rows.insert(9, rows[8])
    (tmp_path / "poses.txt").write_text("\n".join(rows))
    read = read_tum(tmp_path / "poses.txt")
    assert len(read.w2c) == 30
    assert np.flatnonzero(np.isnan(read.w2c[:, 0, 0])).tolist() == [4]
    assert [line.rpartition("poses.txt:")[2].split(":")[0] for line in read.dropped] == ["5", "9"]


def test_the_first_frame_is_at_zero_whatever_the_containers_clock(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for i in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 83 + i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = video.probe(path)
    assert found.start == pytest.approx(8.3, abs=0.11)
    np.testing.assert_allclose(found.timestamps, np.arange(12) / 10, atol=2e-3)


def test_pictures_without_a_rate_have_no_times_and_a_reader_of_times_asks(tmp_path: Path) -> None:
    """Lost otherwise: the last of a thousand pictures is at "999 s"."""
    (tmp_path / "walk").mkdir()
    for i in range(4):
        Image.new("RGB", (64, 48)).save(tmp_path / "walk" / f"{i}.png")
    plain, timed = Dataset(), Dataset.parse({"fps": 30}, "frames")
    assert np.isnan(plain.open(tmp_path, "walk").timestamps()).all()
    np.testing.assert_allclose(timed.open(tmp_path, "walk").timestamps(), np.arange(4) / 30)
    with pytest.raises(UserError, match="reads when its frames were taken"):
        require_times("qwen3", "frames", plain, tmp_path, ["walk"])
    require_times("qwen3", "frames", timed, tmp_path, ["walk"])
    for name in ("film", "street"):
        make_video(tmp_path / f"{name}.mp4", 4)
    with pytest.raises(UserError, match="nothing tells of scene 'walk'"):
        require_times("qwen3", "frames", plain, tmp_path, plain.scenes(tmp_path))  # another has times


def test_a_gif_is_a_video(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (64, 48), (40 * i, 0, 0)) for i in range(5)]
    pictures[0].save(tmp_path / "walk.gif", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    scene = Dataset().open(tmp_path / "walk.gif", "walk")
    assert len(scene.frame_ids) == 5
    assert [int(pixels[0, 0, 0]) for _, pixels in scene.decode([0, 4])] == pytest.approx([0, 160], abs=6)


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    for place in ("images", "depth"):
        (folder / place).mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (64, 48)).save(folder / "images" / f"{i}.png")
        (folder / "depth" / f"{i}.pfm").write_bytes(b"")
    (depth,) = Dataset().open(tmp_path, "walk").remarks()
    assert depth == "depth/ has 4 .pfm, and depth is read from .exr, .npy, .png, .tif, .tiff"
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "IMG_1.heic").write_bytes(b"")
    with pytest.raises(NoScene, match=r"no images and no video in it \(1 .heic: not read"):
        look(tmp_path / "phone", "auto")
