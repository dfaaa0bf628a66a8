"""Which runs are needed, and why the others are not."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from smx import sampleset
from smx.control.attempt_view import DAMAGE, in_words
from smx.control.code_changes import before
from smx.control.sync import run_of
from smx.errors import UserError, no_space
from smx.failures import clipped
from smx.registry.rows import excluded_attempts
from smx.registry.store import Registry
from smx.run import Item, Run
from smx.runfolder import Outcome, RunFolder
from smx.states import RunState

_LONGEST = 80  # characters of a reason


@dataclass(frozen=True)
class Decision:
    """What to do with a run, and why."""

    run: Run
    action: str  # "run", "skip" (nothing to do), "wait" (someone else is at it) or "damaged" (nobody can tell)
    reason: str
    items: tuple[Item, ...] = ()  # what is left to do, for action "run"
    tried: int = 0  # number of the newest attempt this decision knows of, for action "run"
    asked: bool = True  # False: it only serves one that was asked for
    changed: bool = False  # it ran with other code of a plugin, and is made anew


def decide(
    runs: Sequence[Run], registry: Registry, *, asked: set[str], retry: bool, keep: bool = False
) -> list[Decision]:
    """A decision per run, in order. Expects `registry` synced.

    `asked`: fingerprints the user named; the others only serve them. `retry`: also do items again that
    failed in a run that is done. `keep`: a run that is done serves, though a plugin was edited since.
    """
    kept = _kept_before(runs, registry, asked) if keep else {}
    serving = {need for run in runs if run.fingerprint not in kept for need in run.needs} | asked
    decisions = []
    for run in runs:
        is_asked = run.fingerprint in asked
        if decision := kept.get(run.fingerprint):
            decisions.append(decision)
        elif not kept or run.fingerprint in serving:  # what only served runs that are kept is not made
            decisions.append(replace(_decided(run, registry, is_asked, retry), asked=is_asked))
    return _without_damaged(decisions)


def _decided(run: Run, registry: Registry, asked: bool, retry: bool) -> Decision:
    """One run's own damage is its own failure: the others go on."""
    try:
        return _decide(run, registry, asked, retry)
    except DAMAGE as error:
        if no_space(error):
            raise
        hint = f": {error.hint}" if isinstance(error, UserError) else ""
        return Decision(run, "damaged", in_words(error) + hint)


def _without_damaged(decisions: Sequence[Decision]) -> list[Decision]:
    """Nothing begins that needs a run whose folder is damaged: it would do with half of what there should be."""
    damaged = {d.run.fingerprint: d.run.title for d in decisions if d.action == "damaged"}
    found = []
    for decision in decisions:
        needed = [damaged[need] for need in decision.run.needs if need in damaged]
        if needed and decision.action == "run":
            damaged[decision.run.fingerprint] = decision.run.title
            decision = replace(decision, action="damaged", reason=f"it needs {needed[0]}", items=())
        found.append(decision)
    return found


def _kept_before(runs: Sequence[Run], registry: Registry, asked: set[str]) -> dict[str, Decision]:
    """Fingerprint -> the run that serves in its place: done, with the code that a plugin had before it was edited."""
    kept = {}
    for run in runs:
        if run.fingerprint not in asked or registry.run(run.fingerprint) is not None:
            continue
        if old := next((each for each in before(run, registry) if each.row.state == RunState.done), None):
            reason = f"kept: done before {old.change}"
            kept[run.fingerprint] = Decision(run_of(old.folder), "skip", reason)
    return kept


def _decide(run: Run, registry: Registry, asked: bool, retry: bool) -> Decision:
    attempts = registry.attempts(run.fingerprint)
    tried = attempts[-1].attempt if attempts else 0
    if live := [a for a in attempts if a.live]:
        job = f" job {live[-1].job}" if live[-1].job else ""
        reason = f"in flight: attempt {live[-1].attempt} ({live[-1].state}, {live[-1].executor}{job})"
        return Decision(run, "wait", reason)
    excluded = excluded_attempts(attempts)
    outcome = RunFolder(run.folder).outcome(excluded)
    done = outcome.done.keys()
    todo = tuple(item for item in run.items if not _kept(run, item, done))
    if not todo:
        return Decision(run, "skip", f"done, {len(run.items)}/{len(run.items)} items")
    row = registry.run(run.fingerprint)
    # What only serves another run is not tried again by itself: the other one does with what there is.
    settled = row is not None and (
        row.state == RunState.done or (row.state == RunState.failed and not asked and bool(done))
    )
    if excluded and not done:
        number = ", ".join(map(str, sorted(excluded)))
        return Decision(
            run, "run", f"attempt {number} is excluded: {len(todo)} of {len(run.items)} items left", todo, tried
        )
    if settled and not retry:
        gone = tuple(item for item in todo if item.id not in outcome.failed)
        if not gone:
            n = len(run.items)
            return Decision(run, "skip", f"done, {n - len(todo)}/{n} items; --retry tries the {len(todo)} failed again")
        because = _damage(outcome, gone) or f"{len(gone)} of its outputs are gone, damaged or of other data"
        return Decision(run, "run", f"done before, but {because}", gone, tried)
    if row is None and (old := next(before(run, registry), None)):
        return Decision(run, "run", f"{old.change} since it ran", todo, tried, changed=True)
    if row is None or not attempts:
        return Decision(run, "run", RunState.new, todo, tried)
    because = f" ({failure['kind']}: {clipped(failure['line'], _LONGEST)})" if (failure := attempts[-1].failure) else ""
    left = f"{len(todo)} of {len(run.items)} items left"
    if damage := _damage(outcome, todo):
        left += f", as {damage}"
    return Decision(run, "run", f"{row.state} before{because}: {left}", todo, tried)


def _damage(outcome: Outcome, todo: Sequence[Item]) -> str:
    """The damaged records that items to do may have had, in words: their items are done again. "" without any."""
    missing = any(item.id not in outcome.failed and item.id not in outcome.done for item in todo)
    if not missing or not outcome.damage:
        return ""
    more = f" and {len(outcome.damage) - 1} more" if len(outcome.damage) > 1 else ""
    return f"{outcome.damage[0]}{more}: done again"


def _kept(run: Run, item: Item, done: Container[str]) -> bool:
    """Whether an item's result is recorded and still there, whole (samples are deleted and damaged by hand)."""
    if item.id not in done:
        return False
    return run.kind != "gen" or sampleset.is_kept(run.sample_folder(item), item.data)
