"""What is in a video file: how many frames, where each is stored, when it is shown, which way is up."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from smx import zipped
from smx.errors import SceneError
from smx.video._packets import events, open_container, packets

# One packet is one frame in these (vp8 has hidden frames, avi has no presentation times: those are decoded to count).
_PACKET_IS_FRAME = {"h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "mpeg2video", "ffv1", "prores", "png"}
_TIMED_CONTAINERS = {"mov", "mp4", "matroska", "webm"}


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
    timestamps: np.ndarray  # [n_frames] float64 seconds since the first frame, from the presentation times
    rotation: int  # degrees clockwise that frames are turned by, 0 90 180 270 (mirroring not counted)
    index: Index
    mirrored: bool = False  # by the same tag
    start: float = 0.0  # seconds on the container's clock at which the first frame is shown


@dataclass(frozen=True)
class Index:
    """Where each frame is. Positions count the stream's packets in the order they are stored and decoded."""

    by_time: bool  # frames are told apart by pts; else only by counting a decode from the start
    frame_of: dict[int, int]  # pts -> frame id
    position: list[int]  # [n_frames] packet position of each frame
    keys: list[tuple[int, int, int]]  # (position, frame id, pts) of keyframes, by position
    position_of: dict[int, int]  # pts -> packet position, discarded packets included


def probe(path: Path) -> Video:
    """Open, count and measure a video; remembered per file within the process.

    Raises `SceneError` where there is no such file, it is no video, or no frame of it can be decoded.
    """
    try:
        size, changed = zipped.stat(path)
    except OSError as error:
        raise SceneError(f"{path}: no such video ({error.strerror})") from None
    return _probe(path.resolve(), size, changed)


@lru_cache(maxsize=256)
def _probe(path: Path, size: int, mtime_ns: int) -> Video:
    import av

    try:
        with open_container(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise SceneError(f"{path}: no video stream in this file")
            if stream.codec_context is None:
                raise SceneError(f"{path}: its codec is unknown, so nothing can be decoded; damaged, or a rare format")
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
    clock = _times(pts, base, rate)
    times, start = clock - clock[0], float(clock[0])
    turned = orientation(first)
    height, width = (first.width, first.height) if turned[0] else (first.height, first.width)
    degrees = _DEGREES.get(turned, 0)
    fps, mirrored = _fps(times, rate), turned not in _DEGREES
    return Video(path, n, declared, width, height, fps, codec, times, degrees, index, mirrored, start)


def _scan_packets(container: Any, stream: Any) -> tuple[Index, list[int | None]] | None:
    """Index from the packet headers alone, or None where presentation times cannot name frames."""
    shown: list[tuple[int, int]] = []  # (pts, position)
    keys, position_of, position = [], {}, -1
    for packet in packets(container, stream):
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
    return Index(True, frame_of, [p for _, p in shown], known, position_of), [pts for pts, _ in shown]


def _scan_frames(path: Path) -> tuple[Index, list[int | None]]:
    """Count by decoding everything: the slow way, always right."""
    times = [frame.pts for _, frame in events(path) if frame is not None]
    return Index(False, {}, [], [], {}), times


def _first_frame(path: Path) -> Any:
    return next((frame for _, frame in events(path) if frame is not None), None)


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


def orientation(frame: Any) -> tuple[bool, bool, bool]:
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


def count_of(video: Video) -> str:
    said = video.n_frames_declared
    claim = f" (its header says {said})" if said not in (0, video.n_frames) else ""
    return f"{video.n_frames} frames{claim}"
