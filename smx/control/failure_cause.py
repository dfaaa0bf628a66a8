"""Why an attempt failed, in one sentence with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from smx.executors import ShardStatus
from smx.failures import MOST_EVIDENCE, classify, group
from smx.runfolder import AttemptFolder, RunFolder
from smx.states import WORST_FIRST, ShardState

_MOST_LOG = 8 << 20  # bytes of a log that are searched for the first error


def failure_of(
    attempt: AttemptFolder, judged: Sequence[tuple[str, ShardStatus]], exits: Sequence[dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Why the worst of the shards failed: its own word, the scheduler's, else its log's. None if all is well."""
    worst = min(range(len(judged)), key=lambda k: WORST_FIRST.index(judged[k][0]))
    state, fact = judged[worst]
    end = exits[worst]
    if state == ShardState.done:  # each shard may have had few enough failed items, and all of them together too many
        items = [record["ok"] for shard in attempt.shards() for record in shard.items()]
        failed = items.count(False)
        return (
            _failed_items(attempt, f"{failed} of {len(items)} items failed")
            if failed > attempt.plan["max_failed"]
            else None
        )
    if end and end.get("kind") == "items":
        return {**_failed_items(attempt, end["line"]), "shard": worst}
    if end is None and state == ShardState.cancelled and (canary := _failed_canary(attempt)):
        end = {
            "how": ShardState.cancelled,
            "reason": f"dependency {canary} did not succeed: its first items went first",
        }
    elif end is None and state == ShardState.cancelled and not fact.record:
        end = {"how": ShardState.cancelled, "reason": fact.reason}
    log = "" if end else "\n".join(_tail(path) for ending in ("err", "out") for path in attempt.logs(ending, worst))
    began = attempt.shard(worst).heartbeat() is not None
    found = classify(exit=end, record=fact.record, log=log, reason=fact.reason, where=fact.where, began=began)
    if found.kind == "node-fail" and not found.node and (starts := attempt.shard(worst).starts()):
        found = replace(found, node=str(starts[-1].get("node", "")))  # a broken GPU does not say whose it is
    return {**found.as_json(), "shard": worst}


def _failed_canary(attempt: AttemptFolder) -> str:
    """The run whose first items this attempt waited for in vain; "" where it did not."""
    if not (canary := attempt.plan.get("canary")):
        return ""
    end = RunFolder(attempt.run.path.parent / canary["run"]).attempt(canary["attempt"]).shard(0).exit()
    return str(canary["run"]) if end is not None and end["how"] != ShardState.done else ""


def _failed_items(attempt: AttemptFolder, line: str) -> dict[str, Any]:
    """The failure most of an attempt's failed items share; the others are its evidence."""
    records = [record for shard in attempt.shards() for record in shard.items() if not record["ok"]]
    groups = group((record["item"], record["error"]) for record in records)
    most = groups[0]
    return {
        "kind": most.kind,
        "line": f"{line}: {most.line}",
        "where": most.where,
        "group": most.key,
        "evidence": [f"{g.count} × {g.label}: {g.line}  [{', '.join(g.names[:3])}]" for g in groups[:MOST_EVIDENCE]],
        "items": len(records),
    }


def _tail(path: Path) -> str:
    """A log, its last part where it is huge."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_LOG))
        return file.read().decode(errors="replace")
