"""The registry as text, and back: exports, `experiments/notes.jsonl`, and a file built beside the old one.

Run as a program on a registry file it prints the SQL of its content, for `git diff`:

    git config diff.registry.textconv "python -m smx.registry.export"
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smx.atomic_io import sync_folder, write_output
from smx.errors import UserError
from smx.registry.connection import Damaged
from smx.registry.ledger import import_history
from smx.registry.rows import AttemptRow, NoteRow
from smx.registry.schema import SET, TABLE
from smx.registry.store import Registry
from smx.runfolder import now, run_folders

NOTES = "notes.jsonl"


def append_note(experiments: Path, note: NoteRow) -> None:
    """Keep a note as text too, durably, so that a rebuild brings it back."""
    _append(experiments, "note", note.fingerprint, note.created, text=note.text, author=note.author)


def append_tags(experiments: Path, fingerprint: str, tags: Iterable[str], *, remove: bool = False) -> None:
    """Keep tags (or that they were taken off) as text too."""
    for tag in tags:
        _append(experiments, "untag" if remove else "tag", fingerprint, now(), tag=tag)


def append_mark(experiments: Path, fingerprint: str, attempt: int, mark: str | None) -> None:
    """Keep an attempt's mark (None: taken off) as text too."""
    _append(experiments, "mark", fingerprint, now(), attempt=attempt, mark=mark)


def restore(registry: Registry, experiments: Path) -> list[AttemptRow]:
    """Bring back what no run folder knows: imported history, notes, tags and marks. See `without_file`, too.

    The attempts must be in already. Returns those with a mark: what their runs scored is to be derived again.
    """
    with registry.transaction():
        for file in _history(experiments):
            import_history(registry, file)
        _replay(registry, _kept(experiments / NOTES))
    return [attempt for attempt in registry.attempts() if attempt.mark]


@contextlib.contextmanager
def rebuilding(path: Path) -> Iterator[Registry]:
    """A new, empty registry that takes the place of the one at `path` if the block ends well.

    It is built beside it and renamed over it; the old one is kept as `<name>.bak`. Meanwhile the old one can
    be read, and writers wait (they then find the new file). If the block fails, nothing has changed.
    """
    with contextlib.ExitStack() as stack:
        if path.exists():
            with contextlib.suppress(Damaged):  # a damaged file cannot be locked, and need not be
                old = stack.enter_context(Registry.open(path, create=False))
                stack.enter_context(old.transaction())
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        os.close(descriptor)
        fresh = Path(name)
        fresh.unlink()  # the name is what was wanted
        try:
            with Registry.open(fresh) as registry:
                yield registry
            fresh.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o664)
            _replace(path, fresh)
        finally:
            fresh.unlink(missing_ok=True)
            fresh.with_name(f"{fresh.name}-journal").unlink(missing_ok=True)


def to_folder(registry: Registry, folder: Path) -> dict[str, int]:
    """Every table as `<table>.jsonl` in `folder`, and the schema as `schema.sql`: table -> number of rows."""
    counts = {}
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in content(registry.path).items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_output(folder / f"{table}.jsonl", text.encode())
        counts[table] = len(rows)
    with _reading(registry.path) as db:
        statements = [sql for (sql,) in db.execute("select sql from sqlite_master where sql is not null")]
    write_output(folder / "schema.sql", "".join(f"{sql};\n" for sql in statements).encode())
    return counts


def content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table and its rows, in the order of their keys: equal content is equal here."""
    import sqlite_utils

    with _reading(path) as connection:
        db = sqlite_utils.Database(connection)
        # When this file was migrated says nothing about what it holds.
        tables = [t for t in db.tables if t.name not in ("migrations", TABLE)]
        return {t.name: list(t.rows_where(order_by=", ".join(t.pks))) for t in tables}


def as_sql(path: Path) -> Iterator[str]:
    """Statements that make the registry again in an empty database."""
    with _reading(path) as db:
        yield from db.iterdump()


@dataclass(frozen=True)
class Check:
    """What `smx db check` found: `problems` is empty when all is well."""

    schema: str
    runs: int
    attempts: int
    problems: list[str]


def quick_check(registry: Registry) -> list[str]:
    """Damage to the file that a quick look finds: pages, not what stands on them."""
    return [line for (line,) in registry.query("pragma quick_check(3)") if line != "ok"]


def check(registry: Registry, runs: Path) -> Check:
    """Compare the registry with itself and with the run folders under `runs`."""
    ((schema,),) = registry.query(f"select max(name) from {TABLE} where migration_set = ?", [SET])
    problems = [f"damaged: {line}" for (line,) in registry.query("pragma integrity_check") if line != "ok"]
    for table, _, parent, _ in registry.query("pragma foreign_key_check"):
        problems.append(f"a row of {table} refers to a row of {parent} that is not there")
    known = dict(registry.query("select folder, exists (select 1 from attempts a where a.fingerprint = r.fingerprint)"
                                " from runs r"))  # fmt: skip
    present = {p.parent.relative_to(runs).as_posix() for p in runs.glob("*/*/spec.json")}
    problems += [f"run folder not in the registry: {f}" for f in sorted(present - known.keys())]
    # A run that was never attempted needs no folder yet.
    problems += [f"run without its folder: {f}" for f in sorted(known.keys() - present) if known[f]]
    for run in (run for run in run_folders(runs) if run.path.relative_to(runs).as_posix() in known):
        try:
            problems += [*run.damage()] if run.spec else []
        except UserError as error:
            problems.append(error.message)
    return Check(str(schema), registry.size("runs"), registry.size("attempts"), problems)


def without_file(path: Path, experiments: Path) -> list[dict[str, Any]]:
    """Rows of `imports` of the registry at `path` whose history file is gone: nothing but these knows them."""
    try:
        with Registry.open(path, create=False) as registry:
            names = [name for _, name, *_ in registry.query("pragma table_info(imports)")]
            rows = registry.query(f"select {', '.join(names)} from imports order by file, position")
    except UserError:  # there is none, or it is damaged
        return []
    files = {file.name for file in _history(experiments)}
    return [row for row in (dict(zip(names, values, strict=True)) for values in rows) if row["file"] not in files]


def _history(experiments: Path) -> list[Path]:
    return sorted((experiments / "history").glob("*.yaml"))


def _append(experiments: Path, what: str, fingerprint: str, created: str, **details: object) -> None:
    record = {"created": created, "what": what, "fingerprint": fingerprint, **details}
    path = experiments / NOTES
    try:
        experiments.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            torn = file.seek(0, os.SEEK_END) > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            line = json.dumps(record, ensure_ascii=False) + "\n"
            file.write(("\n" + line if torn else line).encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", "a rebuild would not bring this back") from None


def _replay(registry: Registry, records: Iterable[dict[str, Any]]) -> None:
    """Notes and tags in bulk; of a tag, or a mark, the last word counts."""
    notes, tags = [], {}
    for record in records:
        fingerprint = record["fingerprint"]
        if record["what"] == "note":
            notes.append({name: record[name] for name in ("fingerprint", "created", "author", "text")})
        elif record["what"] in ("tag", "untag"):
            tags[fingerprint, record["tag"]] = record["what"] == "tag"
        elif record["what"] == "mark":
            with contextlib.suppress(KeyError):  # its run folder was deleted since
                registry.set_mark(fingerprint, record["attempt"], record["mark"])
    registry.upsert_all("notes", notes, ("fingerprint", "created", "text"))
    kept = [{"fingerprint": fingerprint, "tag": tag} for (fingerprint, tag), holds in tags.items() if holds]
    registry.upsert_all("tags", kept, ("fingerprint", "tag"))


def _kept(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError:
            if line.endswith(b"}"):
                raise UserError(f"{path}, line {number} is no JSON", "mend or delete that line") from None
            # Anything else was torn by a kill while it was written, and nobody was told it was kept.


def _replace(path: Path, fresh: Path) -> None:
    backup = path.with_name(f"{path.name}.bak")
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():  # of a damaged file; beside the new one SQLite would take it for its own
        journal.replace(backup.with_name(f"{backup.name}-journal"))
    if path.exists():
        kept = path.with_name(f".{path.name}.bak.{os.getpid()}")
        shutil.copy2(path, kept)
        kept.replace(backup)
    fresh.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        yield db
    finally:
        db.close()


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in as_sql(Path(sys.argv[1])))
