"""Fold what run folders and executors say into the registry. States are derived, never guessed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from smx.control import hooks
from smx.control.attempt_state import heard_since, observe, run_changes, without_folder
from smx.control.attempt_view import DAMAGE, AttemptView, Observation, in_words, row_of
from smx.control.circuit_breaker import brake
from smx.control.poll import ask, forget_facts, kept_facts
from smx.control.reservations import on_disk_together, run_row
from smx.errors import no_space
from smx.executors import ShardStatus
from smx.processes import is_alive
from smx.registry.live_queries import given_up, live_attempts, live_folders, lost_shards
from smx.registry.rows import AttemptRow, ShardRow, SubmissionRow
from smx.registry.store import Registry
from smx.run import Item, Run
from smx.runfolder import RunFolder
from smx.spec import carried_out, recorded
from smx.states import AttemptState, SchedulerState
from smx.workspace import Workspace

_REMEMBERED = 2  # days for which a scheduler is asked again for what it did not know


def refresh(workspace: Workspace, registry: Registry, say: Callable[[str], None]) -> None:
    """Bring every live attempt up to date, and `say` what could not be found out."""
    for line in summed_up(sync(workspace, registry)):
        say(f"unknown: {line}")


def summed_up(doubts: Sequence[str]) -> list[str]:
    """`WHAT: WHY` of each attempt, once for all that have the same reason: a cluster that is down is one sentence."""
    of: dict[str, list[str]] = {}
    for what, _, why in (doubt.partition(": ") for doubt in doubts):
        of.setdefault(why, []).append(what)
    more = {why: f" and {len(names) - 1} more" if len(names) > 1 else "" for why, names in of.items()}
    return [f"{names[0]}{more[why]}: {why}" if why else "; ".join(names) for why, names in of.items()]


def sync(workspace: Workspace, registry: Registry, executors: Collection[str] | None = None) -> list[str]:
    """Bring live attempts up to date: all, or those of these executors. Returns what could not be found out, in words.

    Whatever is to be read is read first, and executors asked, each once; then what has changed is written, in one
    transaction. What another command has concluded in the meantime stays as it is.
    """
    views = _live(workspace, registry, executors)
    concluded = _given_up(workspace, registry, executors)
    facts = ask(workspace, [*views, *concluded], ended=True)
    views += [view for view in concluded if _goes_on(view, facts.get(view.folder.path))]
    seen = _observed(views, facts)
    with registry.transaction():
        live = live_attempts(registry)  # another command may have concluded some since they were read
        for view, found in zip(views, seen, strict=True):
            known = (view.row.fingerprint, view.row.attempt)
            if (known in live or view in concluded) and not isinstance(found, str):
                _keep(registry, view, found)
    for run, row in _returned(workspace, registry):
        fold_in(workspace, registry, run, row)
    whole = [(view, found) for view, found in zip(views, seen, strict=True) if not isinstance(found, str)]
    brake(workspace, registry, whole)
    unknown = [
        f"{view.folder.run.path.name} attempt {view.row.attempt}: {doubt}"
        for view, found in zip(views, seen, strict=True)
        if found and (doubt := found if isinstance(found, str) else found.unknown)
    ]
    return unknown + hooks.run_due(workspace, registry)


def ingest_unknown(workspace: Workspace, registry: Registry, runs: Iterable[Run]) -> None:
    """Take in run folders the registry does not know, whole or in part.

    (It was deleted, an older one was put in its place, or the folder was copied here.)
    """
    strangers = []
    for run in runs:
        folder = RunFolder(run.folder)
        if not (run.folder / "spec.json").exists():
            continue
        numbers = {row.attempt for row in registry.attempts(run.fingerprint)}
        if registry.run(run.fingerprint) is None or any(a.number not in numbers for a in folder.attempts()):
            strangers.append(folder)
    attempts = [attempt for folder in strangers for attempt in folder.attempts()]
    facts = ask(workspace, [AttemptView(attempt, row_of(attempt)) for attempt in attempts])
    for folder in strangers:
        ingest(workspace, registry, folder, facts)


def ask_one(workspace: Workspace, run: RunFolder, row: AttemptRow) -> dict[Path, Sequence[ShardStatus]]:
    """What executors say of one attempt, for `fold_in` within a transaction."""
    return ask(workspace, [AttemptView(run.attempt(row.attempt), row)])


def ingest(
    workspace: Workspace, registry: Registry, folder: RunFolder, facts: Mapping[Path, Sequence[ShardStatus]]
) -> None:
    """One run with all its attempts, from its folder and what executors say of them."""
    run = run_of(folder)
    with registry.transaction():
        registry.add_run(run_row(workspace, run, folder.spec["created"]))
        for role, digest in run.inputs.items():
            registry.add_input(run.fingerprint, role, digest)
        for attempt in folder.attempts():
            plan = attempt.plan
            registry.add_run(run_row(workspace, replace(run, labels=plan["labels"]), folder.spec["created"]))
            registry.put_submission(
                SubmissionRow(
                    plan["submission"], plan["executor"], f"smx-{plan['submission']}", created=plan["submitted"]
                )
            )
            row = row_of(attempt)
            registry.put_attempt(row)
            fold_in(workspace, registry, folder, row, facts)
        if not folder.attempts():
            registry.update_run(run.fingerprint, **run_changes(folder, []))


def fold_in(
    workspace: Workspace,
    registry: Registry,
    run: RunFolder,
    row: AttemptRow,
    facts: Mapping[Path, Sequence[ShardStatus]] | None = None,
) -> None:
    """One attempt's shards into its state, its run's state and scores.

    `facts`: what the executors say of each attempt's shards, where they were asked already.
    """
    view = AttemptView(run.attempt(row.attempt), row, others=tuple(registry.attempts(row.fingerprint)))
    observation = observe(view, (ask(workspace, [view]) if facts is None else facts).get(view.folder.path))
    with registry.transaction():
        _keep(registry, view, observation)


def run_of(folder: RunFolder) -> Run:
    """A run as its folder remembers it; its items are those any attempt was given."""
    record = folder.spec
    attempts = folder.attempts()
    spec = carried_out(recorded(record), attempts[-1].plan.get("training", {}) if attempts else {})
    items = {i["id"]: i for a in attempts for shard in a.plan["shards"] for i in shard}
    return Run(
        spec=spec,
        fingerprint=record["fingerprint"],
        name=record["name"],
        folder=folder.path,
        items=tuple(Item(**i) for i in items.values()),
        plugins=record["plugins"],
        inputs=record["inputs"],
        paths=attempts[-1].plan["paths"] if attempts else {},
        labels=attempts[-1].plan["labels"] if attempts else {},
        needs=tuple(attempts[-1].plan["needs"]) if attempts else (),
    )


def _given_up(workspace: Workspace, registry: Registry, executors: Collection[str] | None) -> list[AttemptView]:
    """Last attempts of unfinished runs that a scheduler may have gone on with: lost ones, and those with a late sign.

    A job that nobody knew of for a while may be there all the same, and one that failed may be started again by hand.
    """
    since = (datetime.now(UTC) - timedelta(days=_REMEMBERED)).isoformat()
    found = []
    for of in given_up(registry, since):
        attempt = RunFolder(workspace.runs / of.folder).attempt(of.attempt)
        if executors is not None and of.executor not in executors:
            continue
        with contextlib.suppress(*DAMAGE):  # nobody is at it
            unheard = of.state == AttemptState.lost and not any(fact.record for fact in kept_facts(attempt) or ())
            if (unheard or heard_since(attempt, of.shards, of.ended)) and attempt.planned:
                attempts = registry.attempts(of.fingerprint)
                found.append(AttemptView(attempt, attempts[-1], registry.shards(of.fingerprint, of.attempt), attempts))
    return found


def _goes_on(view: AttemptView, facts: Sequence[ShardStatus] | None) -> bool:
    """Whether anything new was heard of an attempt that was concluded; what its scheduler said then is forgotten."""
    silent = (SchedulerState.absent, SchedulerState.unknown)
    heard = heard_since(view.folder, len(view.known), view.row.ended or "")
    if not heard and all(fact.state in silent for fact in facts or ()):
        return False
    forget_facts(view.folder)
    return True


def _observe(view: AttemptView, facts: Sequence[ShardStatus] | None) -> Observation | str | None:
    """What is to be said of an attempt, or what stands in the way of looking at it: the others are looked at."""
    try:
        if not view.gone:
            return observe(view, facts)
    except DAMAGE as error:
        if no_space(error):
            raise
        return in_words(error)
    title = view.folder.run.path.name
    return without_folder(view, facts) or f"its folder is gone, and its job is not: smx cancel {title} stops it"


def _observed(
    views: Sequence[AttemptView], facts: Mapping[Path, Sequence[ShardStatus]]
) -> list[Observation | str | None]:
    """One of each view. Those that have ended write what the scheduler says of them, and wait for the disk together."""
    return on_disk_together(lambda view: _observe(view, facts.get(view.folder.path)), views)


def _live(workspace: Workspace, registry: Registry, executors: Collection[str] | None) -> list[AttemptView]:
    """Every live attempt, or those of these executors."""
    rows = [row for row in registry.attempts(live=True) if executors is None or row.executor in executors]
    folders = live_folders(registry)
    shards: dict[tuple[str, int], list[ShardRow]] = {}
    for shard in registry.live_shards():
        shards.setdefault((shard.fingerprint, shard.attempt), []).append(shard)
    return [
        AttemptView(
            RunFolder(workspace.runs / folders[row.fingerprint]).attempt(row.attempt),
            row,
            shards.get((row.fingerprint, row.attempt), ()),
            registry.attempts(row.fingerprint) if row.attempt > 1 else (),
        )
        for row in rows
    ]


def _returned(workspace: Workspace, registry: Registry) -> list[tuple[RunFolder, AttemptRow]]:
    """Attempts called lost, of which a shard went on all the same and has ended by its own word since."""
    back = {}
    for fingerprint, attempt, shard, folder in lost_shards(registry):
        run = RunFolder(workspace.runs / folder)
        if run.attempt(attempt).shard(shard).exit() is not None:
            back[fingerprint, attempt] = run
    return [(run, row) for (of, number), run in back.items() for row in registry.attempts(of) if row.attempt == number]


def _keep(registry: Registry, view: AttemptView, observation: Observation | None) -> None:
    """Write what has changed. In the caller's transaction."""
    row = view.row
    if observation is None:  # reserved, and the launcher is not done writing it, or died before
        if is_alive(dict(row.provenance["submitter"])) is False and not view.planned:
            registry.release(row.fingerprint, row.attempt)
        return
    changes = {name: value for name, value in observation.attempt.items() if getattr(row, name) != value}
    before = dict(enumerate(view.known))
    for shard in observation.shards:
        if before.get(shard.shard) != shard:
            registry.put_shard(shard)
    if changes:
        registry.update_attempt(row.fingerprint, row.attempt, **changes)
    if changes or not before:
        registry.update_run(row.fingerprint, **observation.run)
    if observation.scores is not None:
        registry.replace_scores(row.fingerprint, observation.scores)
