"""Video files: what is in them, frames by index, and writing them.

A frame's id is its place in the order of presentation. What a header says about counts is not believed: the
packets (or, where a packet is not a frame, the decoded frames) are counted once per file and process. Every
frame handed out is the one a full sequential decode gives, turned upright by the file's rotation tag; a frame
that is missing, damaged, or built on a damaged one is a `SceneError`, never a picture.
"""

from __future__ import annotations

import os
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from smx.errors import SceneError

# One packet is one frame in these (vp8 has hidden frames, avi has no presentation times: those are decoded to count).
_PACKET_IS_FRAME = {"h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "mpeg2video", "ffv1", "prores", "png"}
_TIMED_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
# Seeking empties the decoder's pipeline; skipping fewer packets than this is not worth it.
_WORTH_A_SEEK = 16


@dataclass(frozen=True)
class Video:
    """A video as it really is. `width` and `height` are of the frames handed out, after the rotation tag."""

    path: Path
    n_frames: int
    n_frames_declared: int  # what the header claims, 0 where it claims nothing
    width: int
    height: int
    fps: float  # mean rate over the clip
    codec: str
    timestamps: np.ndarray  # [n_frames] float64 seconds, from the presentation times
    rotation: int  # degrees clockwise that frames are turned by, 0 90 180 270 (mirroring not counted)
    _index: _Index


def probe(path: Path) -> Video:
    """Open, count and measure a video; remembered per file within the process.

    Raises `SceneError` where there is no such file, it is no video, or no frame of it can be decoded.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise SceneError(f"{path}: no such video ({error.strerror})") from None
    return _probe(path.resolve(), stat.st_size, stat.st_mtime_ns)


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
    done = 0
    if video._index.by_time:
        for frame_id, frame in _seeking(video, present):
            yield frame_id, _upright_rgb(video, frame_id, frame)
            done += 1
    if done < len(present):
        for frame_id, frame in _sequential(video, present[done:]):
            yield frame_id, _upright_rgb(video, frame_id, frame)
    if len(present) < len(wanted):
        raise SceneError(f"{path}: there is no frame {wanted[len(present)]}, the video has {_count(video)}")


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    timestamps: Sequence[float] | None = None,
    codec: str | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Encode uint8 [H, W, 3] RGB frames (even sides), H.264 unless `codec` says otherwise; whole or not at all.

    The same frames give the same bytes (one encoder thread). `timestamps` are seconds, rising, for a variable
    frame rate; `options` go to the encoder (`{"g": "12"}` sets the keyframe interval).
    """
    import av

    codec = codec or next(c for c in ("libx264", "libopenh264", "mpeg4") if c in av.codecs_available)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        # the table of contents first: a copy that was cut short still gives the frames it holds
        front = {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
        with av.open(str(partial), "w", options=front) as container:
            _encode(container, frames, Fraction(fps).limit_denominator(60000), timestamps, codec, options)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    container: Any,
    frames: Iterable[np.ndarray],
    rate: Fraction,
    timestamps: Sequence[float] | None,
    codec: str,
    options: dict[str, str] | None,
) -> None:
    import av

    quality = {"crf": "18", "preset": "veryfast"} if codec == "libx264" else {}
    stream: Any = None
    for index, pixels in enumerate(frames):
        if stream is None:
            stream = container.add_stream(codec, rate=rate, options={**quality, "threads": "1", **(options or {})})
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if timestamps is not None:
                stream.codec_context.time_base = Fraction(1, 90000)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if timestamps is not None:
            frame.time_base = Fraction(1, 90000)
            frame.pts = round(timestamps[index] * 90000)
        else:
            frame.time_base = 1 / rate
            frame.pts = index
        container.mux(stream.encode(frame))
    if stream is None:
        raise ValueError("a video needs at least one frame")
    container.mux(stream.encode())


# --- what is in the file ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Index:
    """Where each frame is. Positions count the stream's packets in the order they are stored and decoded."""

    by_time: bool  # frames are told apart by pts; else only by counting a decode from the start
    frame_of: dict[int, int]  # pts -> frame id
    position: list[int]  # [n_frames] packet position of each frame
    keys: list[tuple[int, int, int]]  # (position, frame id, pts) of keyframes, by position
    position_of: dict[int, int]  # pts -> packet position, discarded packets included


@lru_cache(maxsize=256)
def _probe(path: Path, size: int, mtime_ns: int) -> Video:
    import av

    try:
        with _open(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise SceneError(f"{path}: no video stream in this file")
            declared, rate, base = stream.frames, stream.average_rate, stream.time_base
            timed = bool(_TIMED_CONTAINERS & set(container.format.name.split(",")))
            codec = stream.codec_context.codec.canonical_name
            found = _scan_packets(container, stream) if timed and codec in _PACKET_IS_FRAME else None
        index, pts = found or _scan_frames(path)
        n = len(pts)
        first = _first_frame(path)
    except av.error.FFmpegError as error:
        raise SceneError(f"{path}: cannot be read as a video ({error.strerror}); truncated or no video?") from None
    if n == 0 or first is None:
        raise SceneError(f"{path}: no frame of this video can be decoded")
    times = _times(pts, base, rate)
    turned = _orientation(first)
    height, width = (first.width, first.height) if turned[0] else (first.height, first.width)
    degrees = _DEGREES.get(turned, 0)
    return Video(path, n, declared, width, height, _fps(times, rate), codec, times, degrees, index)


def _scan_packets(container: Any, stream: Any) -> tuple[_Index, list[int | None]] | None:
    """Index from the packet headers alone, or None where presentation times cannot name frames."""
    shown: list[tuple[int, int]] = []  # (pts, position)
    keys, position_of, position = [], {}, -1
    for packet in _packets(container, stream):
        if not packet.size:
            continue
        position += 1
        if packet.is_corrupt:  # the file ends inside it
            continue
        if packet.pts is None or packet.pts in position_of:
            return None
        position_of[packet.pts] = position
        if not packet.is_discard:  # cut away by an edit list: decoded by players, not shown
            shown.append((packet.pts, position))
        if packet.is_keyframe:
            keys.append((position, packet.pts))
    shown.sort()
    frame_of = {pts: frame_id for frame_id, (pts, _) in enumerate(shown)}
    known = [(position, frame_of[pts], pts) for position, pts in keys if pts in frame_of]
    return _Index(True, frame_of, [p for _, p in shown], known, position_of), [pts for pts, _ in shown]


def _scan_frames(path: Path) -> tuple[_Index, list[int | None]]:
    """Count by decoding everything: the slow way, always right."""
    times = [frame.pts for _, frame in _events(path) if frame is not None]
    return _Index(False, {}, [], [], {}), times


def _first_frame(path: Path) -> Any:
    return next((frame for _, frame in _events(path) if frame is not None), None)


def _times(pts: list[int | None], base: Fraction, rate: Fraction | None) -> np.ndarray:
    known = [p for p in pts if p is not None]
    if len(known) == len(pts) and all(a < b for a, b in pairwise(known)):
        return np.array(known, dtype=np.float64) * float(base)
    return np.arange(len(pts), dtype=np.float64) / float(rate or 1)


def _fps(times: np.ndarray, rate: Fraction | None) -> float:
    """The header's rate where the timestamps bear it out (it is the exact fraction), else theirs."""
    if len(times) < 2:
        return float(rate or 1)
    measured = (len(times) - 1) / float(times[-1] - times[0])
    return float(rate) if rate and abs(float(rate) / measured - 1) < 2e-3 else measured


# --- frames -------------------------------------------------------------------------------------------------


def _seeking(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """The fast way: all threads, seeking. Stops without a word at the first irregularity, for `_sequential`."""
    import av

    index = video._index
    try:
        with _open(video.path) as container:
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


def _key_before(index: _Index, frame_id: int) -> tuple[int, int, int] | None:
    """The last keyframe from which `frame_id` can be decoded: stored and shown no later than it."""
    last = bisect_right(index.keys, index.position[frame_id], key=lambda key: key[0])
    return next((key for key in reversed(index.keys[:last]) if key[1] <= frame_id), None)


def _sequential(video: Video, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """The careful way: one thread, from the start, knowing of each frame whether anything it needs was damaged."""
    todo = iter(wanted)
    target = next(todo, None)
    numbered = _by_time(video.path, video._index) if video._index.by_time else _by_count(video.path)
    for frame_id, frame, damaged in numbered:
        if target is None or frame_id > target or (frame_id == target and damaged):
            break
        if frame_id == target:
            yield frame_id, frame
            target = next(todo, None)
    if target is not None:
        raise SceneError(f"{video.path}: frame {target} is damaged or missing, of {_count(video)}")


def _by_time(path: Path, index: _Index) -> Iterator[tuple[int, Any, bool]]:
    """(id, frame, damaged) by presentation time. Damage reaches every frame not shielded by a later keyframe."""
    errors: list[int] = []  # positions, ascending
    expected = 0
    for position, frame in _events(path):
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
    for _, frame in _events(path):
        if frame is None:
            damaged = True
            continue
        damaged = (damaged and not frame.key_frame) or frame.is_corrupt
        yield count, frame, damaged
        count += 1


def _events(path: Path) -> Iterator[tuple[int, Any]]:
    """(packet position, frame) as decoded by one thread; (position, None) where a packet could not be decoded."""
    import av

    with _open(path) as container:
        stream = container.streams.best("video")
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        position = -1
        for packet in _packets(container, stream):
            position += bool(packet.size)
            try:
                frames = None if packet.is_corrupt else packet.decode()
            except av.error.FFmpegError:
                frames = None
            yield from [(position, None)] if frames is None else ((position, frame) for frame in frames)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets as far as the file goes: a container cut short ends like one that is whole, with a flush."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = av.Packet()
            packet.stream = stream
            packets = iter(())
        if packet is None:
            return
        yield packet


# --- pixels -------------------------------------------------------------------------------------------------


def _upright_rgb(video: Video, frame_id: int, frame: Any) -> np.ndarray:
    rgb: np.ndarray = frame.to_ndarray(format="rgb24")
    transpose, up_down, left_right = _orientation(frame)
    if transpose:
        rgb = rgb.transpose(1, 0, 2)
    rgb = rgb[:: -1 if up_down else 1, :: -1 if left_right else 1]
    if rgb.shape[:2] != (video.height, video.width):
        raise SceneError(
            f"{video.path}: frame {frame_id} is {rgb.shape[1]}x{rgb.shape[0]}, the first {video.width}x{video.height}"
        )
    return np.ascontiguousarray(rgb)


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """(transpose, then flip up-down, then flip left-right) that the display matrix asks for.

    The matrix (FFmpeg's, from ISO 14496-12) takes a pixel (x, y) to (a x + c y, b x + d y).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


_DEGREES = {  # of the turns among the orientations, clockwise; the others are mirrored
    (False, False, False): 0,
    (True, False, True): 90,
    (False, True, True): 180,
    (True, True, False): 270,
}


def _open(path: Path) -> Any:
    import av

    return av.open(str(path), metadata_errors="replace")


def _count(video: Video) -> str:
    said = video.n_frames_declared
    claim = f" (its header says {said})" if said not in (0, video.n_frames) else ""
    return f"{video.n_frames} frames{claim}"
