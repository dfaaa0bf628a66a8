"""What a caller hears while runs are started and worked on, and how far an attempt has come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from smx.states import AttemptState, ShardState, attempt_state

if TYPE_CHECKING:
    from smx.control.plan import Decision
    from smx.run import Run
    from smx.runfolder import AttemptFolder


class Listener:
    """Told what happens while it happens; this one tells nobody. The command line prints, a notebook may show."""

    def say(self, line: str) -> None:
        """A line for people: a warning, which stand-in serves for what, who is waited for."""

    def decided(self, decisions: Sequence[Decision]) -> None:
        """What happens to each run and why, before anything is started."""

    def preview(self, text: str) -> None:
        """Of a dry run: what an executor would be handed."""

    def following(self, attempts: Sequence[tuple[Run, AttemptFolder]]) -> AbstractContextManager[object]:
        """Entered while these attempts are worked on or waited for, and left when that is over; see `progress`."""
        return nullcontext()


class Progress(NamedTuple):
    """How far an attempt has come, by its own files."""

    done: int  # items
    failed: int
    total: int
    state: AttemptState


def progress(attempt: AttemptFolder) -> Progress:
    """A look at an attempt's own files: no executor is asked, so it may be taken as often as one likes."""
    if not attempt.planned:
        return Progress(0, 0, 0, AttemptState.waiting)
    shards = attempt.shards()
    ends = [str(end["how"]) for shard in shards if (end := shard.exit())]
    beats = [beat for shard in shards if (beat := shard.heartbeat())]
    if len(ends) < len(shards):
        ends = [ShardState.running if beats else ShardState.waiting]
    done, failed = sum(beat["done"] for beat in beats), sum(beat["failed"] for beat in beats)
    return Progress(done, failed, sum(map(len, attempt.plan["shards"])), attempt_state(ends))


def seconds_left(progress: Progress, took: float, before: int) -> float | None:
    """Seconds until it is done, at the pace of the items that ended in the `took` seconds since it had `before`.

    None where no item has ended since: nothing tells.
    """
    ended = progress.done + progress.failed
    return took / (ended - before) * (progress.total - ended) if ended > before else None
