"""Why a run waits, or how it failed, in words; and which command goes on."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from smx.failures import KINDS, group
from smx.monitor.status import ago, clip_end, local, now, progress
from smx.monitor.training_progress import training_progress
from smx.registry import live_queries
from smx.registry.rows import RunRow, excluded_attempts
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.states import LIVE, AttemptState, RunState

MOST_NAMES = 5
_WHY: dict[str, str] = {RunState.done: "nothing failed", RunState.partial: "it ended before all items were done"}


def explain(registry: Registry, runs: Path, row: RunRow) -> dict[str, Any]:
    """Everything there is to say about why `row` stands as it does, as plain data."""
    attempts = registry.attempts(row.fingerprint)
    name = row.folder.split("/", 1)[1]
    found: dict[str, Any] = {"run": name, "kind": row.kind, "state": row.state, "done": row.done, "items": row.items}
    found["failed"] = row.failed
    if not attempts:
        return {**found, "why": "it was never tried", "next": ""}
    newest = attempts[-1]
    found["attempt"] = {
        "number": newest.attempt,
        "executor": newest.executor,
        "job": newest.job,
        "since": newest.started or newest.created,
        "ended": newest.ended,
    }
    if excluded := excluded_attempts(attempts):
        found["excluded"] = sorted(excluded)
    if row.state in LIVE:
        return {**found, **_live(registry, runs, row)}
    if newest.failure and row.state != RunState.done:
        failure = dict(newest.failure)
        same = live_queries.alike(registry, failure["group"], row.fingerprint) if failure.get("group") else []
        found |= {"failure": failure, "same": same}
        bad = [node for node in live_queries.bad_nodes(registry) if node.name == failure.get("node")]
        if bad:
            found["bad_node"] = {"node": bad[0].name, "failures": bad[0].failures, "last": bad[0].last}
    result = RunFolder(runs / row.folder).result() or {}
    if row.failed:
        found["errors"] = result.get("errors", [])
    again = row.failed or row.state != RunState.done
    why = _WHY.get(row.state, "")
    if row.state == RunState.done and row.failed:
        why = f"{row.failed} of its items failed, no more than it may"
    return {**found, "why": why, "next": f"smx retry {name}" if again else ""}


def lines(found: dict[str, Any], width: int = 100) -> list[str]:
    """The same as text."""
    failed = f", {found['failed']} failed" if found["failed"] else ""
    head = f"{found['kind']} {found['run']}: {found['state']}, {found['done']}/{found['items'] or '?'} items{failed}"
    text = textwrap.wrap(head, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    if tried := found.get("attempt"):
        job = f" job {tried['job']}" if tried["job"] else ""
        until = f" to {local(tried['ended'])[11:]}" if tried["ended"] else ""
        text.append(f"  attempt {tried['number']}, {tried['executor']}{job}, {local(tried['since'])}{until}")
    if found.get("excluded"):
        text.append(f"  excluded attempts count in no table: {', '.join(map(str, found['excluded']))}")
    if found.get("why"):
        text += _wrapped(found["why"], width)
    if failure := found.get("failure"):
        text += _failure(failure, found["same"], width)
    if bad := found.get("bad_node"):
        times = f"{bad['failures']} time{'s' if bad['failures'] > 1 else ''}"
        text.append(
            f"node {bad['node']} failed {times} in the last {live_queries.BAD_DAYS} days, last {local(bad['last'])}"
        )
        text.append(f"  without it: smx retry {found['run']} --exclude-bad-nodes")
    if errors := found.get("errors"):
        text.append("failed items")
        groups = group((item, error) for error in errors for item in error["items"])
        for entry in groups[:MOST_NAMES]:
            text += _wrapped(f"{entry.count} × {entry.label}: {entry.line}", width)
            text += _wrapped(_named(entry.names), width, "      ")
        if len(groups) > MOST_NAMES:
            text.append(f"  … and {len(groups) - MOST_NAMES} other ways: smx show {found['run']}")
    for need in found.get("needs", []):
        text.append(f"  {need['kind']} {need['run']}: {need['state']}, {need['done']}/{need['items'] or '?'} items")
    if found["next"]:
        kind = found.get("failure", {}).get("kind") or next((e["kind"] for e in errors or ()), "")
        text.append("again")
        if kind in KINDS and KINDS[kind].change:
            text += _wrapped(f"first: {KINDS[kind].change}", width)
        text.append(f"  {found['next']}")
    return text


def _live(registry: Registry, runs: Path, row: RunRow) -> dict[str, Any]:
    attempt = next(
        entry for entry in live_queries.live(registry, {"state": list(LIVE)}) if entry.fingerprint == row.fingerprint
    )
    moment = now()
    doubt = f"; unknown since {local(attempt.unknown_since)}" if attempt.unknown_since else ""
    folder = RunFolder(runs / row.folder).attempt(attempt.attempt)
    if attempt.state == AttemptState.running:
        where = f" on {attempt.hosts}" if attempt.hosts else ""
        seen = f", last sign {ago(attempt.seen, moment)} ago" if attempt.seen else ""
        step = training_progress(RunFolder(runs / row.folder))
        return {"why": f"it runs{where}: {progress(attempt, moment, step)}{seen}{doubt}", "next": ""}
    needs = [need for mark in (folder.plan["needs"] if folder.planned else ()) if (need := registry.run(mark))]
    open_ = [need for need in needs if need.state != RunState.done]
    told = attempt.reason or "not started yet"
    if folder.planned and (canary := folder.plan.get("canary")) and "Dependency" in told:
        told = f"behind the first items of {canary['run']}, its canary ({told})"
    if open_:
        told = f"behind {len(open_)} run{'s' if len(open_) > 1 else ''} that must end first ({told})"
    return {
        "why": f"it has waited for {ago(attempt.created, moment)}: {told}{doubt}",
        "reason": attempt.reason,
        "needs": [
            {"run": n.folder.split("/", 1)[1], "kind": n.kind, "state": n.state, "done": n.done, "items": n.items}
            for n in open_
        ],
        "next": f"smx retry {attempt.name}" if told.startswith(live_queries.HELD) else "",
    }


def _failure(failure: dict[str, Any], same: list[str], width: int) -> list[str]:
    kind = failure["kind"]
    text = _wrapped(f"{kind}: {failure['line']}", width)
    if kind in KINDS:
        text.append(f"  that is: {KINDS[kind].meaning}")
    if failure.get("where"):
        node = f" (node {failure['node']})" if failure.get("node") else ""
        text.append(f"  where: {failure['where']}{node}")
    if evidence := [line for line in failure.get("evidence", ()) if line != failure["line"]]:
        text.append("evidence")
        text += [clip_end(f"  | {line}", width) for line in evidence]
    if same:
        text.append(f"{len(same)} other run{'s' if len(same) > 1 else ''} failed the same way")
        text += [f"  {name}" for name in same[:MOST_NAMES]]
        if len(same) > MOST_NAMES:
            text.append(f"  … and {len(same) - MOST_NAMES} more")
    return text


def _named(items: list[str]) -> str:
    return ", ".join(items[:MOST_NAMES]) + (f" … ({len(items)})" if len(items) > MOST_NAMES else "")


def _wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
