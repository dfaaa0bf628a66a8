"""Ends a training that has stopped moving, and says which rank is at what."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from smx.atomic_io import read_whole, write_json
from smx.node.shard import Shard
from smx.node.stopping import StepStop
from smx.spec import Recipe

_MEDIAN_OF = 101  # steps
_TIMES = 10  # a step may take so many times the median
_SOFT = 5.0  # seconds that the main thread is given to leave by itself
_WAITING = ("reduce",)  # phases in which a rank waits for the others


class Stalled(Exception):
    """No step ended in time."""


class Watchdog:
    """Told of every phase; a thread of its own looks at the clock. Use as `with watchdog:`."""

    def __init__(self, shard: Shard, rank: int, recipe: Recipe, stop: StepStop) -> None:
        self._shard, self._rank, self._recipe, self._stop = shard, rank, recipe, stop
        self._folder = shard.folder.path / "ranks"
        self._took: deque[float] = deque(maxlen=_MEDIAN_OF)
        self._step, self._phase, self._since = 0, "load", time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()

    def phase(self, name: str) -> None:
        """What is done from now on: load, read, forward, backward, reduce, update, save."""
        self._phase = name

    def step(self, number: int, took: float | None) -> None:
        """Step `number` begins; the one before took so many seconds."""
        self._step, self._since = number, time.monotonic()
        if took is not None:
            self._took.append(took)

    @property
    def limit(self) -> float:
        """Seconds that may pass without a step."""
        if not self._took:
            return max(self._recipe.start_within, self._recipe.stalled_after if self._step else 0.0)
        return max(_TIMES * statistics.median(self._took), self._recipe.stalled_after)

    def _watch(self) -> None:
        interval = min(15.0, self._recipe.start_within / 10, self._recipe.stalled_after / 10)
        while not self._over.wait(interval):
            self._beat()
            if time.monotonic() - self._since > self.limit:
                line = f"no step within {self.limit:.0f} s: {self._culprit(interval)}"
                self._say_stacks(line)
                self._end(line)
                return

    def _beat(self) -> None:
        if self._shard.ranks > 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / f"{self._rank}.json", self._state())

    def _state(self) -> dict[str, Any]:
        return {"step": self._step, "phase": self._phase, "pid": os.getpid(), "at": time.time()}

    def _culprit(self, interval: float) -> str:
        """Which rank the others wait for, and what it does."""
        own = f"rank {self._rank} is at step {self._step}, phase {self._phase}"
        if self._shard.ranks == 1:
            return own
        states = {rank: read_whole(Path(self._folder / f"{rank}.json")) for rank in range(self._shard.ranks)}
        if absent := [rank for rank, state in states.items() if state is None]:
            return f"rank {absent[0]} never began"
        known = {rank: state for rank, state in states.items() if state is not None}
        for rank, state in known.items():
            silent = time.time() - state["at"]
            if rank != self._rank and silent > 4 * interval + 1:
                where = f"last seen at step {state['step']}, phase {state['phase']}"
                return f"rank {rank} has not answered for {silent:.0f} s, {where}"
        busy = [(state["step"], rank) for rank, state in known.items() if state["phase"] not in _WAITING]
        if not busy:
            return own
        _, rank = min(busy)
        return f"rank {rank} is at step {known[rank]['step']}, phase {known[rank]['phase']}"

    def _say_stacks(self, line: str) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        stacks = [f"rank {self._rank}: {line}"]
        for ident, frame in sys._current_frames().items():
            stacks.append(f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}")
        sys.stderr.write("\n".join(stacks) + "\n")
        sys.stderr.flush()

    def _end(self, line: str) -> None:
        """By an exception in the main thread where that can be, else at once."""
        self._stop.failure = Stalled(line)
        if self._stop.listens:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            if self._over.wait(_SOFT):
                return
        self._shard.folder.end("failed", kind="stalled", type="Stalled", line=line)
        os._exit(1)
