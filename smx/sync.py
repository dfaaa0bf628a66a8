"""Fold what run folders and executors say into the registry. States are derived, never guessed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from smx import hooks
from smx.booking import executor_for, run_row, submission_folder
from smx.cell import Cell, Item
from smx.errors import UserError, no_space
from smx.executors import End, Fact, Job, Word
from smx.failures import MOST_EVIDENCE, classify, group
from smx.node.result import derive
from smx.node.usage import usage
from smx.project import Workspace
from smx.registry.rows import LIVE, AttemptRow, ScoreRow, ShardRow, SubmissionRow
from smx.registry.store import Registry
from smx.runfolder import AttemptFolder, RunFolder, ShardFolder, is_alive, now, read_json, run_folders, write_json
from smx.spec import SPECS, AnySpec

# When shards end differently, the attempt is what its worst shard is.
_WORST = ("lost", "failed", "cancelled", "preempted", "done")
_QUEUED = ("waiting", "pending")
_FRESH = 120.0  # seconds; a heartbeat (every 15 s) this young is a sign of life
_MOST_LOG = 8 << 20  # bytes of a log that are searched for the first error
# What reading a run folder that somebody damaged ends with: no JSON, other JSON than was written, nobody's to read.
_DAMAGE = (UserError, LookupError, TypeError, ValueError, OSError)


def sync(workspace: Workspace, registry: Registry) -> list[str]:
    """Bring every live attempt up to date. Returns what could not be found out, in words.

    Whatever is to be read is read first, and executors asked, each once; then what has changed is written, in one
    transaction. What another command has concluded in the meantime stays as it is.
    """
    views = _live(workspace, registry)
    facts = _ask(workspace, views, ended=True)
    seen = [_look(view, facts.get(view.folder.path)) for view in views]
    with registry.transaction():
        live = set(registry.query(f"select fingerprint, attempt from attempts where state in {LIVE}"))
        for view, found in zip(views, seen, strict=True):
            if (view.row.fingerprint, view.row.attempt) in live:
                _keep(registry, view, found)
    _brake(workspace, registry, list(zip(views, seen, strict=True)))
    doubts = ((view, found.unknown) for view, found in zip(views, seen, strict=True) if found and found.unknown)
    unknown = [f"{view.folder.run.path.name} attempt {view.row.attempt}: {doubt}" for view, doubt in doubts]
    return unknown + hooks.run_due(workspace, registry)


def adopt(workspace: Workspace, registry: Registry, cells: Iterable[Cell]) -> None:
    """Take in run folders the registry does not know, whole or in part.

    (It was deleted, an older one was put in its place, or the folder was copied here.)
    """
    strangers = []
    for cell in cells:
        run = RunFolder(cell.folder)
        if not (cell.folder / "spec.json").exists():
            continue
        known = {row.attempt for row in registry.attempts(cell.fingerprint)}
        if registry.run(cell.fingerprint) is None or any(a.number not in known for a in run.attempts()):
            strangers.append(run)
    said = _ask(workspace, [_View(attempt, _row(attempt)) for run in strangers for attempt in run.attempts()])
    for run in strangers:
        take_in(workspace, registry, run, said)


def ask_all(workspace: Workspace) -> dict[Path, Sequence[Fact]]:
    """What executors say of every attempt that has not ended by its own word, for `rebuild`; each is asked once."""
    views = []
    for run in run_folders(workspace.runs):
        with contextlib.suppress(*_DAMAGE):  # `rebuild` names it
            these = [_View(attempt, _row(attempt)) for attempt in run.attempts()]
            for view in these:
                _kept_facts(view.folder)
            views += these
    return _ask(workspace, views)


def ask_one(workspace: Workspace, run: RunFolder, row: AttemptRow) -> dict[Path, Sequence[Fact]]:
    """The same of one attempt, for `fold` within a transaction."""
    return _ask(workspace, [_View(run.attempt(row.attempt), row)])


def rebuild(workspace: Workspace, registry: Registry, said: Mapping[Path, Sequence[Fact]]) -> dict[Path, str]:
    """Fold every run folder into an (empty) registry; returns those left out, with what is wrong with each.

    What a run scored is derived from its items again: a scorer may be another since. `said`: of `ask_all`.
    """
    left_out = {}
    for run in run_folders(workspace.runs):
        try:
            if (run.path / "result.json").exists():
                with contextlib.suppress(UserError):  # a bench that is gone since: what it scored stays
                    derive(run)
            take_in(workspace, registry, run, said)
        except _DAMAGE as error:
            if no_space(error) or isinstance(error.__cause__, sqlite3.Error):
                raise  # a matter of the registry, not of this run
            plain = error.message if isinstance(error, UserError) else ""
            left_out[run.path] = plain or f"it does not hold what it should ({error!r})"
    return left_out


def take_in(workspace: Workspace, registry: Registry, run: RunFolder, said: Mapping[Path, Sequence[Fact]]) -> None:
    """One run with all its attempts, from its folder and what executors say of them."""
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
            row = _row(attempt)
            registry.put_attempt(row)
            fold(workspace, registry, run, row, said)
        if not run.attempts():
            registry.update_run(cell.fingerprint, **_run_changes(run, []))


def fold(
    workspace: Workspace,
    registry: Registry,
    run: RunFolder,
    row: AttemptRow,
    said: Mapping[Path, Sequence[Fact]] | None = None,
) -> None:
    """One attempt's shards into its state, its run's state and scores.

    `said`: what the executors say of each attempt's shards, where they were asked already.
    """
    view = _View(run.attempt(row.attempt), row, others=tuple(registry.attempts(row.fingerprint)))
    found = _look(view, (_ask(workspace, [view]) if said is None else said).get(view.folder.path))
    with registry.transaction():
        _keep(registry, view, found)


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


@dataclass(frozen=True)
class _View:
    """An attempt as its folder and the registry know it. Files are read where they are needed."""

    folder: AttemptFolder
    row: AttemptRow
    known: Sequence[ShardRow] = ()  # what the registry has of its shards
    others: Sequence[AttemptRow] = ()  # all attempts of the run, where there may be several

    @property
    def planned(self) -> bool:
        return bool(self.known) or self.folder.planned

    @cached_property
    def handle(self) -> Mapping[str, Any] | None:
        known = self.row.handle
        if known is not None and known.get("requeues"):
            return known  # a scheduler's never changes, and there may be 10,000
        return self.folder.handle() or known

    @cached_property
    def shards(self) -> list[ShardFolder]:
        return [self.folder.shard(k) for k in range(len(self.known) or len(self.folder.plan["shards"]))]

    @cached_property
    def exits(self) -> list[dict[str, Any] | None]:
        """As they were when somebody first asked for them."""
        return [shard.exit() for shard in self.shards]


@dataclass(frozen=True)
class _Seen:
    """What is to be written of an attempt, and what stays unknown ("" if nothing)."""

    shards: Sequence[ShardRow]
    attempt: Mapping[str, Any]
    run: Mapping[str, Any]
    scores: Sequence[ScoreRow] | None = None
    unknown: str = ""
    facts: Sequence[Fact] = ()  # one for each of `shards`


def _live(workspace: Workspace, registry: Registry) -> list[_View]:
    """Every live attempt."""
    rows = registry.attempts(live=True)
    of_live = f"fingerprint in (select fingerprint from attempts where state in {LIVE})"
    folders = dict(registry.query(f"select fingerprint, folder from runs where {of_live}"))
    shards: dict[tuple[str, int], list[ShardRow]] = {}
    for shard in registry.live_shards():
        shards.setdefault((shard.fingerprint, shard.attempt), []).append(shard)
    return [
        _View(
            RunFolder(workspace.runs / folders[row.fingerprint]).attempt(row.attempt),
            row,
            shards.get((row.fingerprint, row.attempt), ()),
            registry.attempts(row.fingerprint) if row.attempt > 1 else (),
        )
        for row in rows
    ]


def _row(attempt: AttemptFolder) -> AttemptRow:
    """An attempt's row from its folder alone, before anyone has looked at its shards."""
    plan, handle = attempt.plan, attempt.handle()
    return AttemptRow(
        fingerprint=attempt.run.spec["fingerprint"],
        attempt=attempt.number,
        executor=plan["executor"],
        state="waiting",
        items=sum(map(len, plan["shards"])),
        submission=plan["submission"],
        handle=handle,
        job=(handle or {}).get("job"),
        created=plan["created"],
        provenance={**plan["provenance"], "submitter": plan["submitter"]},
    )


def _ask(workspace: Workspace, views: Sequence[_View], *, ended: bool = False) -> dict[Path, Sequence[Fact]]:
    """What executors say of these attempts, by folder; each executor is asked once, about all of them.

    Attempts that need no asking are left out: being submitted this very moment, or ended by their own word (but with
    `ended`, a scheduler that keeps books is asked for its record of those too).
    """
    found: dict[Path, Sequence[Fact]] = {}
    asked: dict[str, list[tuple[AttemptFolder, Mapping[str, Any]]]] = {}
    for view in views:
        if not view.planned:
            continue
        handle = view.handle
        over = all(_over(end, handle) for end in view.exits)
        if over and not (ended and handle and handle.get("books")):
            continue
        if not ended and (kept := _kept_facts(view.folder)):
            found[view.folder.path] = kept
            continue
        if handle is None:
            if is_alive(dict(view.row.provenance["submitter"])) is not False:
                continue
            handle = _recovered(workspace, view.folder)
            if handle is None:
                lost = Fact(Word.absent, reason="its launcher died before it was started")
                found[view.folder.path] = [lost] * len(view.shards)
                continue
            write_json(view.folder.path / "handle.json", handle)
            del view.__dict__["handle"]  # it is read again
        asked.setdefault(handle["executor"], []).append((view.folder, handle))
    for name, handled in asked.items():
        _, executor = executor_for(workspace, name)
        for (attempt, _), facts in zip(handled, executor.poll([handle for _, handle in handled]), strict=True):
            found[attempt.path] = facts
    return found


def _look(view: _View, facts: Sequence[Fact] | None) -> _Seen | None:
    """What is to be said of an attempt now; None where there is no such attempt (yet)."""
    if not view.planned:
        return None
    handle = view.handle
    facts = facts or [Fact(Word.waiting)] * len(view.shards)
    judged = [_judge(view, k, fact, handle) for k, fact in enumerate(facts)]
    states = [row.state for row, _ in judged]
    learnt: dict[str, Any] = {}
    if view.row.handle is None and handle is not None:
        learnt |= {"handle": dict(handle), "job": handle.get("job")}
    if not view.known:
        learnt["resources"] = view.folder.plan.get("resources", {})
    if any(state in LIVE for state in states):
        return _going_on(view, judged, learnt)
    return _concluded(view, judged, learnt)


def _going_on(view: _View, judged: Sequence[tuple[ShardRow, Fact]], learnt: Mapping[str, Any]) -> _Seen:
    rows = [row for row, _ in judged]
    states = [row.state for row in rows]
    live = [fact for row, fact in judged if row.state in LIVE]
    unknown = next((f.reason or f.where for f in live if f.word == Word.unknown), "")
    begun = view.row.started is None and any(row.heartbeat for row in rows)
    attempt = {
        **learnt,
        "state": "running" if "running" in states else next(s for s in LIVE if s in states),
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
        run = _run_changes(view.folder.run, _with(view, attempt))
    else:
        run = {key: attempt[key] for key in ("state", "done", "failed")}
        run["updated"] = attempt["started"] or view.row.created
        if not view.known:
            run["items"] = view.folder.plan["of"]
    return _Seen(rows, attempt, run, unknown=unknown, facts=[fact for _, fact in judged])


def _concluded(view: _View, judged: Sequence[tuple[ShardRow, Fact]], learnt: Mapping[str, Any]) -> _Seen:
    _keep_facts(view.folder, [fact for _, fact in judged])
    exits = [shard.exit() for shard in view.shards]
    rows = []
    for shard, (row, _) in zip(view.shards, judged, strict=True):
        done, failed = _counts(shard)
        rows.append(replace(row, done=done, failed=failed))
    ended = [(row.state, fact) for row, (_, fact) in zip(rows, judged, strict=True)]
    attempt = {
        **learnt,
        "state": min((row.state for row in rows), key=_WORST.index),
        "unknown_since": None,
        "reason": None,
        "done": sum(row.done for row in rows),
        "failed": sum(row.failed for row in rows),
        "started": min(filter(None, map(_started, view.shards)), default=None),
        "ended": max((end["at"] for end in exits if end), default=_last_sign(view.folder)),
        "failure": _failure(view.folder, ended, exits),
        "usage": usage(view.folder),
    }
    attempts = _with(view, attempt)
    run = _run_changes(view.folder.run, attempts)
    scores = None
    if run["done"] and not any(row.live for row in attempts):
        excluded = frozenset(row.attempt for row in attempts if row.mark == "excluded")
        result = _current_result(view.folder.run, excluded, run["done"], run["failed"])
        if "scores" in result:
            scores = score_rows(view.row.fingerprint, view.folder.run.spec["spec"]["bench"], result["scores"])
    return _Seen(rows, attempt, run, scores, facts=[fact for _, fact in judged])


def _with(view: _View, changes: Mapping[str, Any]) -> list[AttemptRow]:
    """All attempts of the view's run, with these changes to its own."""
    changed = replace(view.row, **changes)
    return [changed if row.attempt == changed.attempt else row for row in view.others or (view.row,)]


def _keep(registry: Registry, view: _View, found: _Seen | None) -> None:
    """Write what has changed. In the caller's transaction."""
    row = view.row
    if found is None:  # reserved, and the launcher is not done writing it, or died before
        if is_alive(dict(row.provenance["submitter"])) is False and not view.planned:
            registry.release(row.fingerprint, row.attempt)
        return
    changes = {name: value for name, value in found.attempt.items() if getattr(row, name) != value}
    known = dict(enumerate(view.known))
    for shard in found.shards:
        if known.get(shard.shard) != shard:
            registry.put_shard(shard)
    if changes:
        registry.update_attempt(row.fingerprint, row.attempt, **changes)
    if changes or not known:
        registry.update_run(row.fingerprint, **found.run)
    if found.scores is not None:
        registry.replace_scores(row.fingerprint, found.scores)


def _brake(workspace: Workspace, registry: Registry, seen: Sequence[tuple[_View, _Seen | None]]) -> None:
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


def _newly_failed(view: _View, found: _Seen) -> bool:
    known = {shard.shard: shard.state for shard in view.known}
    return any(s.state in ("failed", "lost") and known.get(s.shard) != s.state for s in found.shards)


def _ends(row: AttemptRow, view: _View | None, found: _Seen | None) -> list[End]:
    """What an attempt's shards that are over say of the next ones."""
    if row.handle is None or row.state in ("cancelled", "preempted"):
        return []
    if not row.live:
        failure = row.failure
        if failure and "items" in failure and (row.done or failure["items"] < 2):
            failure = None  # a matter of single items
        return [End(row.handle, (failure or {}).get("shard", 0), row.ended or row.created, failure)]
    ends = []
    for k, shard in enumerate(found.shards if view and found else ()):
        assert view is not None
        assert found is not None
        end = view.shards[k].exit()
        booked = found.facts[k].record.get("ended")
        at = str(end["at"]) if end else datetime.fromtimestamp(booked, UTC).isoformat() if booked else now()
        if shard.state == "done":
            ends.append(End(row.handle, k, at, None))
        elif shard.state in ("failed", "lost"):
            only = [
                (s.state if s is shard else "done", fact) for s, fact in zip(found.shards, found.facts, strict=True)
            ]
            failure = _failure(view.folder, only, [end if s is shard else None for s in found.shards])
            alone = failure and ("items" not in failure or (not shard.done and failure["items"] > 1))
            ends.append(End(row.handle, k, at, failure if alone else None))
    return ends


def _kept_facts(attempt: AttemptFolder) -> list[Fact] | None:
    """What the scheduler said last of an attempt that was concluded: it forgets, and is not asked again."""
    kept = read_json(attempt.path / "scheduler.json")
    return [Fact(Word(f["word"]), f["where"], f["reason"], f["record"]) for f in kept["shards"]] if kept else None


def _keep_facts(attempt: AttemptFolder, facts: Sequence[Fact]) -> None:
    if not any(fact.record for fact in facts) or (attempt.path / "scheduler.json").exists():
        return
    said = [{"word": f.word, "where": f.where, "reason": f.reason, "record": dict(f.record)} for f in facts]
    with contextlib.suppress(OSError):  # a full disk, or somebody else's folder: the registry says it all the same
        write_json(attempt.path / "scheduler.json", {"shards": said})


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


def _judge(view: _View, k: int, fact: Fact, handle: Mapping[str, Any] | None) -> tuple[ShardRow, Fact]:
    """One shard as it stands now; its items are counted as its heartbeat has them."""
    known = view.known[k] if view.known else None
    over = _over(view.exits[k], handle)
    if known and not over and known.state in _QUEUED and fact.word in (Word.waiting, Word.pending):
        # It has not begun: there is nothing to read in its folder.
        state = "pending" if known.heartbeat or fact.word == Word.pending else "waiting"
        return (known if known.state == state else replace(known, state=state)), fact
    shard = view.shards[k]
    beat = shard.heartbeat()
    state, fact = _shard(shard, view.exits[k], beat, fact, handle)
    row = ShardRow(view.row.fingerprint, view.row.attempt, k, state)
    if beat is None:
        return row, fact
    return replace(row, host=beat["host"], done=beat["done"], failed=beat["failed"], heartbeat=beat["at"]), fact


def _shard(
    shard: ShardFolder,
    end: Mapping[str, Any] | None,
    beat: Mapping[str, Any] | None,
    fact: Fact,
    handle: Mapping[str, Any] | None,
) -> tuple[str, Fact]:
    """State of one shard, in order of trust: exit.json, then the executor's word, then the heartbeat."""
    if end is not None and _over(end, handle):
        return end["how"], fact
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
    if end is None and state == "cancelled" and (canary := _failed_canary(attempt)):
        end = {"how": "cancelled", "reason": f"dependency {canary} did not succeed: its first items went first"}
    elif end is None and state == "cancelled" and not fact.record:
        end = {"how": "cancelled", "reason": fact.reason}
    log = "" if end else "\n".join(_tail(path) for ending in ("err", "out") for path in attempt.logs(ending, worst))
    began = attempt.shard(worst).heartbeat() is not None
    found = classify(exit=end, record=fact.record, log=log, reason=fact.reason, where=fact.where, began=began)
    return {**found.as_json(), "shard": worst}


def _failed_canary(attempt: AttemptFolder) -> str:
    """The run whose first items this attempt waited for in vain; "" where it did not."""
    if not (canary := attempt.plan.get("canary")):
        return ""
    end = RunFolder(attempt.run.path.parent / canary["run"]).attempt(canary["attempt"]).shard(0).exit()
    return str(canary["run"]) if end is not None and end["how"] != "done" else ""


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


def _run_changes(run: RunFolder, rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """The run's state and counts from all its attempts."""
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
    else:  # an attempt that counts no more does not make the run done
        state = next((r.state for r in reversed(rows) if r.attempt not in excluded), "new")
    # Of the run, not of this look at it: a rebuilt registry says the same.
    updated = max((r.ended or r.started or r.created for r in rows), default=run.spec["created"])
    return {"state": state, "items": of or None, "done": done, "failed": failed, "updated": updated}


def _current_result(run: RunFolder, excluded: frozenset[int], done: int, failed: int) -> dict[str, Any]:
    """result.json, made again when it is missing, speaks of other items, or an earlier smx knew less of its scores."""
    with contextlib.suppress(UserError):  # a damaged file is derived again
        result = run.result()
        known = all("floor_of" in s or "ci" not in s for s in (result or {}).get("scores", {}).values())
        if result and known and not excluded and (result["done"], result["failed"]) == (done, failed):
            return result
    return derive(run, excluded)


def score_rows(fingerprint: str, bench: str, scores: dict[str, Any]) -> list[ScoreRow]:
    """`{"official@1": summary}` as rows of the registry."""
    rows = []
    for scorer, summary in scores.items():
        for name in ("all", "acc", "mra"):
            for average, value in summary.get(name, {}).items():
                if value is not None:
                    n, unparsed, metric = summary["n"], summary["unparsed"], f"{name}.{average}"
                    sure = _how_sure(summary, metric, "")
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, value, n, "", unparsed, *sure))
        for metric, key in (("type", "types"), ("task", "tasks")):
            for name, entry in summary.get(key, {}).items():
                if entry["score"] is not None:
                    score, n, sure = entry["score"], entry["n"], _how_sure(summary, metric, name)
                    rows.append(ScoreRow(fingerprint, bench, scorer, metric, score, n, name, 0, *sure))
    return rows


def _how_sure(summary: dict[str, Any], metric: str, task: str) -> tuple[Any, ...]:
    """Columns ci_low, ci_high, floor, gain_low and usual of a score; None where nothing was drawn."""
    low, high = summary.get("ci", {}).get(metric, {}).get(task, (None, None))
    floors = summary.get("floor", {}) if metric == "type" else summary.get("floor_of", {}).get(metric, {})
    floor = floors.get(task, {})
    return low, high, floor.get("score"), floor["gain"][0] if floor else None, floor.get("answer")
