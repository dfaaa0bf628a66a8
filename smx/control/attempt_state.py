"""How an attempt stands, from its folder and its executor's word."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from smx.benches._intervals import CI_VERSION
from smx.control.attempt_view import AttemptView, Observation, is_over
from smx.control.failure_cause import failure_of
from smx.control.poll import keep_facts
from smx.errors import UserError
from smx.executors import ShardStatus
from smx.failures import classify
from smx.registry.rows import AttemptRow, ShardRow, excluded_attempts
from smx.registry.scores import score_rows
from smx.results.derive import derive
from smx.results.usage import usage
from smx.runfolder import AttemptFolder, RunFolder, ShardFolder, now
from smx.states import LIVE, QUEUED, RunState, SchedulerState, ShardState, attempt_state, run_state

_FRESH = 120.0  # seconds; a heartbeat (every 15 s) this young is a sign of life
# What a scheduler's books say of a task that left no exit.json; in every other state of theirs it failed.
_BOOKED = {"PREEMPTED": ShardState.preempted, "COMPLETED": ShardState.lost, "": ShardState.lost}


def observe(view: AttemptView, facts: Sequence[ShardStatus] | None) -> Observation | None:
    """What is to be said of an attempt now; None where there is no such attempt (yet)."""
    if not view.planned:
        return None
    handle = view.handle
    facts = facts or [ShardStatus(SchedulerState.waiting)] * len(view.shards)
    judged = [_judge(view, k, fact, handle) for k, fact in enumerate(facts)]
    states = [row.state for row, _ in judged]
    learnt: dict[str, Any] = {}
    if view.row.handle is None and handle is not None:
        learnt |= {"handle": dict(handle), "job": handle.get("job")}
    if not view.known:
        learnt |= {"resources": view.folder.plan.get("resources", {}), "canary": view.folder.is_canary}
    if any(state in LIVE for state in states):
        return _going_on(view, judged, learnt)
    return _concluded(view, judged, learnt)


def _going_on(
    view: AttemptView, judged: Sequence[tuple[ShardRow, ShardStatus]], learnt: Mapping[str, Any]
) -> Observation:
    rows = [row for row, _ in judged]
    live = [fact for row, fact in judged if row.state in LIVE]
    unknown = next((f.reason or f.where for f in live if f.state == SchedulerState.unknown), "")
    begun = view.row.started is None and any(row.heartbeat for row in rows)
    attempt = {
        **learnt,
        "state": attempt_state([row.state for row in rows]),
        "unknown_since": (view.row.unknown_since or now()) if unknown else None,
        "reason": next((fact.reason for fact in live if fact.reason), None),
        "done": sum(row.done for row in rows),
        "failed": sum(row.failed for row in rows),
        "started": min(filter(None, map(_started, view.shards)), default=None) if begun else view.row.started,
        "ended": None,
        "failure": None,
        "usage": None,
    }
    if view.others:
        run = run_changes(view.folder.run, _with(view, attempt))
    else:
        run = {key: attempt[key] for key in ("state", "done", "failed")}
        run["updated"] = attempt["started"] or view.row.created
        if not view.known:
            run["items"] = view.folder.plan["of"]
    return Observation(rows, attempt, run, unknown=unknown, facts=[fact for _, fact in judged])


def _concluded(
    view: AttemptView, judged: Sequence[tuple[ShardRow, ShardStatus]], learnt: Mapping[str, Any]
) -> Observation:
    keep_facts(view.folder, [fact for _, fact in judged])
    exits = [shard.exit() for shard in view.shards]
    rows = []
    for shard, (row, _) in zip(view.shards, judged, strict=True):
        done, failed = _counts(shard)
        rows.append(replace(row, done=done, failed=failed))
    ended = [(row.state, fact) for row, (_, fact) in zip(rows, judged, strict=True)]
    attempt = {
        **learnt,
        "state": attempt_state([row.state for row in rows]),
        "unknown_since": None,
        "reason": None,
        "done": sum(row.done for row in rows),
        "failed": sum(row.failed for row in rows),
        "started": min(filter(None, map(_started, view.shards)), default=None),
        "ended": _last_sign(view.folder, exits),
        "failure": failure_of(view.folder, ended, exits),
        "usage": usage(view.folder),
    }
    attempts = _with(view, attempt)
    run = run_changes(view.folder.run, attempts)
    scores = None
    if run["done"] and not any(row.live for row in attempts):
        excluded = excluded_attempts(attempts)
        result = _current_result(view.folder.run, excluded, run["done"], run["failed"])
        if "scores" in result:
            scores = score_rows(view.row.fingerprint, view.folder.run.spec["spec"]["bench"], result["scores"])
    return Observation(rows, attempt, run, scores, facts=[fact for _, fact in judged])


def _with(view: AttemptView, changes: Mapping[str, Any]) -> list[AttemptRow]:
    """All attempts of the view's run, with these changes to its own."""
    changed = replace(view.row, **changes)
    return [changed if row.attempt == changed.attempt else row for row in view.others or (view.row,)]


def _judge(
    view: AttemptView, k: int, fact: ShardStatus, handle: Mapping[str, Any] | None
) -> tuple[ShardRow, ShardStatus]:
    """One shard as it stands now; its items are counted as its heartbeat has them."""
    known = view.known[k] if view.known else None
    over = is_over(view.exits[k], handle)
    if known and not over and known.state in QUEUED and fact.state in QUEUED:
        # It has not begun: there is nothing to read in its folder.
        now_at = _queued(known.heartbeat, fact)
        return (known if known.state == now_at else replace(known, state=now_at)), fact
    shard = view.shards[k]
    beat = shard.heartbeat()
    state, fact = _shard(shard, view.exits[k], beat, fact, handle)
    if known and fact.state == SchedulerState.unknown and state == ShardState.waiting and known.state in QUEUED:
        state = known.state  # nothing new is known
    row = ShardRow(view.row.fingerprint, view.row.attempt, k, state)
    if beat is None:
        return row, fact
    return replace(row, host=beat["host"], done=beat["done"], failed=beat["failed"], heartbeat=beat["at"]), fact


def _shard(
    shard: ShardFolder,
    end: Mapping[str, Any] | None,
    beat: Mapping[str, Any] | None,
    fact: ShardStatus,
    handle: Mapping[str, Any] | None,
) -> tuple[str, ShardStatus]:
    """State of one shard, in order of trust: exit.json, then the executor's word, then the heartbeat."""
    if end is not None and is_over(end, handle):
        return end["how"], fact
    if fact.state in QUEUED:
        return _queued(beat, fact), fact
    if fact.state in (SchedulerState.running, SchedulerState.unknown):
        return (ShardState.running if beat else ShardState.waiting), fact
    # Over: it may have written exit.json between the two looks.
    end = shard.exit()
    if fact.state == SchedulerState.cancelled and (end is None or end["how"] == ShardState.preempted):
        return ShardState.cancelled, fact
    if end is not None:
        return end["how"], fact
    if fact.state == SchedulerState.absent and beat and _age(beat["at"]) < _FRESH:
        return ShardState.running, ShardStatus(
            SchedulerState.unknown, fact.where, f"{fact.reason}, but it showed signs of life a moment ago"
        )
    word = str(fact.record.get("state", "")).split(" ")[0]
    return _BOOKED.get(word, ShardState.failed), fact


def _queued(sign: object, fact: ShardStatus) -> ShardState:
    """Of a shard that does not run. One that gave a sign of life before was started, and waits to be again."""
    return ShardState.pending if sign or fact.state == SchedulerState.pending else ShardState.waiting


def _age(moment: str) -> float:
    """Seconds since an ISO time."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _counts(shard: ShardFolder) -> tuple[int, int]:
    records = list(shard.items())
    done = {r["item"] for r in records if r["ok"]}
    return len(done), len({r["item"] for r in records} - done)


def _started(shard: ShardFolder) -> str | None:
    first = next(iter(shard.items()), None)
    beat = shard.heartbeat()
    found = first or beat
    return str(found["at"]) if found else None


def _last_sign(attempt: AttemptFolder, exits: Sequence[Mapping[str, Any] | None]) -> str:
    beats = (shard.heartbeat() for shard in attempt.shards())
    return str(max((sign["at"] for sign in (*exits, *beats) if sign), default=attempt.plan["created"]))


def heard_since(attempt: AttemptFolder, shards: int, ended: str) -> bool:
    """Whether an attempt that was concluded gave a sign of life after `ended`, what was thought its last one."""
    folders = map(attempt.shard, range(shards))
    signs = (sign for shard in folders for sign in (shard.exit(), shard.heartbeat()) if sign)
    return any(sign["at"] > ended for sign in signs)


def without_folder(view: AttemptView, facts: Sequence[ShardStatus] | None) -> Observation | None:
    """Of an attempt whose folder somebody deleted: it is lost once no job of it is left; None before."""
    over = (SchedulerState.ended, SchedulerState.absent, SchedulerState.cancelled)
    if facts is None or any(fact.state not in over for fact in facts):
        return None
    failure = classify(reason="its run folder is gone").as_json()
    attempt = {"state": ShardState.lost, "unknown_since": None, "reason": None, "ended": now(), "failure": failure}
    run = {"state": RunState.lost, "done": 0, "failed": 0, "updated": now()}
    return Observation([replace(row, state=ShardState.lost) for row in view.known], attempt, run)


def run_changes(run: RunFolder, rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """The run's state and counts from all its attempts."""
    excluded = excluded_attempts(rows)
    outcome = run.outcome(excluded)
    planned = [run.attempt(r.attempt) for r in rows if run.attempt(r.attempt).planned]
    of = max((a.plan["of"] for a in planned), default=0)
    done, failed = len(outcome.done), len(outcome.failed)
    state = run_state(
        [r.state for r in rows if r.live or (planned and r.attempt not in excluded)],
        items=of,
        done=done,
        failed=failed,
        too_many_failed=bool(planned) and failed > planned[-1].plan["max_failed"],
    )
    # Of the run, not of this look at it: a rebuilt registry says the same.
    updated = max((r.ended or r.started or r.created for r in rows), default=run.spec["created"])
    return {"state": state, "items": of or None, "done": done, "failed": failed, "updated": updated}


def _current_result(run: RunFolder, excluded: frozenset[int], done: int, failed: int) -> dict[str, Any]:
    """result.json, made again when it is missing, speaks of other items, or an earlier smx knew less of its scores."""
    with contextlib.suppress(UserError):  # a damaged file is derived again
        result = run.result()
        scores = (result or {}).get("scores", {}).values()
        known = all("ci" not in score or score.get("ci_version") == CI_VERSION for score in scores)
        if result and known and not excluded and (result["done"], result["failed"]) == (done, failed):
            return result
    return derive(run, excluded)
