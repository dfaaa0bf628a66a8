"""One connection to the registry's file: opening, migrating, short transactions, errors in plain words.

Rollback journal (WAL is unsafe on network filesystems), foreign keys on, writers queue up to 30 s. Opening
a file whose schema is current writes nothing, so it works on a read-only disk and leaves git clean.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from smx.atomic_io import sync_folder
from smx.errors import UserError, no_space
from smx.registry.schema import make, pending

BUSY_SECONDS = 30.0


class Damaged(UserError):
    """The file is no SQLite database, or parts of it cannot be read. `smx db rebuild` is the way out."""


class Connection:
    """A migrated connection to one file. Not shared between threads."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self._depth = 0
        self._connect(create=create)

    def close(self) -> None:
        """Give the file back. Twice is fine."""
        self._db.close()

    def query(self, sql: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement that only reads. A damaged page is met here, not while rows are used."""
        try:
            return self._db.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise explained(error, self.path) from error

    def execute(self, sql: str, values: Iterable[object] = ()) -> int:
        """Run one statement inside a transaction; returns how many rows it touched."""
        try:
            return self._db.execute(sql, tuple(values)).rowcount
        except sqlite3.Error as error:
            raise explained(error, self.path) from error

    def upsert_all(self, table: str, rows: Sequence[dict[str, Any]], key: str | tuple[str, ...]) -> None:
        """Insert many rows, or replace what is known under their key, by sqlite-utils; inside a transaction."""
        assert self._depth, "its own would be deferred, and each batch one of its own"
        if rows:
            from sqlite_utils import Database

            db = Database(self._db, recursive_triggers=False, execute_plugins=False)
            try:
                db.table(table).upsert_all(rows, pk=key)
            except sqlite3.Error as error:
                raise explained(error, self.path) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens, or nothing does. The write lock is taken first; nesting joins the outer one."""
        if self._depth == 0:
            self._begin()
        self._depth += 1
        try:
            yield
        except BaseException:
            if self._depth == 1:
                self._db.rollback()
            raise
        else:
            if self._depth == 1:
                self._commit()
        finally:
            self._depth -= 1

    def _connect(self, *, create: bool) -> None:
        _check_place(self.path, create)
        if create and not self.path.exists():
            _make(self.path)
        try:
            self._db = _connected(self.path)
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        try:
            self._db.execute("pragma foreign_keys = on")
            # Only a file that someone else turned to WAL is turned back: setting it always would lock.
            if self._db.execute("pragma journal_mode").fetchone()[0] != "delete":
                self._db.execute("pragma journal_mode = delete")
            if pending(self._db, self.path):
                from smx.registry._migrate import migrate

                migrate(self._db)
            self._file = _identity(self.path)
        except sqlite3.Error as error:
            self._db.close()
            raise explained(error, self.path) from error
        except BaseException:
            self._db.close()
            raise

    def _begin(self) -> None:
        """Take the write lock, on the file that is at `path` now (`smx db rebuild` puts another one there)."""
        while True:
            self.execute("begin immediate")
            if _identity(self.path) == self._file:
                return
            self._db.rollback()
            self._db.close()
            self._connect(create=False)

    def _commit(self) -> None:
        try:
            self._db.execute("commit")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.rollback()
            raise explained(error, self.path) from error


def explained(error: sqlite3.Error, path: Path) -> Exception:
    """What a user can put right about `error`; a bug in our SQL stays as it is."""
    text = str(error)
    if "readonly" in text or "read-only" in text:
        return UserError(f"cannot write to {path}: it, or its folder, is read-only", "mend its rights, or --workspace")
    if "locked" in text or "busy" in text:
        return UserError(
            f"{path} has been busy for {BUSY_SECONDS:.0f} s: another program is writing to it",
            f"try again; `fuser {path}` shows who has it open",
        )
    if "not a database" in text or "malformed" in text or "disk image" in text:
        return Damaged(
            f"{path} is damaged or no SQLite file ({text})",
            "smx db rebuild makes it again from the run folders (the old file is kept as .bak)",
        )
    if "full" in text or "I/O" in text:
        return UserError(f"cannot write to {path}: {text}", "free some space there; nothing was changed")
    if "unable to open" in text:
        return UserError(f"cannot open {path}", "check that the folder exists and may be read and written")
    return error


def _connected(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _make(path: Path) -> None:
    """A registry without content at `path`, whole or not at all: an empty file is always damage."""
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.made")
    try:
        new.touch()  # by SQLite's own hand it could never be the group's to write, whatever the umask
        with contextlib.closing(_connected(new)) as db:
            make(db)
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(new, path)
        sync_folder(path.parent)
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except OSError as error:
        if no_space(error):
            raise
        hint = "choose another folder with --workspace, or mend its rights"
        raise UserError(f"cannot write to {path.parent}: {error.strerror}", hint) from None
    finally:
        for leftover in (new, new.with_name(f"{new.name}-journal")):
            leftover.unlink(missing_ok=True)


def _check_place(path: Path, create: bool) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a registry", "move it away, or choose another folder: --workspace")
    if path.exists():
        if not os.access(path, os.R_OK):
            raise UserError(f"cannot read {path}", "mend its rights, or choose another folder with --workspace")
        if path.stat().st_size == 0:
            raise Damaged(
                f"{path} is empty (0 bytes), as an interrupted copy or a full disk leaves it",
                "smx db rebuild makes it again from the run folders",
            )
        return
    if not create:
        raise UserError(f"there is no registry at {path}", "smx init makes a workspace; smx db rebuild makes it again")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for the registry", f"smx init {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {path.parent}", "choose another folder with --workspace, or mend its rights")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
