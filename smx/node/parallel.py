"""Items worked on several at once, in threads: decoding, geometry and writing leave the interpreter free."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from smx.errors import Exited

_MOMENT = 2.0  # seconds that items in hand are given to end

Item = TypeVar("Item")
Result = TypeVar("Result")


def finished(
    items: Iterable[Item], work: Callable[[Item], Result], workers: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """(item, what `work` returned or raised), as each ends; at most `workers` are in hand, begun in order.

    The next item begins when the one that ended has been dealt with. With one worker all happens in the calling
    thread. Whatever ends this early (a signal, a full disk) begins no other item and gives those in hand a moment;
    what hangs is left behind, and goes with the process.
    """

    def tried(item: Item) -> Result | Exception:
        try:
            return work(item)
        except Exception as error:  # noqa: BLE001 - handed to whoever records it
            return error
        except SystemExit as leaving:
            return Exited(leaving)

    if workers == 1:
        for item in items:
            yield item, tried(item)
        return
    todo: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    ended: SimpleQueue[tuple[Item, Result | Exception] | BaseException] = SimpleQueue()

    def run() -> None:
        while (given := todo.get()) is not None:
            try:
                ended.put((given[0], tried(given[0])))
            except BaseException as stop:  # noqa: BLE001 - whoever waits for this thread stops with it
                ended.put(stop)

    # Not a ThreadPoolExecutor, whose threads a process that was asked to stop would wait for.
    threads = [threading.Thread(target=run, daemon=True, name=f"item-{n}") for n in range(workers)]
    for thread in threads:
        thread.start()
    waiting = iter(items)
    in_hand = 0
    try:
        while True:
            for item in islice(waiting, workers - in_hand):
                todo.put((item,))
                in_hand += 1
            if not in_hand:
                return
            done = ended.get()
            if isinstance(done, BaseException):
                raise done
            yield done
            in_hand -= 1
    finally:
        for _ in threads:
            todo.put(None)
        patience = time.monotonic() + _MOMENT
        for thread in threads:
            thread.join(max(0.0, patience - time.monotonic()))


def ahead(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[tuple[Item, Result | Exception]]:
    """(item, what `work` returned or raised), in order; while one is dealt with, a thread works on the next.

    No more than that one is done ahead, so that memory does not depend on how many there are. Ends early as
    `finished` does.
    """
    ended: SimpleQueue[Result | BaseException] = SimpleQueue()

    def run(item: Item) -> None:
        try:
            ended.put(work(item))
        except SystemExit as leaving:
            ended.put(Exited(leaving))
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            ended.put(error)

    def begin(item: Item) -> threading.Thread:
        thread = threading.Thread(target=run, args=(item,), daemon=True, name="ahead")
        thread.start()
        return thread

    waiting = iter(items)
    in_hand = [(item, begin(item)) for item in islice(waiting, 1)]
    try:
        while in_hand:
            item, _ = in_hand.pop()
            made = ended.get()
            if isinstance(made, BaseException) and not isinstance(made, Exception):
                raise made
            in_hand += [(item, begin(item)) for item in islice(waiting, 1)]
            yield item, made
            del made
    finally:
        for _, thread in in_hand:
            thread.join(_MOMENT)


def workers_for(count: int, bytes_each: int) -> int:
    """How many of `count` items to have in hand: no more than there are cores, nor than memory holds."""
    return max(1, min(count, cores(), memory() // bytes_each))


def cores() -> int:
    """Cores that are this task's: of the scheduler's allocation or the local executor's share, else of the machine."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("SLURM_CPUS_PER_TASK", "NUMBA_NUM_THREADS"):
        found = min(found, _number(name) or found)
    return found


def memory() -> int:
    """Bytes that are this task's: what the scheduler allotted, else what the machine has free."""
    each, whole = _number("SLURM_MEM_PER_CPU"), _number("SLURM_MEM_PER_NODE")
    if whole or each:
        return (whole or each * cores()) << 20
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10
    return 8 << 30


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0
