"""Rows of the registry's tables as dataclasses, in and out, in transactions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from smx.registry.connection import Connection
from smx.registry.rows import (
    AttemptRow,
    InputRow,
    NoteRow,
    Row,
    RunRow,
    ScoreRow,
    ShardRow,
    SubmissionRow,
    columns,
    from_sql,
    to_sql,
)

_TABLES: dict[type[Any], str] = {
    RunRow: "runs",
    SubmissionRow: "submissions",
    AttemptRow: "attempts",
    ShardRow: "shards",
    ScoreRow: "scores",
    InputRow: "run_inputs",
    NoteRow: "notes",
}


class Tables:
    """The tables behind one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """The registry at `path`, its schema brought up to date; made if absent and `create`.

        `UserError` for a file from a newer smx, a file that is no registry, a missing or unwritable folder.
        A read-only disk is no hindrance to reading.
        """
        return cls(Connection(path, create=create))

    @property
    def path(self) -> Path:
        """Its file."""
        return self._connection.path

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """All or nothing, holding the write lock from the start."""
        return self._connection.transaction()

    def query(self, sql: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of any select statement, as tuples."""
        return self._connection.query(sql, values)

    def size(self, table: str) -> int:
        """How many rows a table has."""
        ((rows,),) = self.query(f"select count(*) from {table}")
        return int(rows)

    def upsert_all(self, table: str, rows: Sequence[dict[str, Any]], key: str | tuple[str, ...]) -> None:
        """Insert many rows, or replace what is known under their key."""
        with self.transaction():
            self._connection.upsert_all(table, rows, key)

    def execute(self, sql: str, values: Iterable[object] = ()) -> int:
        """Run any other statement; returns how many rows it touched."""
        with self.transaction():
            return self._connection.execute(sql, values)

    def _rows(self, cls: type[Row], table: str, rest: str, values: Sequence[object] = ()) -> list[Row]:
        found = self.query(f"select {', '.join(columns(cls))} from {table} {rest}", values)
        return from_sql(cls, found)

    def _put(
        self, verb: str, row: Any, key: tuple[str, ...] = (), derived: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """Insert or upsert a row; columns that are `derived` from others hold that, whatever the row says of them."""
        names = columns(type(row))
        sql = f"{'insert' if verb == 'upsert' else verb} into {_TABLES[type(row)]} ({', '.join(names)})"
        sql += f" values ({', '.join('?' * len(names))})"
        if verb == "upsert":
            # Not `insert or replace`: that deletes the row first, which its children forbid.
            rest = ", ".join(f"{n} = excluded.{n}" for n in names if n not in key)
            sql += f" on conflict ({', '.join(key)}) do update set {rest}"
        values = (derived[name] if name in derived else getattr(row, name) for name in names)
        self.execute(sql, map(to_sql, names, values))

    def _update(self, cls: type[Any], table: str, key: Mapping[str, object], changes: Mapping[str, object]) -> None:
        assert changes.keys() <= set(columns(cls)), f"{table} has no {sorted(changes.keys() - set(columns(cls)))}"
        if not changes:
            return
        assigned = ", ".join(f"{name} = ?" for name in changes)
        where = " and ".join(f"{name} = ?" for name in key)
        values = [*(to_sql(n, v) for n, v in changes.items()), *key.values()]
        if not self.execute(f"update {table} set {assigned} where {where}", values):
            raise KeyError(f"no row of {table} with {dict(key)}")
