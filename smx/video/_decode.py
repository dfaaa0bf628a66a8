"""Frames by id: fast with seeking while all is well, frame by frame from the start once it is not."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smx.errors import SceneError
from smx.video._index import Index, Video, count_of, orientation, probe
from smx.video._packets import events, open_container

# Seeking empties the decoder's pipeline; skipping fewer packets than this is not worth it.
_WORTH_A_SEEK = 16


def decode(path: Path, ids: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(id, uint8 [H, W, 3] RGB) of each id, ascending, in one forward pass that seeks over large gaps.

    Equal to a full sequential decode, byte by byte. Raises `SceneError` naming file and frame at the first id
    that the video does not have or that is damaged; the frames before it have been yielded by then.
    """
    video = probe(path)
    wanted = sorted({int(i) for i in ids})
    if wanted and wanted[0] < 0:
        raise SceneError(f"{path}: there is no frame {wanted[0]}")
    present = wanted[: bisect_right(wanted, video.n_frames - 1)]
    done, rgb = 0, _Rgb()
    if video.index.by_time:
        for frame_id, frame in _seeking(video, present):
            yield frame_id, _upright(video, frame_id, frame, rgb(frame))
            done += 1
    if done < len(present):
        for frame_id, frame in _sequential(video, present[done:]):
            yield frame_id, _upright(video, frame_id, frame, rgb(frame))
    if len(present) < len(wanted):
        raise SceneError(f"{path}: there is no frame {wanted[len(present)]}, the video has {count_of(video)}")


def _seeking(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """The fast way: all threads, seeking. Stops without a word at the first irregularity, for `_sequential`."""
    import av

    index = video.index
    try:
        with open_container(video.path) as container:
            stream = container.streams.best("video")
            stream.thread_type = "AUTO"
            todo = iter(wanted)
            target, landed = next(todo, None), True
            packets, at, expected, sought = container.demux(stream), -1, 0, 0
            while target is not None:
                key = _key_before(index, target)
                if key is not None and key[0] > max(at, sought) + _WORTH_A_SEEK:
                    container.seek(key[2], stream=stream, backward=True)
                    packets, expected, sought, landed = container.demux(stream), key[1], key[0], False
                packet = next(packets, None)
                if packet is None or packet.is_corrupt:
                    return
                if packet.size:
                    at = index.position_of[packet.pts]
                    if not landed and at > sought:
                        return
                    landed = True
                for frame in packet.decode():
                    frame_id = index.frame_of.get(frame.pts)
                    if frame_id is None or frame_id > expected or frame.is_corrupt:
                        return
                    if frame_id < expected:  # shown before the keyframe that was sought, may lack what it refers to
                        continue
                    expected += 1
                    if frame_id == target:
                        yield frame_id, frame
                        target = next(todo, None)
    except (av.error.FFmpegError, KeyError):
        return


def _key_before(index: Index, frame_id: int) -> tuple[int, int, int] | None:
    """The last keyframe from which `frame_id` can be decoded: stored and shown no later than it."""
    last = bisect_right(index.keys, index.position[frame_id], key=lambda key: key[0])
    return next((key for key in reversed(index.keys[:last]) if key[1] <= frame_id), None)


def _sequential(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """The careful way: one thread, from the start, knowing of each frame whether anything it needs was damaged."""
    todo = iter(wanted)
    target = next(todo, None)
    numbered = _by_time(video.path, video.index) if video.index.by_time else _by_count(video.path)
    for frame_id, frame, damaged in numbered:
        if target is None or frame_id > target or (frame_id == target and damaged):
            break
        if frame_id == target:
            yield frame_id, frame
            target = next(todo, None)
    if target is not None:
        raise SceneError(f"{video.path}: frame {target} is damaged or missing, of {count_of(video)}")


def _by_time(path: Path, index: Index) -> Iterator[tuple[int, Any, bool]]:
    """(id, frame, damaged) by presentation time. Damage reaches every frame not shielded by a later keyframe."""
    errors: list[int] = []  # positions, ascending
    expected = 0
    for position, frame in events(path):
        if frame is None:
            insort(errors, position)
            continue
        frame_id = index.frame_of.get(frame.pts, -1)
        if frame_id < expected:
            continue
        for missing in range(expected, frame_id):
            insort(errors, index.position[missing])
        if frame.is_corrupt:
            insort(errors, index.position[frame_id])
        expected = frame_id + 1
        before = bisect_right(errors, index.position[frame_id])
        key = _key_before(index, frame_id)
        yield frame_id, frame, before > 0 and (key is None or key[0] <= errors[before - 1])


def _by_count(path: Path) -> Iterator[tuple[int, Any, bool]]:
    """(id, frame, damaged) where only the decoder knows what is a frame."""
    count, damaged = 0, False
    for _, frame in events(path):
        if frame is None:
            damaged = True
            continue
        damaged = (damaged and not frame.key_frame) or frame.is_corrupt
        yield count, frame, damaged
        count += 1


class _Rgb:
    """Decoded frames as [H, W, 3] uint8. With a converter for each frame, their tables pile up: about 1 MB a frame."""

    def __init__(self) -> None:
        self._kind: tuple[Any, ...] | None = None
        self._converter: Any = None

    def __call__(self, frame: Any) -> np.ndarray:
        from av.video.reformatter import VideoReformatter

        kind = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range
        if kind != self._kind:
            self._kind, self._converter = kind, VideoReformatter()
        rgb: np.ndarray = self._converter.reformat(frame, format="rgb24").to_ndarray()
        return rgb


def _upright(video: Video, frame_id: int, frame: Any, rgb: np.ndarray) -> np.ndarray:
    transpose, up_down, left_right = orientation(frame)
    if transpose:
        rgb = rgb.transpose(1, 0, 2)
    rgb = rgb[:: -1 if up_down else 1, :: -1 if left_right else 1]
    if rgb.shape[:2] != (video.height, video.width):
        raise SceneError(
            f"{video.path}: frame {frame_id} is {rgb.shape[1]}x{rgb.shape[0]}, the first {video.width}x{video.height}"
        )
    return np.ascontiguousarray(rgb)
