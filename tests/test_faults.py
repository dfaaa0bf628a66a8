"""Kills, interruptions, full disks, lost files: nothing recorded is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.processes import EVAL, GEN, Audit, Smx, items_begun, outcomes, smx, the_run, tree

from smx import sampleset
from smx.atomic_io import write_json
from smx.control import submit as submitting
from smx.control.plan import decide
from smx.control.reservations import record_handles
from smx.control.sync import sync
from smx.executors import local
from smx.registry.store import Registry
from smx.resolve import Resolver
from smx.workspace import Workspace

GEN_WORDS = ["gen", "--sampler", "mergeaware_sa", "--frames", "4", *GEN]
EVAL_WORDS = ["eval", "--model", "chance", *EVAL]
TWO_RUNS = ["gen", "--sampler", "uniform,random", "--frames", "2", *GEN]


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Audit]:
    """Sees every item begin."""
    found = Audit(tmp_path / "audit")
    yield found
    found.close()


@pytest.mark.parametrize(("words", "in_hand"), [(GEN_WORDS, 2), (EVAL_WORDS, 1)], ids=["gen", "eval"])
def test_killed_at_any_moment_nothing_is_lost_or_done_twice(
    tmp_path: Path, audit: Audit, words: list[str], in_hand: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL again and again: items, scores and bytes as undisturbed, and only items in hand computed again."""
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(in_hand))  # scenes at once
    dice = random.Random(20261121)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    smx(calm, *words)
    settled: set[str] = set()  # begun, and followed by as many as are in hand in the same process: recorded
    begun: set[str] = set()
    for kill in (dice.choice((1, 2)), None, dice.choice((1, 2, 3)), 1, dice.choice((2, 7)), 0):
        process = Smx(rough, *words, probe=audit.path)
        if kill == 0:
            items = []  # at last it is left alone
        else:
            items = audit.follow(process, items=kill) if kill else []
            items += audit.follow(process, items=1, seconds=dice.uniform(0, 0.02 if kill else 0.3))
            process.send(signal.SIGKILL)
        items += audit.follow(process)
        assert process.end() in ((0,) if kill == 0 else (0, -signal.SIGKILL)), process.said
        assert not settled & set(items), "done again"
        assert len(set(items)) == len(items)
        settled |= set(items[:-in_hand])
        begun |= set(items)
    assert begun == set(next(iter(outcomes(calm).values())))
    assert outcomes(rough) == outcomes(calm)
    assert samples(rough) == samples(calm)
    assert tables(rough) == tables(calm)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_eval_says_so_and_goes_on_where_it_was(tmp_path: Path, number: int) -> None:
    """Ctrl-C or SIGTERM: exit 130; the same command again does exactly what was not recorded."""
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    smx(calm, *EVAL_WORDS)
    audit = Audit(tmp_path / "audit")
    process = Smx(rough, *EVAL_WORDS, probe=audit.path)
    audit.follow(process, items=3)
    audit.close()  # now it cannot begin another item
    process.send(number)
    assert process.end() == 130
    assert "the same command again goes on" in process.said
    run = the_run(rough, "eval")
    recorded = set(run.outcome().done)
    with Registry.open(rough / "registry.db") as registry:
        assert [a.state for a in registry.attempts()] == ["cancelled"]
        assert registry.runs()[0].state == "partial"
    smx(rough, *EVAL_WORDS, probe=tmp_path / "probe")
    everything = set(run.outcome().done)
    assert len(recorded) >= 2
    assert sorted(items_begun(tmp_path / "probe")) == sorted(everything - recorded)
    assert outcomes(rough) == outcomes(calm)


def test_sigterm_ends_the_whole_command_not_just_the_run_in_hand(tmp_path: Path) -> None:
    """A job script that is asked to stop must not go on with the next run."""
    audit = Audit(tmp_path / "audit")
    process = Smx(tmp_path / "w", *TWO_RUNS, probe=audit.path)
    audit.follow(process, items=1)
    audit.close()
    process.send(signal.SIGTERM)
    assert process.end() == 130
    with Registry.open(tmp_path / "w" / "registry.db") as registry:
        reasons = {a.failure["line"] for a in registry.attempts() if a.failure}
        assert [a.state for a in registry.attempts()] == ["cancelled", "cancelled"]
    assert reasons == {"asked to stop", "interrupted before it began"}


def test_two_evals_of_one_cell_at_once_are_one_attempt(tmp_path: Path) -> None:
    """Whoever comes second leaves it to the first, in a workspace that neither has seen before."""
    both = [Smx(tmp_path / "w", *EVAL_WORDS, probe=tmp_path / "probe") for _ in range(2)]
    assert [p.end() for p in both] == [0, 0], [p.said for p in both]
    assert set(Counter(items_begun(tmp_path / "probe")).values()) == {1}
    with Registry.open(tmp_path / "w" / "registry.db") as registry:
        assert [(a.attempt, a.state) for a in registry.attempts()] == [(1, "done")]


def test_a_run_that_another_command_finished_meanwhile_is_not_tried_again(tmp_path: Path) -> None:
    """Between deciding and reserving, someone else may have done all of it."""
    space = Workspace(tmp_path / "w", "--workspace")
    space.root.mkdir()
    options = {"count": 4, "frames": 16, "width": 80, "height": 60}
    request = {"sampler": "uniform", "frames": 2, "dataset": "rooms", "dataset_options": options}
    with Registry.open(space.registry) as registry:
        cells = Resolver(space).gen(request)
        stale = decide(cells, registry, asked={cells[0].fingerprint}, retry=False)
        smx(space.root, "gen", "--sampler", "uniform", "--frames", "2", *GEN)
        started = submitting.submit(space, registry, stale, executor=_inline())
        assert [d.action for d in stale] == ["run"]
        assert (started.attempts, started.taken) == ([], cells)
        assert [(a.attempt, a.state) for a in registry.attempts()] == [(1, "done")]


def test_a_torn_last_line_is_done_again_and_nothing_else(tmp_path: Path) -> None:
    """A power cut in the middle of a line of items.jsonl costs that item."""
    space, probe = tmp_path / "w", tmp_path / "probe"
    smx(space, *EVAL_WORDS)
    before = outcomes(space)
    shard = the_run(space, "eval").attempt(1).shard(0)
    lines = (shard.path / "items.jsonl").read_bytes().splitlines(keepends=True)
    (shard.path / "items.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    for name in ("exit.json", "heartbeat.json"):
        (shard.path / name).unlink()
    (space / "registry.db").unlink()
    smx(space, *EVAL_WORDS, probe=probe)
    assert len(items_begun(probe)) == 1
    assert outcomes(space) == before


def test_leftovers_of_killed_writers_disappear(tmp_path: Path) -> None:
    """Half-made samples of a process that is gone are cleared when their scene is made."""
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    smx(calm, *GEN_WORDS)
    place = next((calm / "samples").rglob("test-001"))
    twin = rough / place.relative_to(calm)
    left = twin.with_name(f".test-001.{socket.gethostname()}.{2**22 + 1}.tmp")  # above the largest pid there is
    left.mkdir(parents=True)
    (left / "frame_000_000000.png").write_bytes(b"half")
    smx(rough, *GEN_WORDS)
    assert samples(rough) == samples(calm)


def test_a_sample_deleted_by_hand_is_made_again(tmp_path: Path) -> None:
    """A run that is done is not done any more where its output is gone; the rest is left alone."""
    space, probe = tmp_path / "w", tmp_path / "probe"
    smx(space, *GEN_WORDS)
    before = samples(space)
    shutil.rmtree(next((space / "samples").rglob("test-002")))
    assert "outputs are gone" in smx(space, *GEN_WORDS, probe=probe)
    assert items_begun(probe) == ["test-002"]
    assert samples(space) == before


def test_a_lost_registry_is_filled_again_and_nothing_is_computed_or_overwritten(tmp_path: Path) -> None:
    """registry.db deleted, or an older one put back: the run folders say what was done."""
    space, probe = tmp_path / "w", tmp_path / "probe"
    smx(space, *EVAL_WORDS)
    before, shown = tree(space / "runs"), tables(space)
    (space / "registry.db").unlink()
    smx(space, *EVAL_WORDS, probe=probe)
    assert (tree(space / "runs"), tables(space)) == (before, shown)
    with Registry.open(space / "registry.db") as registry:  # as before the first attempt
        registry.execute("delete from scores")
        registry.execute("delete from shards")
        registry.execute("delete from attempts")
    smx(space, *EVAL_WORDS, probe=probe)
    assert (tree(space / "runs"), tables(space)) == (before, shown)
    assert items_begun(probe) == []


def test_a_registry_lost_while_a_run_goes_on_does_not_start_it_twice(tmp_path: Path) -> None:
    """The run folder alone says that someone is at it."""
    audit, probe = Audit(tmp_path / "audit"), tmp_path / "probe"
    process = Smx(tmp_path / "w", *EVAL_WORDS, probe=audit.path)
    audit.follow(process, items=2)
    audit.close()  # it stays where it is
    (tmp_path / "w" / "registry.db").unlink()
    said = smx(tmp_path / "w", *EVAL_WORDS, probe=probe)
    process.send(signal.SIGKILL)
    process.end()
    assert "in flight: attempt 1 (running, inline)" in said
    assert items_begun(probe) == []
    smx(tmp_path / "w", *EVAL_WORDS, probe=probe)
    assert set(Counter(items_begun(probe)).values()) == {1}


def test_a_full_disk_ends_clearly_and_goes_on_once_there_is_space(tmp_path: Path) -> None:
    """gen on a disk that fills up: a message, no traceback, no scene blamed; then the rest and the same bytes."""
    calm, full, probe = tmp_path / "calm", tmp_path / "full", tmp_path / "probe"
    smx(calm, *GEN_WORDS)
    full.mkdir()
    with _little_space(full) as (before, more):
        process = Smx(full, *GEN_WORDS, probe=probe, before=before)
        assert process.end() in (1, 2), process.said
        # Told as the command's error, or as the run's reason where there was room to end it in order.
        ends = [path.read_text() for path in full.glob("runs/**/exit.json")]
        assert "space" in "".join([process.said, *ends])
        assert "Traceback" not in process.said
        assert all(set(items) < set(outcomes(calm)[run]) for run, items in outcomes(full).items())
        more()
        smx(full, *GEN_WORDS)
        assert outcomes(full) == outcomes(calm)
        assert samples(full) == samples(calm)


@pytest.mark.parametrize(
    ("executor", "point"),
    [("inline", point) for point in ("reserving", "reserved", "spec.json", "plan.json", "jobs.json", "handle.json")]
    + [("local", point) for point in ("jobs.json", "queue.json", "started", "handle.json")],
)
def test_a_launcher_killed_between_any_two_writes_is_understood(tmp_path: Path, executor: str, point: str) -> None:
    """The next command finishes what is left; no item of either run is ever begun twice."""
    space, probe = tmp_path / "w", tmp_path / "probe"
    process = Smx(space, *TWO_RUNS, "--executor", executor, probe=probe, before=partial(_die, point))
    assert process.end() == 9, process.said
    smx(space, *TWO_RUNS, "--watch", probe=probe)
    begun = Counter(probe.read_text().splitlines())
    assert len(begun) == 8
    assert set(begun.values()) == {1}
    with Registry.open(space / "registry.db") as registry:
        sync(Workspace(space, "--workspace"), registry)
        assert [(r.state, r.done) for r in registry.runs()] == [("done", 4), ("done", 4)]


def samples(space: Path) -> tuple[dict[str, bytes], list[Any]]:
    """Every byte of the sample sets, and what their indexes say. (A scene made again has another line there.)"""
    files = {name: data for name, data in tree(space / "samples").items() if not name.endswith(sampleset.INDEX)}
    places = sorted((space / "samples").rglob(sampleset.INDEX))
    return files, [sorted(sampleset.index(place.parent).items()) for place in places]


def tables(space: Path) -> tuple[list[Any], list[Any]]:
    """What tables show: runs and scores."""
    with Registry.open(space / "registry.db", create=False) as registry:
        runs = [(r.fingerprint, r.state, r.items, r.done, r.failed) for r in registry.runs()]
        return sorted(runs), registry.query("select * from scores order by 1, 2, 3, 4, 5, 6")


def _die(point: str) -> None:
    """End this process without a word right after a write of `submit`."""

    def after(call: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            found = call(*arguments, **named)
            if when(*arguments):
                os._exit(9)
            return found

        return wrapped

    def always(*_: Any) -> bool:
        return True

    def named(path: Path, *_: Any) -> bool:
        return path.name == point

    def die(*_: Any) -> None:
        os._exit(9)

    changes: list[tuple[Any, str, Callable[..., Any]]]
    if point == "reserving":
        changes = [(Registry, "reserve", after(Registry.reserve, always))]
    elif point == "reserved":
        changes = [(submitting, "_write", die)]
    elif point == "started":
        changes = [(local, "claim", die)]
    elif point == "handle.json":
        changes = [(submitting, "record_handles", after(record_handles, always))]
    else:
        changes = [(module, "write_json", after(write_json, named)) for module in (submitting, local)]
    for place, name, change in changes:
        mock.patch.object(place, name, change).start()


def _inline() -> tuple[str, Any]:
    from smx.executors.inline import Executor

    return "inline", Executor()


class _little_space:
    """A tiny disk at `folder` where we may mount one, else a small largest size of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mounted = False

    def __enter__(self) -> tuple[Callable[[], None] | None, Callable[[], None]]:
        self._mounted = _mount("-t", "tmpfs", "-o", "size=288k", "tmpfs", str(self._folder))
        if self._mounted:
            return None, lambda: _grow(self._folder)
        return _small_files, lambda: None

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self._folder)], check=True)


def _mount(*words: str) -> bool:
    return bool(shutil.which("mount")) and subprocess.run(["mount", *words], capture_output=True).returncode == 0


def _grow(folder: Path) -> None:
    assert _mount("-o", "remount,size=64m", str(folder))


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
