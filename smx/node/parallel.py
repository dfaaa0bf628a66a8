"""Items worked on several at once, in threads: decoding, geometry and writing leave the interpreter free."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def finished(
    items: Iterable[Item], work: Callable[[Item], Result], workers: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """(item, what `work` returned or raised), as each ends; at most `workers` are in hand, begun in order.

    With one worker all happens in the calling thread. Whatever ends this early (a signal, a full disk) waits for
    the items in hand and begins no other.
    """

    def tried(item: Item) -> Result | Exception:
        try:
            return work(item)
        except Exception as error:  # noqa: BLE001 - handed to whoever records it
            return error

    if workers == 1:
        for item in items:
            yield item, tried(item)
        return
    waiting = iter(items)
    running: dict[Future[Result | Exception], Item] = {}
    with ThreadPoolExecutor(workers, thread_name_prefix="scene") as pool:
        while True:
            for item in islice(waiting, workers - len(running)):
                running[pool.submit(tried, item)] = item
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()


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
