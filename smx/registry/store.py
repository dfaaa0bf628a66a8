"""The registry: what was run, how each attempt went, what came out. An index over the run folders.

Only commands on the login node open it, in short transactions; a job knows nothing of it. Every method is a
transaction of its own; wrap several in `with registry.transaction():` to make them one (and one fsync).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smx.registry.filters import Filter, Where, of_runs
from smx.registry.lookup import find_run
from smx.registry.rows import (
    AttemptRow,
    CellScore,
    InputRow,
    NoteRow,
    RunRow,
    RunScore,
    ScoreRow,
    ShardRow,
    Stamps,
    SubmissionRow,
)
from smx.registry.scores import cell_scores, run_scores
from smx.registry.spec_columns import spec_columns
from smx.registry.tables import Tables
from smx.runfolder import now
from smx.states import BAD, LIVE, AttemptState, RunState, run_state


class Registry(Tables):
    """One lab's `registry.db`. Use as a context manager, or `close` it."""

    # runs

    def add_run(self, row: RunRow) -> bool:
        """Insert a run; one that is there is kept and only gains labels. True if it is new."""
        with self.transaction():
            known = self.run(row.fingerprint)
            if known is None:
                self._put("insert", row, derived=spec_columns(row.spec))
            else:
                labels = _merged(known.labels, row.labels)
                if labels != known.labels:
                    self.update_run(row.fingerprint, labels=labels)
            return known is None

    def run(self, fingerprint: str) -> RunRow | None:
        """The run with this whole fingerprint."""
        return next(iter(self._rows(RunRow, "runs", "where fingerprint = ?", [fingerprint])), None)

    def find(self, text: str) -> RunRow:
        """The run a person means: fingerprint or the start of it, folder or its name, name, or a job id.

        `UserError` when nothing fits (closest named) or several do (all listed).
        """
        return find_run(self.query, text)

    def runs(
        self,
        *,
        kind: Filter = None,
        variant: Filter = None,
        sampler: Filter = None,
        frames: Filter = None,
        bench: Filter = None,
        dataset: Filter = None,
        state: Filter = None,
        tag: Filter = None,
        since: str | None = None,
        limit: int | None = None,
    ) -> list[RunRow]:
        """Runs that fit every filter given (a value, or several to choose from), newest first.

        `since`: ISO time; runs made, or tried again, at or after it.
        """
        wanted = {"kind": kind, "variant": variant, "sampler": sampler, "frames": frames, "bench": bench}
        where = of_runs({**wanted, "dataset": dataset, "state": state, "tag": tag, "since": since})
        order = "order by created desc, fingerprint" + (f" limit {int(limit)}" if limit is not None else "")
        return self._rows(RunRow, "runs", f"{where.sql} {order}", where.values)

    def stamps(self, submission: str) -> dict[str, Stamps]:
        """When each run of a submission, and its attempt, were entered, by fingerprint."""
        rows = self.query(
            """select fingerprint, runs.created, attempts.created, submissions.created from attempts
               join runs using (fingerprint) join submissions on submissions.id = submission where submission = ?""",
            [submission],
        )
        return {fingerprint: Stamps(*times) for fingerprint, *times in rows}

    def update_run(self, fingerprint: str, **changes: object) -> None:
        """Set columns of a run. `KeyError` when there is no such run."""
        self._update(RunRow, "runs", {"fingerprint": fingerprint}, {"updated": now(), **changes})

    def forget(self, fingerprint: str) -> None:
        """Drop a run, its attempts and scores. Its notes and tags stay, for it may come back."""
        for table in ("scores", "shards", "attempts", "run_inputs", "runs"):
            self.execute(f"delete from {table} where fingerprint = ?", [fingerprint])

    def counts(self) -> dict[tuple[str, str], int]:
        """How many runs there are of each (kind, state)."""
        return {(k, s): n for k, s, n in self.query("select kind, state, count(*) from runs group by kind, state")}

    def benches(self) -> set[str]:
        """Benches of which there is an eval run."""
        return {bench for (bench,) in self.query("select distinct bench from runs where kind = 'eval'") if bench}

    # attempts

    def reserve(
        self,
        wanted: Sequence[tuple[str, int]],
        *,
        submission: str,
        executor: str,
        provenance: Mapping[str, Any],
    ) -> dict[str, int]:
        """Claim the runs among `wanted` (fingerprint, number of items) that nobody is at: fingerprint -> attempt.

        One transaction: whoever comes second finds the first one's attempts and gets none for those runs.
        Each claimed run has a new attempt in state `waiting` that names `submission`, which is written too,
        before any scheduler hears of it. Nothing is written when there is nothing to claim.
        """
        live = f"select fingerprint from attempts where state in {LIVE}"
        with self.transaction():
            busy = {fingerprint for (fingerprint,) in self.query(live)}
            free = {fingerprint: items for fingerprint, items in wanted if fingerprint not in busy}
            if not free:
                return {}
            self.put_submission(SubmissionRow(submission, executor, f"smx-{submission}"))
            newest = self.newest_attempts()
            reserved = {fingerprint: newest[fingerprint] + 1 for fingerprint in free}
            for fingerprint, items in free.items():
                number, state = reserved[fingerprint], AttemptState.waiting
                self._put(
                    "insert",
                    AttemptRow(fingerprint, number, executor, state, items, submission, provenance=provenance),
                )
                self.update_run(fingerprint, state=RunState.waiting)
            return reserved

    def release(self, fingerprint: str, attempt: int) -> bool:
        """Take back a reservation that was never started; False if it is no such thing (any more).

        A submission that is left with nothing, and was never answered, goes too.
        """
        unstarted = f"fingerprint = ? and attempt = ? and state = {AttemptState.waiting!r} and handle is null"
        with self.transaction():
            found = self._rows(AttemptRow, "attempts", f"where {unstarted}", [fingerprint, attempt])
            if not found:
                return False
            self.execute(f"delete from attempts where {unstarted}", [fingerprint, attempt])
            self.execute(
                """delete from submissions where id = ? and job is null and answer is null
                   and not exists (select 1 from attempts where submission = submissions.id)""",
                [found[0].submission],
            )
            self.update_run(fingerprint, state=self._state_without_live(fingerprint))
            return True

    def attempts(
        self, fingerprint: str | None = None, *, live: bool = False, submission: str | None = None
    ) -> list[AttemptRow]:
        """Attempts of one run or submission, or of all, oldest first; `live`: those that may still produce items."""
        where = Where({"fingerprint": fingerprint, "state": LIVE if live else None, "submission": submission})
        return self._rows(AttemptRow, "attempts", f"{where.sql} order by fingerprint, attempt", where.values)

    def newest_attempts(self) -> Counter[str]:
        """Number of each run's newest attempt by fingerprint, 0 for a run without any."""
        return Counter(dict(self.query("select fingerprint, max(attempt) from attempts group by fingerprint")))

    def update_attempt(self, fingerprint: str, attempt: int, **changes: object) -> None:
        """Set columns of an attempt. `KeyError` when there is no such attempt."""
        self._update(AttemptRow, "attempts", {"fingerprint": fingerprint, "attempt": attempt}, changes)

    def put_attempt(self, row: AttemptRow) -> None:
        """Insert an attempt, or replace everything known about it."""
        self._put("upsert", row, key=("fingerprint", "attempt"))

    def set_mark(self, fingerprint: str, attempt: int, mark: str | None) -> None:
        """Mark an attempt `doubtful` or `excluded` (it then counts in no table), or None again."""
        self.update_attempt(fingerprint, attempt, mark=mark)

    def put_submission(self, row: SubmissionRow) -> None:
        """Insert a submission, or replace everything known about it."""
        self._put("upsert", row, key=("id",))

    def submissions(self, id: str | None = None) -> list[SubmissionRow]:
        """One submission, or all, oldest first."""
        where = Where({"id": id})
        return self._rows(SubmissionRow, "submissions", f"{where.sql} order by created, id", where.values)

    def attempts_of(self, submission: str) -> tuple[int, int, int]:
        """How many attempts a submission made, and how many of them are live, and have failed."""
        failed = f"state in {BAD} or (state = {AttemptState.done!r} and failure is not null)"
        counts = f"count(*), count(*) filter (where state in {LIVE}), count(*) filter (where {failed})"
        ((made, live, bad),) = self.query(f"select {counts} from attempts where submission = ?", [submission])
        return made, live, bad

    def put_shard(self, row: ShardRow) -> None:
        """Insert a shard, or replace everything known about it."""
        self._put("upsert", row, key=("fingerprint", "attempt", "shard"))

    def shards(self, fingerprint: str, attempt: int) -> list[ShardRow]:
        """Shards of an attempt, by index."""
        where = "where fingerprint = ? and attempt = ? order by shard"
        return self._rows(ShardRow, "shards", where, [fingerprint, attempt])

    def live_shards(self) -> list[ShardRow]:
        """Shards of every live attempt, by index."""
        live = f"(fingerprint, attempt) in (select fingerprint, attempt from attempts where state in {LIVE})"
        return self._rows(ShardRow, "shards", f"where {live} order by fingerprint, attempt, shard")

    # scores

    def replace_scores(self, fingerprint: str, rows: Iterable[ScoreRow]) -> None:
        """Make `rows` all there is to say about how a run scored."""
        with self.transaction():
            self.execute("delete from scores where fingerprint = ?", [fingerprint])
            for row in rows:
                assert row.fingerprint == fingerprint, "a score of another run"
                self._put("insert", row)

    def scores(
        self,
        *,
        variant: Filter = None,
        sampler: Filter = None,
        frames: Filter = None,
        bench: Filter = None,
        dataset: Filter = None,
        state: Filter = None,
        scorer: Filter = None,
        metric: Filter = None,
        task: Filter = None,
        fingerprint: Filter = None,
        tag: Filter = None,
        since: str | None = None,
        origin: Filter = "run",
    ) -> list[CellScore]:
        """Scores that count, each with its cell. `origin`: "imported" for the lab's past, None for both.

        A run whose only done attempt is excluded has none.
        """
        cell = {"variant": variant, "sampler": sampler, "frames": frames, "dataset": dataset, "state": state}
        number = {"bench": bench, "scorer": scorer, "metric": metric, "task": task}
        runs = {**cell, "fingerprint": fingerprint}
        return cell_scores(self.query, runs, number, tag=tag, since=since, origin=origin)

    def run_scores(self, *, bench: Filter = None, metric: Filter = None) -> list[RunScore]:
        """Scores of runs that count, without their cells: fast enough for a report over every run of a lab."""
        return run_scores(self.query, {"bench": bench, "metric": metric})

    # what belongs to a run

    def add_input(self, fingerprint: str, role: str, input: str) -> None:
        """Record what a run is made from: the fingerprint of another run, or a digest."""
        self._put("insert or ignore", InputRow(fingerprint, role, input))

    def inputs(self, fingerprint: str | None = None, *, input: str | None = None) -> list[InputRow]:
        """What a run is made from, or (with `input`) which runs are made from something."""
        where = Where({"fingerprint": fingerprint, "input": input})
        return self._rows(InputRow, "run_inputs", f"{where.sql} order by fingerprint, role, input", where.values)

    def add_note(self, fingerprint: str, text: str, *, author: str = "", created: str | None = None) -> NoteRow:
        """Keep a note on a run. The same one of the same moment twice is one."""
        note = NoteRow(fingerprint, text, author, created or now())
        self._put("insert or ignore", note)
        return note

    def notes(self, fingerprint: str | None = None) -> list[NoteRow]:
        """Notes on one run, or on all, oldest first."""
        where = Where({"fingerprint": fingerprint})
        return self._rows(NoteRow, "notes", f"{where.sql} order by created, text", where.values)

    def add_tag(self, fingerprint: str, *tags: str) -> None:
        """Tag a run."""
        with self.transaction():
            for tag in tags:
                self.execute("insert or ignore into tags values (?, ?)", [fingerprint, tag])

    def remove_tag(self, fingerprint: str, *tags: str) -> None:
        """Take tags off a run."""
        with self.transaction():
            for tag in tags:
                self.execute("delete from tags where fingerprint = ? and tag = ?", [fingerprint, tag])

    def tags(self, fingerprint: str | None = None) -> list[str]:
        """Tags of one run, or all that are in use, in alphabetical order."""
        where = Where({"fingerprint": fingerprint})
        return [tag for (tag,) in self.query(f"select distinct tag from tags {where.sql} order by tag", where.values)]

    # helpers

    def _state_without_live(self, fingerprint: str) -> str:
        """How a run stands by its other attempts, until the next sync looks at its items."""
        attempts = [a for a in self.attempts(fingerprint) if a.live or not a.excluded]
        row = self.run(fingerprint)
        assert row is not None
        return run_state(
            [a.state for a in attempts],
            items=row.items,
            done=row.done,
            failed=row.failed,
            too_many_failed=bool(attempts) and "items" in (attempts[-1].failure or ()),
        )


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` and `new`; mappings are merged, lists joined without repetition, else the new one holds."""
    merged = dict(old)
    for key, value in new.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            merged[key] = known + [v for v in value if v not in known]
        else:
            merged[key] = value
    return merged
