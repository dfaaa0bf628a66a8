"""Every word for how things stand, a level each, in the order that counts when several are one.

A scheduler speaks of a shard (`SchedulerState`); with the shard's own records that is its state (`ShardState`);
shards make their attempt's (`attempt_state`), attempts and their items the run's (`run_state`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum


class _State(StrEnum):
    """A word that is printed, compared, and written into JSON and SQL as plain text."""

    def __repr__(self) -> str:
        return repr(self.value)  # so that a tuple of them, formatted, is a list of SQL


class SchedulerState(_State):
    """What a source says about one shard. `unknown` is an answer too: the source could not be reached."""

    waiting = "waiting"  # accepted, behind a dependency or other tasks
    pending = "pending"  # in a scheduler's queue
    running = "running"
    ended = "ended"  # the process is gone; exit.json says how, and where there is none it is lost
    cancelled = "cancelled"
    absent = "absent"  # the source answered and knows no such shard
    unknown = "unknown"  # the source could not be reached: conclude nothing


class ShardState(_State):
    """One array task. The last five end it; all of them but `lost` are what its exit.json may say."""

    waiting = "waiting"  # behind a dependency, or other tasks of its queue
    pending = "pending"  # in a scheduler's queue, or started and not at work yet
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"  # somebody asked for it, or what it needs did not succeed
    preempted = "preempted"  # its node was wanted for other work
    lost = "lost"  # over without a word


class AttemptState(_State):
    """One try at a run: what its shards are together."""

    waiting = "waiting"
    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"
    preempted = "preempted"
    lost = "lost"


class RunState(_State):
    """One run, by its attempts and items. In the order in which a run goes through them."""

    new = "new"  # never tried, or no attempt at it counts
    waiting = "waiting"
    pending = "pending"
    running = "running"
    done = "done"  # every item has ended, few enough of them badly
    partial = "partial"  # some items are done, and nobody is at the others
    failed = "failed"
    preempted = "preempted"
    cancelled = "cancelled"
    lost = "lost"


# Of shards, attempts and runs alike: as text, which is what rows and files hold.
QUEUED: tuple[str, ...] = (ShardState.waiting, ShardState.pending)  # not begun
LIVE: tuple[str, ...] = (*QUEUED, ShardState.running)  # may still produce items
BAD: tuple[str, ...] = (ShardState.failed, ShardState.lost, ShardState.preempted)  # undone, and nobody asked for that
SETTLED: tuple[str, ...] = (ShardState.done, ShardState.failed)  # by its own word, whatever a scheduler does next
# When shards end differently, the attempt is what its worst shard is.
WORST_FIRST: tuple[str, ...] = (
    *(ShardState.lost, ShardState.failed, ShardState.cancelled, ShardState.preempted, ShardState.done),
)
# Of runs: what is tried again without being named.
UNFINISHED: tuple[str, ...] = (RunState.failed, RunState.partial, RunState.preempted, RunState.lost, RunState.cancelled)


def attempt_state(shards: Collection[str]) -> AttemptState:
    """The attempt's state from those of its shards: live while any is, else its worst."""
    order = (ShardState.running, *QUEUED, *WORST_FIRST)
    return AttemptState(next(state for state in order if state in shards))


def run_state(attempts: Sequence[str], *, items: int | None, done: int, failed: int, too_many_failed: bool) -> RunState:
    """The run's state from its attempts, oldest first (without those that count no more, unless live), and its items.

    `items`: how many it has, None where that is not known; `too_many_failed`: more than its newest attempt allows.
    """
    if live := [state for state in attempts if state in LIVE]:
        return RunState(live[-1])
    if not attempts:
        return RunState.new
    if items is not None and done + failed >= items:
        return RunState.failed if too_many_failed else RunState.done
    return RunState.partial if done else RunState(attempts[-1])
