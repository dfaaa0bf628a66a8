"""The run folder: what a kill or a power cut can leave behind, and what state is derived from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smx.atomic_io import read_json, write_atomic, write_json
from smx.control.plan import decide
from smx.control.submit import submit
from smx.control.sync import sync
from smx.executors.inline import Executor
from smx.processes import is_alive, process, start_time, this_process
from smx.registry.store import Registry
from smx.resolve import Resolver
from smx.runfolder import AttemptFolder, RunFolder, ShardFolder, probe, run_folders
from smx.workspace import Workspace

OK = {"ok": True, "at": "2026-01-01T00:00:00.000Z", "seconds": 0.1, "data": {"frames": 2}}
BAD = {
    "ok": False,
    "at": "2026-01-01T00:00:00.000Z",
    "error": {"kind": "python", "line": "boom", "where": "", "type": "E", "group": "0", "traceback": ""},
}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_torn_anywhere_is_no_item_and_is_cut_off_by_the_next_writer(tmp_path: Path, cut: int) -> None:
    """A reader never sees half an item; a requeued job appends to whole lines."""
    shard = ShardFolder(tmp_path / "0")
    shard.begin()
    shard.append({"item": "ä", **OK})
    whole = (shard.path / "items.jsonl").read_bytes()
    (shard.path / "items.jsonl").write_bytes(whole + whole[:-cut])
    assert [r["item"] for r in shard.items()] == ["ä"]
    shard.begin()
    shard.append({"item": "b", **OK})
    assert [r["item"] for r in shard.items()] == ["ä", "b"]


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while plan.json is rewritten must not cost the plan that was there."""
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_file_that_is_not_there_is_no_object(tmp_path: Path) -> None:
    """Absence is an answer: no heartbeat yet, no exit yet."""
    shard = ShardFolder(tmp_path / "0")
    assert (read_json(tmp_path / "none.json"), shard.heartbeat(), shard.exit(), list(shard.items())) == (
        None,
        None,
        None,
        [],
    )


def test_the_newest_success_of_an_item_counts_and_a_failure_only_without_one(tmp_path: Path) -> None:
    """A retry that fails does not take away what an earlier attempt had; excluded attempts do not count."""
    run = RunFolder(tmp_path)
    told = [
        (1, {"item": "a", **OK}),
        (1, {"item": "b", **BAD}),
        (2, {"item": "b", **OK}),
        (2, {"item": "c", **BAD}),
        (3, {"item": "a", **OK}),
        (3, {"item": "b", **BAD}),
    ]
    for number, record in told:
        attempt = run.attempt(number)
        write_json(attempt.path / "plan.json", {"shards": [[]]})
        attempt.shard(0).begin()
        attempt.shard(0).append(record)
    found = run.outcome()
    assert {item: record["attempt"] for item, record in found.done.items()} == {"a": 3, "b": 2}
    assert list(found.failed) == ["c"]
    assert set(run.outcome(frozenset({2})).done) == {"a"}


def test_attempts_count_from_their_plan_on_and_in_numbers_not_letters(tmp_path: Path) -> None:
    """Attempt 10 comes after 9; a folder whose launcher died before the plan is none."""
    run = RunFolder(tmp_path / "gen" / "a-12345678")
    for number in (2, 9, 10):
        write_json(run.attempt(number).path / "plan.json", {"shards": []})
    run.attempt(11).path.mkdir()
    assert [a.number for a in run.attempts()] == [2, 9, 10]
    assert run.attempt(9).run == run
    assert list(run_folders(tmp_path)) == []  # without spec.json it is no run yet


def test_a_process_is_known_by_its_start_and_a_zombie_is_gone() -> None:
    """Neither a reused pid nor a process nobody has waited for counts as alive."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = process(child.pid)
    assert is_alive(seen) is True
    assert is_alive({**seen, "start": seen["start"] + 1}) is False
    assert is_alive({**seen, "host": "elsewhere"}) is None
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
    assert start_time(child.pid) is None
    assert is_alive(seen) is False
    child.wait()


def test_the_probe_is_appended_to_where_it_is_named_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit costs nothing and writes nothing where nobody asked for it."""
    probe("unseen")
    monkeypatch.setenv("SMX_PROBE", str(tmp_path / "probe"))
    probe("a 1")
    probe("a 2")
    assert (tmp_path / "probe").read_text() == "a 1\na 2\n"


DEAD = {**this_process(), "start": 1}
ELSEWHERE = {**this_process(), "host": "elsewhere"}

# process, per shard (exit.json's word or None, has a heartbeat), items done, state of the attempt, of the run
STATES: list[tuple[dict[str, Any], list[tuple[str | None, bool]], int, str, str]] = [
    (this_process(), [(None, False), (None, False)], 0, "waiting", "waiting"),
    (this_process(), [("done", True), (None, True)], 2, "running", "running"),
    (this_process(), [("failed", True), (None, False)], 0, "waiting", "waiting"),
    (ELSEWHERE, [(None, True), (None, True)], 1, "running", "running"),
    (DEAD, [(None, True), ("done", True)], 2, "lost", "partial"),
    (DEAD, [(None, False), (None, False)], 0, "lost", "lost"),
    (DEAD, [("done", True), ("done", True)], 4, "done", "done"),
    (DEAD, [("failed", True), ("done", True)], 2, "failed", "partial"),
    (DEAD, [("failed", True), ("cancelled", True)], 0, "failed", "failed"),
    (DEAD, [("cancelled", False), ("done", True)], 0, "cancelled", "cancelled"),
    (DEAD, [("preempted", True), ("done", True)], 3, "preempted", "partial"),
    (DEAD, [("failed", True), (None, True)], 4, "lost", "done"),  # every item is there, whatever came after
]


@pytest.mark.parametrize(("worker", "shards", "done", "attempt_state", "run_state"), STATES)
def test_states_are_derived_from_what_is_known(
    tmp_path: Path,
    worker: dict[str, Any],
    shards: list[tuple[str | None, bool]],
    done: int,
    attempt_state: str,
    run_state: str,
) -> None:
    """exit.json before the process, the worst shard for the attempt, a live attempt or the items for the run."""
    space = Workspace(tmp_path, "--workspace")
    with Registry.open(space.registry) as registry:
        attempt = submitted(space, registry, shards=2)
        write_json(attempt.path / "handle.json", {"executor": "inline", "process": worker, "shards": 2})
        left = done
        for k, (how, beats) in enumerate(shards):
            shard = attempt.shard(k)
            shard.begin()
            items = attempt.plan["shards"][k][: max(left, 0)]
            for item in items:
                shard.append({"item": item["id"], **OK})
            left -= len(attempt.plan["shards"][k])
            if beats:
                shard.beat({**worker, "done": len(items), "failed": 0, "last": None})
            if how:
                shard.end(how, **({"kind": "python", "line": "boom"} if how == "failed" else {}))
        unknown = sync(space, registry)
        (row,) = registry.attempts()
        assert (row.state, registry.runs()[0].state) == (attempt_state, run_state)
        assert registry.runs()[0].done == done
        assert bool(unknown) == bool(row.unknown_since) == (worker is ELSEWHERE)


def submitted(space: Workspace, registry: Registry, shards: int) -> AttemptFolder:
    """An attempt at four scenes that nobody works on."""
    options = {"count": 4, "frames": 16, "width": 32, "height": 32}
    request = {"sampler": "uniform", "frames": 2, "dataset": "rooms", "dataset_options": options}
    cells = Resolver(space).gen(request)
    decisions = decide(cells, registry, asked={cells[0].fingerprint}, retry=False)
    started = submit(space, registry, decisions, executor=("inline", Executor()), shards=shards)
    ((_, attempt),) = started.attempts
    assert json.loads((attempt.path / "plan.json").read_text())["of"] == 4
    return attempt
