"""The one place that reads packets and decodes them one by one, going on past what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smx import zipped


def open_container(path: Path) -> Any:
    import av

    return av.open(zipped.opened(path) if zipped.split(path) else str(path), metadata_errors="replace")


def events(path: Path) -> Iterator[tuple[int, Any]]:
    """(packet position, frame) as decoded by one thread; (position, None) where a packet could not be decoded."""
    import av

    with open_container(path) as container:
        stream = container.streams.best("video")
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        position = -1
        for packet in packets(container, stream):
            position += bool(packet.size)
            try:
                frames = None if packet.is_corrupt else packet.decode()
            except av.error.FFmpegError:
                frames = None
            yield from [(position, None)] if frames is None else ((position, frame) for frame in frames)


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets as far as the file goes: a container cut short ends like one that is whole, with a flush."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except IndexError:  # PyAV knows the streams of the start alone; one that begins later is passed over
            packets = container.demux(stream)
            continue
        except av.error.FFmpegError:
            packet = av.Packet()
            packet.stream = stream
            packets = iter(())
        if packet is None:
            return
        yield packet
