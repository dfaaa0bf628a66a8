"""Fold what run folders and executors say into the registry. States are derived, never guessed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smx.booking import executor_for, record_handle, run_row, submission_folder
from smx.cell import Cell, Item
from smx.errors import UserError
from smx.executors import Fact, Job, Word
from smx.failures import MOST_EVIDENCE, classify, group
from smx.node.result import derive
from smx.project import Workspace
from smx.registry.rows import LIVE, AttemptRow, ScoreRow, ShardRow, SubmissionRow
from smx.registry.store import Registry
from smx.runfolder import AttemptFolder, RunFolder, ShardFolder, is_alive, now, read_json, run_folders
from smx.spec import SPECS, AnySpec

# When shards end differently, the attempt is what its worst shard is.
_WORST = ("lost", "failed", "cancelled", "preempted", "done")
_FRESH = 120.0  # seconds; a heartbeat (every 15 s) this young is a sign of life
_MOST_LOG = 8 << 20  # bytes of a log that are searched for the first error


def sync(workspace: Workspace, registry: Registry) -> list[str]:
    """Bring every live attempt up to date. Returns what could not be found out, in words."""
    rows = registry.attempts(live=True)
    runs = {row.fingerprint: registry.run(row.fingerprint) for row in rows}
    folders = [RunFolder(workspace.runs / run.folder) for row in rows if (run := runs[row.fingerprint])]
    facts = _ask(workspace, registry, [(f.attempt(row.attempt), row) for f, row in zip(folders, rows, strict=True)])
    unknown = []
    for folder, row in zip(folders, rows, strict=True):
        doubt = fold(workspace, registry, folder, row, facts)
        if doubt:
            unknown.append(f"{folder.path.name} attempt {row.attempt}: {doubt}")
    return unknown


def adopt(workspace: Workspace, registry: Registry, cells: Iterable[Cell]) -> None:
    """Take in run folders the registry does not know, whole or in part.

    (It was deleted, an older one was put in its place, or the folder was copied here.)
    """
    for cell in cells:
        run = RunFolder(cell.folder)
        if not (cell.folder / "spec.json").exists():
            continue
        known = {row.attempt for row in registry.attempts(cell.fingerprint)}
        if registry.run(cell.fingerprint) is None or any(a.number not in known for a in run.attempts()):
            take_in(workspace, registry, run)


def rebuild(workspace: Workspace, registry: Registry) -> int:
    """Fold every run folder into an (empty) registry; returns how many there were.

    What a run scored is derived from its items again: a scorer may be another since.
    """
    count = 0
    for run in run_folders(workspace.runs):
        if (run.path / "result.json").exists():
            with contextlib.suppress(UserError):  # a bench that is gone since: what it scored stays
                derive(run)
        take_in(workspace, registry, run)
        count += 1
    return count


def take_in(workspace: Workspace, registry: Registry, run: RunFolder) -> None:
    """One run with all its attempts, from its folder alone."""
    cell = cell_of(run)
    with registry.transaction():
        registry.add_run(run_row(workspace, cell, run.spec["created"]))
        for role, digest in cell.inputs.items():
            registry.add_input(cell.fingerprint, role, digest)
        for attempt in run.attempts():
            plan = attempt.plan
            registry.add_run(run_row(workspace, replace(cell, labels=plan["labels"]), run.spec["created"]))
            registry.put_submission(
                SubmissionRow(
                    plan["submission"], plan["executor"], f"smx-{plan['submission']}", created=plan["submitted"]
                )
            )
            row_of = AttemptRow(
                fingerprint=cell.fingerprint,
                attempt=attempt.number,
                executor=plan["executor"],
                state="waiting",
                items=sum(map(len, plan["shards"])),
                submission=plan["submission"],
                handle=attempt.handle(),
                job=(attempt.handle() or {}).get("job"),
                created=plan["created"],
                provenance={**plan["provenance"], "submitter": plan["submitter"]},
            )
            registry.put_attempt(row_of)
            fold(workspace, registry, run, row_of)
        if not run.attempts():
            _fold_run(registry, run, cell.fingerprint)


def fold(
    workspace: Workspace,
    registry: Registry,
    run: RunFolder,
    row: AttemptRow,
    said: Mapping[Path, Sequence[Fact]] | None = None,
) -> str:
    """One attempt's shards into its state, its run's state and scores. Returns what stays unknown, or "".

    `said`: what the executors say of each attempt's shards, where they were asked already.
    """
    attempt = run.attempt(row.attempt)
    if not attempt.planned:  # reserved, and the launcher is not done writing it, or died before
        if is_alive(dict(row.provenance["submitter"])) is False and not attempt.planned:
            registry.release(row.fingerprint, row.attempt)
        return ""
    if said is None:
        said = _ask(workspace, registry, [(attempt, row)])
    facts = said.get(attempt.path, [Fact(Word.waiting)] * len(attempt.plan["shards"]))
    handle = attempt.handle()
    judged = [_shard(s, fact, handle) for s, fact in zip(attempt.shards(), facts, strict=True)]
    facts = [fact for _, fact in judged]
    states = [state for state, _ in judged]
    if live := [s for s in LIVE if s in states]:
        state = "running" if "running" in live else live[0]
    else:
        state = min(states, key=_WORST.index)
    unknown = next(
        (f.reason or f.where for f, s in zip(facts, states, strict=True) if f.word == Word.unknown and s in LIVE), ""
    )
    beats = [s.heartbeat() for s in attempt.shards()]
    counts = [_counts(s) for s in attempt.shards()]
    exits = [s.exit() for s in attempt.shards()]
    with registry.transaction():
        for k, shard_state in enumerate(states):
            beat = beats[k]
            registry.put_shard(
                ShardRow(
                    row.fingerprint,
                    row.attempt,
                    k,
                    shard_state,
                    host=beat["host"] if beat else None,
                    done=counts[k][0],
                    failed=counts[k][1],
                    heartbeat=beat["at"] if beat else None,
                )
            )
        registry.update_attempt(
            row.fingerprint,
            row.attempt,
            state=state,
            unknown_since=(row.unknown_since or now()) if unknown else None,
            reason=next((f.reason for f, s in zip(facts, states, strict=True) if f.reason and s in LIVE), None),
            done=sum(d for d, _ in counts),
            failed=sum(f for _, f in counts),
            started=min((s for s in map(_started, attempt.shards()) if s), default=None),
            ended=None if state in LIVE else max((e["at"] for e in exits if e), default=_last_sign(attempt)),
            failure=None if state in LIVE else _failure(attempt, judged, exits),
        )
        _fold_run(registry, run, row.fingerprint)
    return unknown


def cell_of(run: RunFolder) -> Cell:
    """A run's cell as its folder remembers it; its items are those any attempt was given."""
    record = run.spec
    spec: AnySpec = SPECS[record["kind"]].model_validate(record["spec"])
    attempts = run.attempts()
    known = {i["id"]: i for a in attempts for shard in a.plan["shards"] for i in shard}
    return Cell(
        spec=spec,
        fingerprint=record["fingerprint"],
        name=record["name"],
        folder=run.path,
        items=tuple(Item(**i) for i in known.values()),
        plugins=record["plugins"],
        inputs=record["inputs"],
        paths=attempts[-1].plan["paths"] if attempts else {},
        labels=attempts[-1].plan["labels"] if attempts else {},
        needs=tuple(attempts[-1].plan["needs"]) if attempts else (),
    )


def _ask(
    workspace: Workspace, registry: Registry, attempts: Sequence[tuple[AttemptFolder, AttemptRow]]
) -> dict[Path, Sequence[Fact]]:
    """What executors say of these attempts, by folder; each executor is asked once, about all of them.

    Attempts that need no asking are left out: ended by their own word, or being submitted this very moment.
    """
    found: dict[Path, Sequence[Fact]] = {}
    asked: dict[str, list[tuple[AttemptFolder, dict[str, Any]]]] = {}
    for attempt, row in attempts:
        if not attempt.planned:
            continue
        handle = attempt.handle()
        if all(_over(s.exit(), handle) for s in attempt.shards()):
            continue
        if handle is None:
            if is_alive(attempt.plan["submitter"]) is not False:
                continue
            handle = _recovered(workspace, attempt)
            if handle is None:
                lost = Fact(Word.absent, reason="its launcher died before it was started")
                found[attempt.path] = [lost] * len(attempt.plan["shards"])
                continue
            record_handle(registry, row.fingerprint, attempt, handle)
        asked.setdefault(handle["executor"], []).append((attempt, handle))
    for name, handled in asked.items():
        _, executor = executor_for(workspace, name)
        for (attempt, _), facts in zip(handled, executor.poll([handle for _, handle in handled]), strict=True):
            found[attempt.path] = facts
    return found


def _recovered(workspace: Workspace, attempt: AttemptFolder) -> dict[str, Any] | None:
    """The handle a launcher died before writing down, if it had started anything."""
    plan = attempt.plan
    folder = submission_folder(workspace, plan["submission"])
    listed = read_json(folder / "jobs.json") or {"folders": []}
    jobs = [_job(Path(place)) for place in listed["folders"]]
    _, executor = executor_for(workspace, plan["executor"])
    handles = executor.recover(plan["submission"], folder, jobs)
    return dict(zip((job.folder for job in jobs), handles, strict=True)).get(attempt.path.resolve())


def _job(folder: Path) -> Job:
    return Job(entry="", folder=folder, shards=len(AttemptFolder(folder).plan["shards"]))


def _shard(shard: ShardFolder, fact: Fact, handle: Mapping[str, Any] | None) -> tuple[str, Fact]:
    """State of one shard, in order of trust: exit.json, then the executor's word, then the heartbeat."""
    end = shard.exit()
    if end is not None and _over(end, handle):
        return end["how"], fact
    beat = shard.heartbeat()
    if fact.word in (Word.waiting, Word.pending):
        return ("pending" if beat or fact.word == Word.pending else "waiting"), fact
    if fact.word in (Word.running, Word.unknown):
        return ("running" if beat else "waiting"), fact
    # Over: it may have written exit.json between the two looks.
    end = shard.exit()
    if fact.word == Word.cancelled and (end is None or end["how"] == "preempted"):
        return "cancelled", fact
    if end is not None:
        return end["how"], fact
    if fact.word == Word.absent and beat and _age(beat["at"]) < _FRESH:
        return "running", Fact(Word.unknown, fact.where, f"{fact.reason}, but it showed signs of life a moment ago")
    word = str(fact.record.get("state", "")).split(" ")[0]
    return {"PREEMPTED": "preempted", "COMPLETED": "lost", "": "lost"}.get(word, "failed"), fact


def _over(end: Mapping[str, Any] | None, handle: Mapping[str, Any] | None) -> bool:
    """Whether an exit.json is the last word. A scheduler may start a stopped task again: it is asked first."""
    if end is None:
        return False
    again = handle is not None and handle.get("requeues", False)
    return not again or end["how"] in ("done", "failed")


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


def _last_sign(attempt: AttemptFolder) -> str:
    beats = [b["at"] for b in (s.heartbeat() for s in attempt.shards()) if b]
    return str(max(beats, default=attempt.plan["created"]))


def _failure(
    attempt: AttemptFolder, judged: Sequence[tuple[str, Fact]], exits: Sequence[dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Why the worst of the shards failed: its own word, the scheduler's, else its log's. None if all is well."""
    worst = min(range(len(judged)), key=lambda k: _WORST.index(judged[k][0]))
    state, fact = judged[worst]
    end = exits[worst]
    if state == "done":  # each shard may have had few enough failed items, and all of them together too many
        items = [record["ok"] for shard in attempt.shards() for record in shard.items()]
        failed = items.count(False)
        return (
            _failed_items(attempt, f"{failed} of {len(items)} items failed")
            if failed > attempt.plan["max_failed"]
            else None
        )
    if end and end.get("kind") == "items":
        return {**_failed_items(attempt, end["line"]), "shard": worst}
    if end is None and state == "cancelled" and not fact.record:
        end = {"how": "cancelled", "reason": fact.reason}
    log = "" if end else "\n".join(_tail(path) for ending in ("err", "out") for path in attempt.logs(ending, worst))
    began = attempt.shard(worst).heartbeat() is not None
    found = classify(exit=end, record=fact.record, log=log, reason=fact.reason, where=fact.where, began=began)
    return {**found.as_json(), "shard": worst}


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
    }


def _tail(path: Path) -> str:
    """A log, its last part where it is huge."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_LOG))
        return file.read().decode(errors="replace")


def _fold_run(registry: Registry, run: RunFolder, fingerprint: str) -> None:
    """The run's state, counts and scores from all its attempts."""
    rows = registry.attempts(fingerprint)
    excluded = frozenset(r.attempt for r in rows if r.mark == "excluded")
    outcome = run.outcome(excluded)
    planned = [run.attempt(r.attempt) for r in rows if run.attempt(r.attempt).planned]
    of = max((a.plan["of"] for a in planned), default=0)
    done, failed = len(outcome.done), len(outcome.failed)
    live = [r for r in rows if r.state in LIVE]
    if live:
        state = live[-1].state
    elif not planned:
        state = "new"
    elif done + failed >= of:
        state = "done" if failed <= planned[-1].plan["max_failed"] else "failed"
    elif done:
        state = "partial"
    else:
        state = rows[-1].state
    # Of the run, not of this look at it: a rebuilt registry says the same.
    updated = max((r.ended or r.started or r.created for r in rows), default=run.spec["created"])
    registry.update_run(fingerprint, state=state, items=of or None, done=done, failed=failed, updated=updated)
    if not live and done:
        result = _current_result(run, excluded, done, failed)
        if "scores" in result:
            registry.replace_scores(fingerprint, score_rows(fingerprint, run.spec["spec"]["bench"], result["scores"]))


def _current_result(run: RunFolder, excluded: frozenset[int], done: int, failed: int) -> dict[str, Any]:
    """result.json, made again when it is missing or speaks of other items."""
    with contextlib.suppress(ValueError):  # a damaged file is derived again
        result = run.result()
        if result and not excluded and (result["done"], result["failed"]) == (done, failed):
            return result
    return derive(run, excluded)


def score_rows(fingerprint: str, bench: str, scores: dict[str, Any]) -> list[ScoreRow]:
    """`{"official@1": summary}` as rows of the registry."""
    rows = []
    for scorer, summary in scores.items():
        for name in ("all", "acc", "mra"):
            for average, value in summary.get(name, {}).items():
                if value is not None:
                    n, unparsed = summary["n"], summary["unparsed"]
                    rows.append(ScoreRow(fingerprint, bench, scorer, f"{name}.{average}", value, n, unparsed=unparsed))
        for metric, key in (("type", "types"), ("task", "tasks")):
            for name, entry in summary.get(key, {}).items():
                if entry["score"] is not None:
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, entry["score"], entry["n"], task=name))
    return rows
