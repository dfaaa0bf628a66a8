"""How things stand, in a few queries whatever the size of the registry: counts, live attempts, equal failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from smx.failures import FailureGroup
from smx.registry.filters import of_runs
from smx.registry.store import Registry
from smx.slurm.limits import hosts
from smx.states import LIVE, UNFINISHED, AttemptState, RunState, ShardState

HELD = "held: "  # how the reason of an attempt begins that smx itself held, because others failed
BAD_DAYS = 14  # a node's failures are remembered for so long


@dataclass(frozen=True, slots=True)
class BadNode:
    """A node that attempts failed on because of it."""

    name: str
    failures: int
    last: str  # ISO time


@dataclass(frozen=True, slots=True)
class LiveRow:
    """An attempt that may still produce items, with its run."""

    fingerprint: str
    folder: str  # kind/name-digits
    attempt: int
    executor: str
    job: str | None
    state: str
    items: int
    done: int
    failed: int
    created: str
    started: str | None
    reason: str | None
    unknown_since: str | None
    shards: int
    hosts: str | None  # separated by commas
    seen: str | None  # latest heartbeat

    @property
    def kind(self) -> str:
        """gen, train or eval."""
        return self.folder.split("/", 1)[0]

    @property
    def name(self) -> str:
        """How people see the run."""
        return self.folder.split("/", 1)[1]


def counts(registry: Registry, filters: dict[str, Any]) -> dict[tuple[str, str], int]:
    """How many runs there are of each (kind, state)."""
    where = of_runs(filters)
    sql = f"select kind, state, count(*) from runs {where.sql} group by kind, state"
    return {(kind, state): n for kind, state, n in registry.query(sql, where.values)}


def live(registry: Registry, filters: dict[str, Any]) -> list[LiveRow]:
    """Live attempts, the oldest first."""
    where = of_runs(filters)
    shards = "from shards s where s.fingerprint = a.fingerprint and s.attempt = a.attempt"
    sql = f"""
        select a.fingerprint, r.folder, a.attempt, a.executor, a.job, a.state, a.items, a.done, a.failed, a.created,
               a.started, a.reason, a.unknown_since, (select count(*) {shards}),
               (select group_concat(distinct host) {shards}), (select max(heartbeat) {shards})
        from attempts a join runs r on r.fingerprint = a.fingerprint
        where a.state in {LIVE} and r.fingerprint in (select fingerprint from runs {where.sql})
        order by a.created, a.fingerprint"""
    return [LiveRow(*row) for row in registry.query(sql, where.values)]


def live_attempts(registry: Registry) -> set[tuple[str, int]]:
    """(fingerprint, number) of every live attempt: read under the write lock, so nothing more than that."""
    return set(registry.query(f"select fingerprint, attempt from attempts where state in {LIVE}"))


def live_folders(registry: Registry) -> dict[str, str]:
    """Fingerprint -> folder of every run with a live attempt."""
    of_live = f"fingerprint in (select fingerprint from attempts where state in {LIVE})"
    return dict(registry.query(f"select fingerprint, folder from runs where {of_live}"))


def lost_shards(registry: Registry) -> list[tuple[str, int, int, str]]:
    """(fingerprint, attempt, shard, the run's folder) of every shard that is called lost."""
    columns = "shards.fingerprint, shards.attempt, shard, folder"
    lost = f"shards.state = {ShardState.lost!r}"
    rows = registry.query(f"select {columns} from shards join runs using (fingerprint) where {lost}")
    return [(fingerprint, attempt, shard, folder) for fingerprint, attempt, shard, folder in rows]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The last attempt of a run that it left unfinished; its scheduler may start a job of it again."""

    fingerprint: str
    attempt: int
    state: str
    executor: str
    ended: str
    folder: str  # kind/name-digits
    shards: int


def given_up(registry: Registry, since: str) -> list[GivenUp]:
    """Those that ended, or gave their last sign, after `since` (ISO time)."""
    sql = f"""
        select a.fingerprint, a.attempt, a.state, a.executor, a.ended, r.folder,
               (select count(*) from shards s where s.fingerprint = a.fingerprint and s.attempt = a.attempt)
        from attempts a join runs r on r.fingerprint = a.fingerprint
        where r.state in {UNFINISHED} and a.state not in {(AttemptState.done, *LIVE)} and a.ended > ?
          and json_extract(a.handle, '$.requeues')
          and a.attempt = (select max(attempt) from attempts b where b.fingerprint = a.fingerprint)"""
    return [GivenUp(*row) for row in registry.query(sql, [since])]


def failures(registry: Registry, filters: dict[str, Any]) -> list[FailureGroup]:
    """How the latest attempts of runs that did not end well failed, equal ones together, the most frequent first."""
    where = of_runs(filters)
    where.add(f"state not in {(RunState.new, RunState.done, *LIVE)}", [])
    sql = f"""
        select count(*), kind, line, coalesce(place, ''), group_concat(distinct node), max(folder), key
        from (select r.folder, json_extract(a.failure, '$.group') as key, json_extract(a.failure, '$.kind') as kind,
                     json_extract(a.failure, '$.line') as line, json_extract(a.failure, '$.where') as place,
                     nullif(json_extract(a.failure, '$.node'), '') as node
              from (select fingerprint, folder from runs {where.sql}) r
              join attempts a on a.fingerprint = r.fingerprint
              where a.failure is not null and a.attempt = (
                  select max(attempt) from attempts b where b.fingerprint = r.fingerprint))
        group by key order by 1 desc, key"""
    return [
        FailureGroup(count, kind, line, place, nodes.split(",") if nodes else [], [folder.split("/", 1)[1]], key or "")
        for count, kind, line, place, nodes, folder, key in registry.query(sql, where.values)
    ]


def alike(registry: Registry, key: str, besides: str) -> list[str]:
    """Names of the other runs whose latest attempt failed in the same way, newest first."""
    sql = """
        select r.folder from runs r join attempts a on a.fingerprint = r.fingerprint
        where json_extract(a.failure, '$.group') = ? and r.fingerprint <> ?
          and a.attempt = (select max(attempt) from attempts b where b.fingerprint = r.fingerprint)
        order by r.created desc"""
    return [folder.split("/", 1)[1] for (folder,) in registry.query(sql, [key, besides])]


def bad_nodes(registry: Registry, days: int = BAD_DAYS) -> list[BadNode]:
    """Nodes that attempts failed on because of the node in these last days, the worst first.

    A job on several nodes does not tell which of them it was.
    """
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()[:19]
    sql = """
        select json_extract(failure, '$.node') as node, count(*), max(ended) from attempts
        where failure is not null and ended >= ? and json_extract(failure, '$.kind') = 'node-fail'
        group by node order by 2 desc, node"""
    found = [BadNode(node, failures, last) for node, failures, last in registry.query(sql, [since]) if node]
    return [bad for bad in found if hosts(bad.name) == [bad.name]]


def incomplete(registry: Registry, filters: dict[str, Any]) -> tuple[int, int]:
    """(runs that are done but for some failed items, those items)."""
    where = of_runs(filters)
    where.add(f"state = {RunState.done!r} and failed > 0", [])
    ((runs, items),) = registry.query(f"select count(*), coalesce(sum(failed), 0) from runs {where.sql}", where.values)
    return runs, items
