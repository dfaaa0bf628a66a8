"""The ledger: jobs by date as in the lab's notes, own and imported, and the import of past ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from smx.atomic_io import write_atomic
from smx.errors import UserError
from smx.registry.filters import Filter, Where
from smx.registry.store import Registry


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One cell on one day. `jobs` newest first; `?` before an id says doubtful, `x` failed or excluded."""

    date: str  # in local time
    mark: str | None  # done, failed, doubtful, lucky, planned, excluded, or the state of a run that has not ended
    kind: str
    variant: str | None
    detail: str | None  # what else tells it apart: checkpoint, untrained, seed
    sampler: str | None
    frames: int | None
    bench: str | None
    dataset: str | None
    jobs: str | None
    items: int | None
    done: int | None
    failed: int | None
    note: str | None
    failure: str | None
    run: str | None  # folder name; None for imported history
    origin: str  # "run" or "imported"
    fingerprint: str | None

    @property
    def ids(self) -> list[str]:
        """Job ids alone, newest first."""
        return [job.lstrip("?x") for job in (self.jobs or "").split()]


def rows(
    registry: Registry, *, kind: Filter = None, since: str | None = None, limit: int | None = None
) -> tuple[list[LedgerRow], int]:
    """Newest day first, at most `limit`; and how many there are in all that fit. `since`: a date."""
    where = Where({"kind": kind})
    if since is not None:
        where.add("date >= ?", [since])
    ((total,),) = registry.query(f"select count(*) from ledger {where.sql}", where.values)
    limited = f" limit {int(limit)}" if limit else ""
    selected = f"select {', '.join(LedgerRow.__dataclass_fields__)} from ledger {where.sql}{limited}"
    return [LedgerRow(*row) for row in registry.query(selected, where.values)], total


@dataclass(frozen=True)
class Imported:
    """What an import changed, in entries."""

    file: str
    added: int
    known: int  # here already, from this file or another
    removed: int  # were in this file before, and are not any more


def import_history(registry: Registry, file: Path, *, name: str | None = None) -> Imported:
    """Read a history file (see `smx.registry.history`) into the registry, whole or not at all.

    `name`: what it is called in experiments/history, where that is not `file`'s name. Idempotent: entries
    that are known change nothing, entries that have gone from the file go. `UserError` with line and column
    for broken YAML, with the closest valid key for an unknown one.
    """
    from smx.registry import history

    name = name or file.name
    entries = history.read(file)
    with registry.transaction():
        held = registry.query("select digest, file, position from imports")
        known = {digest: (origin, position) for digest, origin, position in held}
        fresh = {entry["digest"] for entry in entries}
        gone = [digest for digest, (origin, _) in known.items() if origin == name and digest not in fresh]
        for digest in gone:
            registry.execute("delete from imports where digest = ?", [digest])
        changed = []
        for entry in entries:
            there = known.get(entry["digest"])
            # An entry of two files belongs to the first in the alphabet, in whichever order they came.
            if there is None or (there != (name, entry["position"]) and name <= there[0]):
                changed.append({**entry, "file": name})
        registry.upsert_all("imports", changed, "digest")
    added = len(fresh - known.keys())
    return Imported(name, added, len(fresh) - added, len(gone))


def keep_history(registry: Registry, file: Path, folder: Path, *, replace: bool = False) -> Imported:
    """Import `file` and copy it into `folder` (experiments/history), where `smx db rebuild` finds it.

    A file whose entries are all known from others is left alone. `UserError` when `folder` has another file of
    that name, unless `replace`.
    """
    from smx.registry import history

    target = folder / f"{file.stem}.yaml"
    if not file.is_file():
        what = f"{file} is a folder" if file.is_dir() else f"there is no file {file}"
        raise UserError(what, history.EXAMPLE)
    content = file.read_bytes()
    held = target.read_bytes() if target.exists() else None
    if held not in (None, content) and not replace:
        hint = "--replace takes the new one; or give the file another name"
        raise UserError(f"{target} exists and differs from {file}", hint)
    if held is None:
        digests = {entry["digest"] for entry in history.read(file)}
        if not digests:
            raise UserError(f"{file} holds neither jobs nor scores", history.EXAMPLE)
        if digests <= {digest for (digest,) in registry.query("select digest from imports")}:
            return Imported(target.name, 0, len(digests), 0)
    with registry.transaction():
        outcome = import_history(registry, file, name=target.name)
        if held != content:
            try:
                write_atomic(target, content)
            except OSError as error:
                raise UserError(f"cannot write {target}: {error.strerror}", "nothing was imported") from None
    return outcome


def since_date(text: str) -> str:
    """`2026-02-14`, or `7d`, `2w`, `12h` ago, as a local date. `UserError` for anything else."""
    ago = re.fullmatch(r"(\d{1,5})\s*([hdw])", text.strip())
    if ago:
        unit = {"h": "hours", "d": "days", "w": "weeks"}[ago[2]]
        return (datetime.now().astimezone() - timedelta(**{unit: int(ago[1])})).date().isoformat()
    try:
        return datetime.fromisoformat(text.strip()).date().isoformat()
    except ValueError:
        raise UserError(f"{text!r} is no date", "write 2026-02-14, or how long ago: 12h, 7d, 2w") from None
