"""The run that a person means, of whatever they remember of it."""

from __future__ import annotations

from collections.abc import Sequence

from smx.errors import UserError, closest
from smx.registry.rows import RunRow, columns, from_sql
from smx.registry.scores import Query


def find_run(query: Query, text: str) -> RunRow:
    """By fingerprint or the start of it, folder or its name, name, or a job id.

    `UserError` when nothing fits (closest named) or several do (all listed).
    """
    text = text.strip().rstrip("/").rsplit("/", 1)[-1]  # a path to its folder names it too
    found = _exactly(query, text) or (_loosely(query, text) if text else [])
    if not found:
        raise _not_found(query, text)
    if len(found) > 1:
        raise _several(text, found)
    return found[0]


def _exactly(query: Query, text: str) -> list[RunRow]:
    where = "where folder in ('gen/' || ?1, 'train/' || ?1, 'eval/' || ?1) or fingerprint = ?1"
    return _rows(query, where, [text])


def _loosely(query: Query, text: str) -> list[RunRow]:
    """Newest first."""
    where = """where name = ?1 or (fingerprint >= lower(?1) and fingerprint < lower(?1) || 'g')
               or fingerprint in (select fingerprint from attempts where job = ?1
                                  or (job >= ?1 || '_' and job < ?1 || '`'))  -- an array's tasks: ?1_0, ?1_1
               order by created desc"""
    return _rows(query, where, [text])


def _rows(query: Query, rest: str, values: Sequence[object]) -> list[RunRow]:
    return from_sql(RunRow, query(f"select {', '.join(columns(RunRow))} from runs {rest}", values))


def _several(text: str, found: Sequence[RunRow]) -> UserError:
    listed = "\n".join(f"  {_title(row.folder)}  {row.fingerprint[:12]}  {row.state}" for row in found[:12])
    more = f"\n  … and {len(found) - 12} more" if len(found) > 12 else ""
    return UserError(f"{text!r} fits {len(found)} runs", f"name one of them:\n{listed}{more}")


def _not_found(query: Query, text: str) -> UserError:
    past = "select file from imports i, json_each(i.jobs) j where cast(j.value as text) = ? limit 1"
    for (file,) in query(past, [text]):
        return UserError(f"job {text} is imported history ({file}): its run folder is not here", "smx ledger")
    names = [_title(folder) for (folder,) in query("select folder from runs", ())]
    if not names:
        return UserError(f"unknown run {text!r}: there are no runs here yet", "smx demo, or smx gen --help")
    near = "\n".join(f"  {name}" for name in closest(text, names)[:3])
    return UserError(f"unknown run {text!r}", f"the closest:\n{near}\nsmx ls shows them all")


def _title(folder: str) -> str:
    return folder.split("/", 1)[-1]
