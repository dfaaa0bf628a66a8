"""The run that a person means, of whatever they remember of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smx.errors import UserError, closest
from smx.registry.rows import RunRow, columns, from_sql
from smx.registry.scores import Query
from smx.states import RunState

_LAST = r"last(?:~(\d{1,9}))?"


def find_run(query: Query, text: str) -> RunRow:
    """By fingerprint, folder or name, or the start of one of them, by job id, or as one of the newest.

    `last` is the newest run, `last~2` the second before it, `failed` the newest that failed. `UserError` when nothing
    fits (closest named) or several do (all listed).
    """
    text = text.strip().rstrip("/").rsplit("/", 1)[-1]  # a path to its folder names it too
    found = _exactly(query, text) or _newest(query, text) or (_loosely(query, text) if text else [])
    found = found or _beginning(query, text)
    if not found:
        raise _not_found(query, text)
    if len(found) > 1:
        raise _several(text, found)
    return found[0]


def _exactly(query: Query, text: str) -> list[RunRow]:
    where = "where folder in ('gen/' || ?1, 'train/' || ?1, 'eval/' || ?1) or fingerprint = ?1"
    return _rows(query, where, [text])


def _newest(query: Query, text: str) -> list[RunRow]:
    """`last`, `last~N` and `failed`."""
    if text == RunState.failed:
        return _rows(query, "where state = ? order by created desc, fingerprint limit 1", [text])
    if asked := re.fullmatch(_LAST, text):
        return _rows(query, "order by created desc, fingerprint limit 1 offset ?", [int(asked[1] or 0)])
    return []


def _beginning(query: Query, text: str) -> list[RunRow]:
    """Newest first."""
    pattern = re.sub(r"([\\%_])", r"\\\1", text)
    where = "where substr(folder, instr(folder, '/') + 1) like ? || '%' escape '\\' order by created desc"
    return _rows(query, where, [pattern]) if text else []


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
    if text == RunState.failed or re.fullmatch(_LAST, text):
        return UserError(f"there is no such run as {text!r}: {len(names)} in all", "smx ls shows them, newest first")
    near = "\n".join(f"  {name}" for name in closest(text, names)[:3])
    return UserError(f"unknown run {text!r}", f"the closest:\n{near}\nsmx ls shows them all")


def _title(folder: str) -> str:
    return folder.split("/", 1)[-1]
