"""The circuit breaker: what would fail in the same way is held."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from smx.control.attempt_view import AttemptView, Observation
from smx.control.failure_cause import failure_of
from smx.control.reservations import executor_for
from smx.executors import ShardOutcome
from smx.registry.rows import AttemptRow
from smx.registry.store import Registry
from smx.runfolder import now
from smx.states import AttemptState, ShardState
from smx.workspace import Workspace

_FAILED = (ShardState.failed, ShardState.lost)  # what may be the next ones' fate too


def brake(workspace: Workspace, registry: Registry, seen: Sequence[tuple[AttemptView, Observation | None]]) -> None:
    """Where shards have failed since the last look, let their executor hold what would fail in the same way."""
    bad = {view.row.submission for view, found in seen if found and _newly_failed(view, found)}
    for submission in bad - {None}:
        looked = {(v.row.fingerprint, v.row.attempt): (v, f) for v, f in seen if v.row.submission == submission and f}
        rows = registry.attempts(submission=submission)
        if any(row.live for row in rows):
            ends = [
                end for row in rows for end in _ends(row, *looked.get((row.fingerprint, row.attempt), (None, None)))
            ]
            executor_for(workspace, rows[0].executor)[1].brake(ends)


def _newly_failed(view: AttemptView, observation: Observation) -> bool:
    before = {shard.shard: shard.state for shard in view.known}
    return any(s.state in _FAILED and before.get(s.shard) != s.state for s in observation.shards)


def _ends(row: AttemptRow, view: AttemptView | None, found: Observation | None) -> list[ShardOutcome]:
    """What an attempt's shards that are over say of the next ones."""
    if row.handle is None or row.state in (AttemptState.cancelled, AttemptState.preempted):
        return []
    if not row.live:
        failure = row.failure
        if failure and "items" in failure and (row.done or failure["items"] < 2):
            failure = None  # a matter of single items
        return [ShardOutcome(row.handle, (failure or {}).get("shard", 0), row.ended or row.created, failure)]
    ends = []
    for k, shard in enumerate(found.shards if view and found else ()):
        assert view is not None
        assert found is not None
        end = view.shards[k].exit()
        booked = found.facts[k].record.get("ended")
        at = str(end["at"]) if end else datetime.fromtimestamp(booked, UTC).isoformat() if booked else now()
        if shard.state == ShardState.done:
            ends.append(ShardOutcome(row.handle, k, at, None))
        elif shard.state in _FAILED:
            only = [
                (s.state if s is shard else ShardState.done, fact)
                for s, fact in zip(found.shards, found.facts, strict=True)
            ]
            failure = failure_of(view.folder, only, [end if s is shard else None for s in found.shards])
            alone = failure and ("items" not in failure or (not shard.done and failure["items"] > 1))
            ends.append(ShardOutcome(row.handle, k, at, failure if alone else None))
    return ends
