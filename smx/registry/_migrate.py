"""Applies pending migrations, by sqlite-utils. Apart, because only a registry of an older smx needs it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from smx.registry.migrations import MIGRATIONS
from smx.registry.schema import SET, applied, note_down, run, table_names


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, all steps in one transaction: whatever interrupts it, the file is as it was.

    What an earlier smx noted in a table of its own is taken over.
    """
    db = Database(connection, recursive_triggers=False, execute_plugins=False)
    steps = Migrations(SET)
    for name, script in MIGRATIONS:
        steps(name=name)(_step(script))
    connection.execute("begin immediate")  # sqlite-utils' own is deferred: two processes could take the same step
    try:
        note_down(connection, applied(connection, table_names(connection)))
        steps.apply(db)
        connection.execute("commit")
    except BaseException:
        connection.rollback()
        raise


def _step(script: str) -> Callable[[Database], None]:
    def step(db: Database) -> None:
        run(db.conn, script)

    return step
