"""Frames of a video: the right ones, upright, counted honestly, and errors where there are none."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import media

from smx import video
from smx.errors import SceneError
from smx.video._decode import _seeking
from smx.video._packets import packets

CLIPS = {
    "h264 with B-frames": ("libx264", "mp4", {"g": "12"}),
    "h264 many B-frames in mkv": ("libx264", "mkv", {"g": "7", "bf": "4"}),
    "h264 one keyframe": ("libx264", "mp4", {"g": "250"}),
    "h264 open gop": ("libx264", "mp4", {"x264_params": "open-gop=1:keyint=10:bframes=3"}),
    "h264 intra refresh": ("libx264", "mp4", {"x264_params": "intra-refresh=1:keyint=10"}),
    "h264 in a transport stream": ("libx264", "ts", {"g": "12"}),
    "h265 open gop": ("libx265", "mp4", {"g": "12", "x265_params": "log-level=none"}),
    "vp9": ("libvpx-vp9", "webm", {"g": "12", "cpu_used": "8"}),
    "vp8": ("libvpx", "webm", {"g": "12"}),
    "av1": ("libsvtav1", "mp4", {"g": "12", "preset": "12"}),
    "mpeg4 with B-frames": ("mpeg4", "mp4", {"g": "9", "bf": "2"}),
    "mpeg4 in avi": ("mpeg4", "avi", {"g": "9"}),
    "mpeg2 in a program stream": ("mpeg2video", "mpg", {"g": "12", "bf": "2"}),
    "mjpeg": ("mjpeg", "mkv", {}),
    "ffv1": ("ffv1", "mkv", {}),
}


@pytest.mark.parametrize("name", CLIPS)
def test_frames_by_id_equal_a_full_decode(name: str, tmp_path: Path) -> None:
    """Else a sample holds other frames than its ids say, and nobody sees it."""
    import av

    codec, container, options = CLIPS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = media.make_video(tmp_path / f"clip.{container}", 70, codec, **options)
    every = media.read_all(path)
    assert video.probe(path).n_frames == len(every) == 70
    for ids in ([0], [69], [3, 40, 41, 66], [0, 35, 69], range(70)):
        got = list(video.decode(path, ids))
        assert [frame_id for frame_id, _ in got] == list(ids)
        for frame_id, pixels in got:
            assert pixels.dtype == np.uint8
            assert np.array_equal(pixels, every[frame_id]), f"frame {frame_id}"


def test_random_requests_on_a_clip_with_many_keyframes(tmp_path: Path) -> None:
    """Seeking decides by gap and keyframes: any set of ids must give what a full decode gives."""
    path = media.make_video(tmp_path / "clip.mp4", 160, x264_params="keyint=24:bframes=3:open-gop=1")
    every = media.read_all(path)
    rng = np.random.default_rng(5)
    leading = [[frame_id] for frame_id in range(60, 90)]  # shown before the keyframe they are stored after, some
    for ids in [*leading, *(rng.choice(160, size, replace=False).tolist() for size in (2, 3, 5, 8, 13))]:
        got = dict(video.decode(path, [*ids, ids[0]]))
        assert list(got) == sorted(ids)
        assert all(np.array_equal(pixels, every[frame_id]) for frame_id, pixels in got.items())
        assert [i for i, _ in _seeking(video.probe(path), sorted(ids))] == sorted(ids), "fell back to the slow way"


def test_damage_before_a_keyframe_is_not_even_read(tmp_path: Path) -> None:
    """A late frame is reached by seeking; decoding all before it would make long videos slow."""
    path = media.make_video(tmp_path / "clip.mp4", 80, g="20")
    ((_, expected),) = video.decode(path, [75])
    data = bytearray(path.read_bytes())
    for at, size in media.packets(path)[1:40]:
        data[at : at + size] = bytes(size)
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(data)
    probed = video.probe(hurt)
    seen = [frame_id for frame_id, _ in _seeking(probed, [75])]
    assert seen == [75]
    assert np.array_equal(next(video.decode(hurt, [75]))[1], expected)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_a_damaged_packet_costs_its_dependents_and_no_other_frame(codec: str, tmp_path: Path) -> None:
    """A frame built on a broken one looks plausible and is wrong: it must be an error, the rest must stay exact."""
    quiet = {"x265_params": "log-level=none"} if codec == "libx265" else {}
    path = media.make_video(tmp_path / "clip.mp4", 60, codec, g="12", **quiet)
    every = media.read_all(path)
    data = bytearray(path.read_bytes())
    at, size = media.packets(path)[26]
    data[at : at + size] = np.random.default_rng(0).bytes(size)
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(data)
    assert video.probe(hurt).n_frames == 60
    errors: dict[int, str] = {}
    for frame_id in range(60):
        try:
            ((_, pixels),) = video.decode(hurt, [frame_id])
        except SceneError as error:
            errors[frame_id] = str(error)
        else:
            assert np.array_equal(pixels, every[frame_id]), f"frame {frame_id} is given and is wrong"
    broken = list(errors)
    assert broken
    assert all(f"hurt.mp4: frame {i} is damaged or missing" in said for i, said in errors.items())
    assert set(broken) <= set(range(22, 37)), "damage went past a keyframe"
    whole = video.decode(hurt, range(60))
    with pytest.raises(SceneError, match=f"frame {broken[0]} "):
        list(whole)


def test_a_file_cut_short_gives_the_frames_it_holds(tmp_path: Path) -> None:
    """A copy that broke off must not cost what arrived, nor pretend to what did not."""
    path = media.make_video(tmp_path / "clip.mp4", 60, g="12", bf="0")
    every = media.read_all(path)
    at, size = media.packets(path)[33]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: at + size // 2])
    probed = video.probe(cut)
    assert (probed.n_frames, probed.n_frames_declared) == (33, 60)
    frames = video.decode(cut, [0, 20, 32, 40])
    for expected in (0, 20, 32):
        frame_id, pixels = next(frames)
        assert frame_id == expected
        assert np.array_equal(pixels, every[expected])
    with pytest.raises(SceneError, match=r"cut\.mp4: there is no frame 40, .* 33 frames \(its header says 60\)"):
        next(frames)


def test_headers_that_lie_about_the_count_are_not_believed(tmp_path: Path) -> None:
    """Candidates are spread over N: a wrong N silently leaves out the end, or asks for frames that are not there."""
    path = media.make_video(tmp_path / "clip.avi", 30, "mpeg4")
    data = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(tag) + offset
        assert int.from_bytes(data[at : at + 4], "little") == 30
        data[at : at + 4] = (500).to_bytes(4, "little")
    path.write_bytes(data)
    probed = video.probe(path)
    assert (probed.n_frames, probed.n_frames_declared) == (30, 500)
    assert len(list(video.decode(path, range(30)))) == 30


def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path: Path) -> None:
    """Phones trim clips that way; counting the hidden frames would shift every id."""
    path = tmp_path / "trimmed.mp4"
    media.trimmed_by_edit_list(path, 40, hidden=7)
    every = media.read_all(path)
    assert len(every) == 33
    probed = video.probe(path)
    assert probed.n_frames == 33
    assert probed.timestamps[0] == pytest.approx(0)
    for frame_id, pixels in video.decode(path, [0, 1, 30, 32]):
        assert np.array_equal(pixels, every[frame_id])


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    """Poses are matched by time: id / fps would drift away from them."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.02, 0.2, 30))
    path = tmp_path / "vfr.mp4"
    video.write(path, media.moving(30), 10, timestamps=times.tolist())
    probed = video.probe(path)
    assert probed.n_frames == 30
    assert np.diff(probed.timestamps) == pytest.approx(np.diff(times), abs=1e-3)
    assert probed.fps == pytest.approx(29 / (times[-1] - times[0]), rel=1e-2)


def test_constant_rate_is_the_exact_fraction(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    video.write(path, media.moving(20), 30000 / 1001)
    assert video.probe(path).fps == pytest.approx(30000 / 1001, rel=1e-9)
    assert video.probe(path).timestamps[10] == pytest.approx(10 * 1001 / 30000, abs=1e-4)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_rotation_tag_is_honoured(degrees: int, tmp_path: Path) -> None:
    """A phone's upright video is stored lying down; the model would look at a room on its side."""
    path = media.make_video(tmp_path / "clip.mp4", 6)
    media.rotate_by_tag(path, tmp_path / "turned.mp4", degrees)
    probed = video.probe(tmp_path / "turned.mp4")
    size = (media.WIDTH, media.HEIGHT) if degrees == 180 else (media.HEIGHT, media.WIDTH)
    assert (probed.width, probed.height) == size
    assert probed.rotation == degrees
    every = media.read_all(path)
    for frame_id, pixels in video.decode(tmp_path / "turned.mp4", [0, 5]):
        assert np.array_equal(pixels, np.rot90(every[frame_id], -degrees // 90))
        assert pixels.flags.c_contiguous


def test_portrait_frames_keep_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "portrait.mp4"
    video.write(path, media.moving(4, width=48, height=80), 25)
    assert (video.probe(path).width, video.probe(path).height) == (48, 80)
    assert next(video.decode(path, [2]))[1].shape == (80, 48, 3)


def test_files_that_are_no_videos_are_named(tmp_path: Path) -> None:
    missing, empty, text, sound = (tmp_path / name for name in ("gone.mp4", "empty.mp4", "text.mp4", "sound.wav"))
    empty.touch()
    text.write_text("not a video " * 100)
    with wave.open(str(sound), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(1600))
    headless = media.make_video(tmp_path / "whole.mp4", 20)
    (tmp_path / "headless.mp4").write_bytes(headless.read_bytes()[3000:])
    (tmp_path / "foreign.mp4").write_bytes(headless.read_bytes().replace(b"avc1", b"zzzz"))  # of a codec nobody knows
    for path in (missing, empty, text, sound, tmp_path / "headless.mp4", tmp_path / "foreign.mp4"):
        with pytest.raises(SceneError, match=path.name):
            video.probe(path)
        with pytest.raises(SceneError, match=path.name):
            list(video.decode(path, [0]))


def test_a_stream_that_begins_later_costs_no_frame() -> None:
    """Lost otherwise: PyAV's IndexError ends a transport stream where damage looks like a new stream."""

    class Damaged:
        def __init__(self) -> None:
            self.packets = iter(["first", None, "second"])

        def demux(self, stream: object) -> Iterator[str]:
            for packet in self.packets:
                if packet is None:
                    raise IndexError("list index out of range")
                yield packet

    assert list(packets(Damaged(), None)) == ["first", "second"]


def test_ids_outside_the_video_are_errors(tmp_path: Path) -> None:
    path = media.make_video(tmp_path / "clip.mp4", 10)
    assert list(video.decode(path, [])) == []
    for wrong in (-1, 10, 10**9):
        with pytest.raises(SceneError, match=f"no frame {wrong}"):
            list(video.decode(path, [wrong]))


def test_a_replaced_file_is_measured_again(tmp_path: Path) -> None:
    """The count is remembered per file; a new download under the old name must not inherit it."""
    path = media.make_video(tmp_path / "clip.mp4", 10)
    assert video.probe(path).n_frames == 10
    media.make_video(path, 14)
    assert video.probe(path).n_frames == 14


def test_writing_twice_gives_the_same_bytes_and_failing_leaves_nothing(tmp_path: Path) -> None:
    """Digests of written scenes are compared across machines; half a video would be taken for a whole one."""
    first, second = (media.make_video(tmp_path / name, 20).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second

    def breaks() -> Iterator[np.ndarray]:
        yield from media.moving(5)
        raise RuntimeError("the renderer failed")

    with pytest.raises(RuntimeError):
        video.write(tmp_path / "c.mp4", breaks(), 25)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
