"""Say which attempts count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from smx.control.sync import ask_one, fold_in
from smx.errors import UserError
from smx.registry.export import append_mark
from smx.registry.rows import AttemptRow, RunRow, excluded_attempts
from smx.registry.store import Registry
from smx.results.derive import derive
from smx.runfolder import RunFolder
from smx.states import AttemptState
from smx.workspace import Workspace


def mark(
    workspace: Workspace, run: str, as_what: Literal["doubtful", "excluded"] | None, *, attempt: int | None = None
) -> tuple[RunRow, int]:
    """Mark an attempt, or take its mark off (None); the run as it is now, and the attempt's number.

    Doubtful shows as ? in tables; excluded counts in none. Without `attempt`, the one that counts is meant; to take a
    mark off, the one that has one. `UserError` where there is no such run or attempt.
    """
    with Registry.open(workspace.registry, create=False) as registry:
        row = registry.find(run)
        attempts = {a.attempt: a for a in registry.attempts(row.fingerprint)}
        if not attempts:
            raise UserError(f"{row.title} was never tried", f"smx show {row.title}")
        chosen = attempts.get(attempt if attempt is not None else _meant(list(attempts.values()), as_what))
        if chosen is None:
            raise UserError(f"{row.title} has no attempt {attempt}", f"attempts: {', '.join(map(str, attempts))}")
        append_mark(workspace.experiments, row.fingerprint, chosen.attempt, as_what)
        folder = RunFolder(workspace.runs / row.folder)
        # Before the registry is locked: a scheduler may take its time to answer.
        answers = ask_one(workspace, folder, chosen)
        with registry.transaction():
            registry.set_mark(row.fingerprint, chosen.attempt, as_what)
            without = excluded_attempts(registry.attempts(row.fingerprint))
            if folder.outcome(without).done:
                derive(folder, without)  # the items that count are others now, even where they are as many
            fold_in(workspace, registry, folder, replace(chosen, mark=as_what), answers)
        now = registry.run(row.fingerprint)
        assert now is not None
        return now, chosen.attempt


def _meant(attempts: Sequence[AttemptRow], as_what: str | None) -> int:
    """The attempt meant when none is named."""
    if as_what is None:
        fitting = [a for a in attempts if a.mark]
    else:
        fitting = [a for a in attempts if a.state == AttemptState.done and not a.excluded]
    return (fitting or list(attempts))[-1].attempt
