"""One vocabulary of states: the words stand once, and an attempt's and a run's state are derived in one place."""

from __future__ import annotations

import ast
import itertools
import json
import sqlite3
from pathlib import Path

import pytest

import smx
from smx.states import (
    BAD,
    LIVE,
    UNFINISHED,
    WORST_FIRST,
    AttemptState,
    RunState,
    ShardState,
    attempt_state,
    run_state,
)

PACKAGE = Path(smx.__file__).parent
# Words that mean a state wherever they stand alone. `done` and `failed` are counts and columns as well.
OWN = {"waiting", "pending", "preempted", "partial", "lost", "cancelled"}
# Kinds of failure have some of these names too, and a moved camera can be lost; JSON keys are no states.
ELSEWHERE = {
    *("states.py", "failures/__init__.py", "failures/kinds.py", "failures/streaks.py"),
    *(
        "datasets/_posed_scan.py",
        "monitor/status.py",
        "monitor/why.py",
        "cli/ledger.py",
        "control/retry.py",
    ),
}


def test_a_state_is_written_out_in_one_file() -> None:
    """Lost otherwise: a state that is added or renamed is missed where its word was typed again."""
    typed = [
        f"{name}:{node.lineno}: {node.value!r}"
        for path in PACKAGE.rglob("*.py")
        if (name := path.relative_to(PACKAGE).as_posix()) not in ELSEWHERE and not name.startswith("executors/_slurm/")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in OWN
    ]
    assert typed == []


def test_every_state_of_a_shard_is_one_of_its_attempt_and_its_run() -> None:
    """Lost otherwise: a shard could end in a way that its run has no word for."""
    assert {str(s) for s in ShardState} == {str(s) for s in AttemptState} < {str(s) for s in RunState}
    assert set(LIVE) | set(WORST_FIRST) == set(ShardState)
    assert set(BAD) < set(WORST_FIRST)
    assert set(UNFINISHED) | {*LIVE, RunState.new, RunState.done} == set(RunState)


def test_states_are_plain_text_in_json_and_sql() -> None:
    """Lost otherwise: registries and run folders would be written in words that earlier ones do not have."""
    assert json.dumps({"state": RunState.partial}) == '{"state": "partial"}'
    assert f"{LIVE}" == "('waiting', 'pending', 'running')"
    with sqlite3.connect(":memory:") as db:
        query = f"select ?, typeof(?), 'lost' in {tuple(ShardState)}"
        assert db.execute(query, [ShardState.lost, ShardState.lost]).fetchone() == ("lost", "text", 1)


@pytest.mark.parametrize("shards", list(itertools.combinations(ShardState, 2)))
def test_an_attempt_is_live_while_any_shard_is_and_else_what_its_worst_is(shards: tuple[ShardState, ...]) -> None:
    """Lost otherwise: an attempt is concluded while tasks of it still work, or a bad end is covered up."""
    state = str(attempt_state(shards))
    assert state == attempt_state(shards[::-1])
    assert state in shards
    if any(shard in LIVE for shard in shards):
        assert state in LIVE
    else:
        assert state == min(shards, key=WORST_FIRST.index)


@pytest.mark.parametrize(
    ("attempts", "counts", "state"),
    [
        ([], (0, 0), "new"),
        (["lost"], (0, 0), "lost"),
        (["lost"], (2, 0), "partial"),
        (["failed", "waiting"], (2, 0), "waiting"),
        (["failed", "done"], (4, 0), "done"),
        (["failed"], (4, 0), "done"),  # whatever its last process said, all its items are there
        (["done"], (3, 1), "done"),
        (["done"], (1, 3), "failed"),
        (["cancelled"], (0, 1), "cancelled"),
    ],
)
def test_a_run_is_live_else_judged_by_its_items_else_by_its_last_attempt(
    attempts: list[str], counts: tuple[int, int], state: str
) -> None:
    """Lost otherwise: `retry` leaves alone what is missing, or does again what is there."""
    done, failed = counts
    assert run_state(attempts, items=4, done=done, failed=failed, too_many_failed=failed > 1) == state
