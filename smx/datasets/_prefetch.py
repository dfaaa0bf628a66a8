"""Frames of a scene decoded once and ahead of whoever uses them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from smx.datasets import Cameras, Scene
from smx.errors import SceneError

KEEP_BYTES = 256 << 20  # decoded frames up to this size are kept for writing; what does not fit is decoded again
AHEAD = 8  # frames decoded before they are asked for


class DecodedOnce(Scene):
    """`scene`, whose frames are decoded in a thread of their own and kept until they are taken."""

    def __init__(self, scene: Scene, keep: int = KEEP_BYTES) -> None:
        self._scene = scene
        self.id, self.frame_ids, self.fps = scene.id, scene.frame_ids, scene.fps
        self.width, self.height = scene.width, scene.height
        self._keep, self._kept = keep, dict[int, np.ndarray]()

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """As the scene's own; what is handed out is kept for `take`, as far as it fits."""
        wanted = sorted({int(i) for i in ids})
        fresh = ahead(self._scene.decode([i for i in wanted if i not in self._kept]))
        for frame_id in wanted:
            pixels = self._kept.get(frame_id)
            if pixels is None:
                pixels = _of(frame_id, fresh)
                if (len(self._kept) + 1) * pixels.nbytes <= self._keep:
                    self._kept[frame_id] = pixels
            yield frame_id, pixels

    def take(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The same frames, for the last time: nothing is kept, and all that is not of `ids` is let go at once."""
        wanted = sorted({int(i) for i in ids})
        self._kept = {i: pixels for i in wanted if (pixels := self._kept.get(i)) is not None}
        fresh = ahead(self._scene.decode([i for i in wanted if i not in self._kept]))
        for frame_id in wanted:
            yield frame_id, self._kept.pop(frame_id) if frame_id in self._kept else _of(frame_id, fresh)

    def timestamps(self) -> np.ndarray:
        """Of the scene."""
        return self._scene.timestamps()

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        """Of the scene."""
        return self._scene.cameras(ids)

    def intrinsics(self, ids: Sequence[int]) -> np.ndarray | None:
        """Of the scene."""
        return self._scene.intrinsics(ids)

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Of the scene."""
        return self._scene.depth(frame_id)

    def depth_map(self, frame_id: int) -> np.ndarray | None:
        """Of the scene."""
        return self._scene.depth_map(frame_id)

    def clock(self) -> np.ndarray | None:
        """Of the scene."""
        return self._scene.clock()

    def turns(self) -> np.ndarray:
        """Of the scene."""
        return self._scene.turns()

    def remarks(self) -> list[str]:
        """Of the scene."""
        return self._scene.remarks()

    def source(self) -> dict[str, Any]:
        """Of the scene."""
        return self._scene.source()


def _of(frame_id: int, frames: Iterator[tuple[int, np.ndarray]]) -> np.ndarray:
    """The next of `frames`, which must be `frame_id`."""
    found, pixels = next(frames, (None, None))
    if found != frame_id or pixels is None:
        raise SceneError(f"frame {frame_id} was not decoded")
    return pixels


def ahead(frames: Iterator[tuple[int, np.ndarray]], most: int = AHEAD) -> Iterator[tuple[int, np.ndarray]]:
    """`frames`, made in a thread up to `most` items before they are asked for. Errors come where they happened.

    The thread begins with the first item asked for and ends when this iterator is done with or dropped.
    """
    ready: Queue[tuple[tuple[int, np.ndarray] | None, BaseException | None]] = Queue(most)
    over = threading.Event()

    def put(item: tuple[int, np.ndarray] | None, error: BaseException | None = None) -> bool:
        while not over.is_set():
            try:
                ready.put((item, error), timeout=0.1)
            except Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in frames:
                if not put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the frame is asked for
            put(None, error)
        else:
            put(None)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        over.set()
        while maker.is_alive():
            try:
                ready.get_nowait()  # makes room, so that it sees that it is over at once
            except Empty:
                maker.join(0.01)
