"""A person's own SQL over the registry: reads, and nothing else."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

from smx.errors import UserError, nearest
from smx.registry.connection import BUSY_SECONDS, explained

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_ONLY_READS = "smx db query only reads"


def select(path: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns, and all rows.

    `UserError` for a statement that does more than read (the file is not touched), several statements, and wrong SQL
    (SQLite's words; the closest table, view or column).
    """
    refused: list[int] = []

    def allowed(action: int, name: str | None, value: str | None, *_: object) -> int:
        if action in _READS or (action == sqlite3.SQLITE_PRAGMA and (value is None or str(name).endswith("_info"))):
            return sqlite3.SQLITE_OK
        refused.append(action)
        return sqlite3.SQLITE_DENY

    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as db:
        names = _names(db)
        db.set_authorizer(allowed)
        try:
            cursor = db.execute(sql)
            if cursor.description is None:
                raise UserError(f"{_ONLY_READS}, and this selects nothing", _hint("", names))
            return [column[0] for column in cursor.description], cursor.fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            if refused:
                raise UserError(f"{_ONLY_READS}, and this would do more", "write one select statement") from None
            if isinstance(error, sqlite3.Error) and isinstance(known := explained(error, path), UserError):
                raise known from None
            raise UserError(f"SQLite says: {error}", _hint(str(error), names)) from None


def _names(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Tables and views with their columns."""
    ours = "type in ('table', 'view') and name not like '\\_%' escape '\\' and name <> 'migrations'"
    tables = db.execute(f"select name from sqlite_master where {ours} order by name").fetchall()
    columns = "select name from pragma_table_xinfo(?)"  # the generated ones too
    return {table: [name for (name,) in db.execute(columns, [table])] for (table,) in tables}


def _hint(problem: str, names: dict[str, list[str]]) -> str:
    if wrong := re.search(r"no such column: (?:.*\.)?(\S+)", problem):
        return nearest(wrong[1], {column for columns in names.values() for column in columns}, "columns")
    wrong = re.search(r"no such table: (?:.*\.)?(\S+)", problem)
    return nearest(wrong[1] if wrong else "", names, "tables and views")
