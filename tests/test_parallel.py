"""Several scenes in hand at once: all of them come back, no more than allowed, and stopping is stopping."""

from __future__ import annotations

import threading

import pytest

from smx.node.parallel import cores, finished, memory, workers_for


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_comes_back_with_what_became_of_it(workers: int) -> None:
    """Lost otherwise: a broken scene takes its neighbours along, or is never heard of."""

    def work(item: int) -> int:
        if item % 4 == 2:
            raise ValueError(item)
        return item * item

    found = dict(finished(range(20), work, workers))
    good = [i for i in range(20) if i % 4 != 2]
    assert {i for i, made in found.items() if isinstance(made, ValueError)} == {2, 6, 10, 14, 18}
    assert {i: made for i, made in found.items() if isinstance(made, int)} == {i: i * i for i in good}


def test_no_more_than_allowed_are_in_hand_and_none_begins_before_the_last_one_is_recorded() -> None:
    """Lost otherwise: memory without bound, and a kill that costs more than what was in hand."""
    begun: list[int] = []
    both = threading.Barrier(2)

    def work(item: int) -> int:
        begun.append(item)
        if item < 2:
            both.wait(30)  # they are in hand together
        return item

    recorded = 0
    for _ in finished(range(12), work, 2):
        assert len(begun) <= recorded + 2
        recorded += 1
    assert recorded == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_in_any_thread_stops_all(workers: int) -> None:
    """Lost otherwise: Ctrl-C leaves a process that waits for ever."""

    def work(item: int) -> int:
        if item == 3:
            raise KeyboardInterrupt
        return item

    begun = finished(range(1000), work, workers)
    with pytest.raises(KeyboardInterrupt):
        list(begun)


def test_workers_are_no_more_than_items_cores_or_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost otherwise: a task takes the cores or the memory of its neighbours and is killed for it."""
    monkeypatch.setenv("NUMBA_NUM_THREADS", "64")
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    most = cores()
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert cores() == 1 <= most
    monkeypatch.setattr("smx.node.parallel.cores", lambda: 16)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    assert memory() == 4 << 30
    assert workers_for(100, 1 << 30) == 4
    assert workers_for(3, 1 << 30) == 3
    assert workers_for(3, 1 << 40) == 1
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1024")
    assert workers_for(100, 1 << 30) == 16
    monkeypatch.delenv("SLURM_MEM_PER_CPU")
    assert memory() > 1 << 20  # bytes, of the machine
