"""An attempt as its folder and the registry know it, and what a look at it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from smx.errors import UserError
from smx.executors import ShardStatus
from smx.registry.rows import AttemptRow, ScoreRow, ShardRow
from smx.runfolder import AttemptFolder, ShardFolder
from smx.states import SETTLED, AttemptState

# What reading a run folder that somebody damaged ends with: no JSON, other JSON than was written, nobody's to read.
DAMAGE = (UserError, LookupError, TypeError, ValueError, OSError)


def in_words(damage: Exception) -> str:
    """What is wrong with a run folder."""
    plain = damage.message if isinstance(damage, UserError) else ""
    return plain or f"it does not hold what it should ({damage!r})"


@dataclass(frozen=True)
class AttemptView:
    """An attempt as its folder and the registry know it. Files are read where they are needed."""

    folder: AttemptFolder
    row: AttemptRow
    known: Sequence[ShardRow] = ()  # what the registry has of its shards
    others: Sequence[AttemptRow] = ()  # all attempts of the run, where there may be several

    @property
    def planned(self) -> bool:
        return bool(self.known) or self.folder.planned

    @property
    def gone(self) -> bool:
        """Whether somebody deleted its folder."""
        return bool(self.known) and not self.folder.planned

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
class Observation:
    """What is to be written of an attempt, and what stays unknown ("" if nothing)."""

    shards: Sequence[ShardRow]
    attempt: Mapping[str, Any]
    run: Mapping[str, Any]
    scores: Sequence[ScoreRow] | None = None
    unknown: str = ""
    facts: Sequence[ShardStatus] = ()  # one for each of `shards`


def row_of(attempt: AttemptFolder) -> AttemptRow:
    """An attempt's row from its folder alone, before anyone has looked at its shards."""
    plan, handle = attempt.plan, attempt.handle()
    return AttemptRow(
        fingerprint=attempt.run.spec["fingerprint"],
        attempt=attempt.number,
        executor=plan["executor"],
        state=AttemptState.waiting,
        items=sum(map(len, plan["shards"])),
        submission=plan["submission"],
        handle=handle,
        job=(handle or {}).get("job"),
        created=plan["created"],
        provenance={**plan["provenance"], "submitter": plan["submitter"]},
        canary=attempt.is_canary,
    )


def is_over(end: Mapping[str, Any] | None, handle: Mapping[str, Any] | None) -> bool:
    """Whether an exit.json is the last word. A scheduler may start a stopped task again: it is asked first."""
    if end is None:
        return False
    again = handle is not None and handle.get("requeues", False)
    return not again or end["how"] in SETTLED
