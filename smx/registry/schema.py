"""Which migrations a registry's file lacks, and how it gets them.

A new file gets them all at once, in plain sqlite3. Those that an older file lacks are applied by sqlite-utils
(`smx.registry._migrate`), in whose own table they are noted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from smx.errors import UserError
from smx.registry.migrations import MIGRATIONS
from smx.registry.spec_columns import spec_columns
from smx.runfolder import now

SET = "smx"  # what ours are called in sqlite-utils' table of migrations
TABLE = "_sqlite_migrations"
_TABLE_AS_SQLITE_UTILS_HAS_IT = f"""
create table {TABLE} (id integer primary key, migration_set text, name text, applied_at text);
create unique index idx_{TABLE}_migration_set_name on {TABLE} (migration_set, name);
"""


def pending(db: sqlite3.Connection, path: Path) -> list[str]:
    """Names of migrations that `db` lacks. Every command asks, so nothing is imported for it.

    `UserError` for a file that is not ours, or ours from a newer smx.
    """
    names = applied(db, tables := table_names(db)).keys()
    if tables and not names:
        raise UserError(
            f"{path} is an SQLite file, but no smx registry (it holds {', '.join(sorted(tables)[:3])})",
            "choose another folder with --workspace, or move that file away",
        )
    newer = sorted(names - {name for name, _ in MIGRATIONS})
    if newer:
        raise UserError(
            f"{path} was written by a newer smx (it has {newer[-1]})",
            "update smx here (pip install -U smx), or use another workspace with --workspace",
        )
    return [name for name, _ in MIGRATIONS if name not in names]


def make(db: sqlite3.Connection) -> None:
    """The whole schema in an empty file. sqlite-utils could do it, but it imports pandas, and nobody waits for that."""
    db.execute("begin immediate")
    note_down(db, {})
    for name, script in MIGRATIONS:
        run(db, script)
        db.execute(f"insert into {TABLE} (migration_set, name, applied_at) values (?, ?, ?)", [SET, name, now()])
    db.execute("commit")


def run(db: sqlite3.Connection, script: str) -> None:
    """The statements of a migration, in the transaction that is open (sqlite3's own executescript would commit it)."""
    db.create_function("spec_column", 2, lambda spec, column: spec_columns(spec)[column])
    for statement in _statements(script):
        db.execute(statement)


def note_down(db: sqlite3.Connection, names: dict[str, str]) -> None:
    """The table in which migrations are noted, with these (and when they were applied) if it is made here."""
    if TABLE not in table_names(db):
        run(db, _TABLE_AS_SQLITE_UTILS_HAS_IT)
    if not db.execute(f"select 1 from {TABLE} where migration_set = ?", [SET]).fetchone():
        rows = [(SET, name, moment) for name, moment in names.items()]
        db.executemany(f"insert into {TABLE} (migration_set, name, applied_at) values (?, ?, ?)", rows)


def applied(db: sqlite3.Connection, tables: set[str]) -> dict[str, str]:
    """Migrations that `db`, which has these tables, went through, and when. Before 0006 smx kept them itself."""
    names: dict[str, str] = {}
    if TABLE in tables:
        names = dict(db.execute(f"select name, applied_at from {TABLE} where migration_set = ?", [SET]))
    if not names and "migrations" in tables:
        names = dict(db.execute("select name, applied from migrations"))
    return names


def table_names(db: sqlite3.Connection) -> set[str]:
    """All tables of a file."""
    return {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}


def _statements(script: str) -> Iterator[str]:
    """Each ends its line."""
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""
    assert not gathered.strip(), f"unfinished statement: {gathered.strip()[:80]}"
