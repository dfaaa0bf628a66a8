"""Read tables of rows (jsonl, json, csv, tsv, parquet) with a name for every row, so that faults can be pointed at."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from smx.errors import UserError

Row = dict[str, Any]
_LONGEST = 1 << 30  # characters of a cell; Python's own limit is shorter than some models think aloud


def find_file(bench: str, root: Path | None, folders: Sequence[str], name: str) -> Path | None:
    """The file of that name in the first of `folders` below `root` that has it. `UserError` without a root."""
    if root is None or not root.is_dir():
        where = f"{root} is not a folder" if root else "no root is given"
        raise UserError(f"bench {bench}: {where}", f"--root FOLDER: the one that holds {name}")
    return next((path for folder in folders if (path := root / folder / name).is_file()), None)


def read_rows(path: Path) -> list[tuple[str, Row]]:
    """Every row of `path` with its place ("line 12", "row 12"), counted from 1. `UserError` when unreadable."""
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv}
    readers[".parquet"] = _parquet
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: cannot read files that end in {path.suffix!r}", f"valid: {', '.join(readers)}")
    if not path.is_file():
        raise UserError(f"{path} is a folder, not a file" if path.is_dir() else f"{path}: there is no such file")
    rows = list(reader(path))
    if not rows:
        raise UserError(f"{path} holds no rows")
    return rows


def list_in(cell: str) -> Any:
    """A list as JSON or Python writes it; None for an empty cell; else the text itself."""
    if not cell.strip():
        return None
    with contextlib.suppress(ValueError, SyntaxError):
        return ast.literal_eval(cell)
    return cell


def _jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({_in_words(error)})") from None
        if isinstance(row, list):
            raise UserError(f"{path}, line {number}: a list, not one row", "a file that is one list is named .json")
        yield f"line {number}", _object(path, f"line {number}", row)


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        place = f", line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(
            f"{path}{place}: not valid JSON ({_in_words(error)})", "a file with one object per line is named .jsonl"
        ) from None
    for number, row in enumerate(_rows_in(path, content), start=1):
        yield f"row {number}", _object(path, f"row {number}", row)


def _in_words(error: ValueError | RecursionError) -> str:
    """What Python refuses besides broken syntax: numbers of thousands of digits, thousands of brackets."""
    if isinstance(error, RecursionError):
        return "too many brackets in each other"
    return error.msg if isinstance(error, json.JSONDecodeError) else "a number of thousands of digits"


def _rows_in(path: Path, content: Any) -> list[Any]:
    """The file's list of rows: the file itself, or the only list of objects one level down."""
    if isinstance(content, list):
        return content
    lists = {k: v for k, v in content.items() if _is_rows(v)} if isinstance(content, dict) else {}
    if len(lists) != 1:
        found = f"several lists: {', '.join(lists)}" if lists else "no list of objects"
        raise UserError(f"{path}: {found}", "a json file is a list of rows, or an object with one such list in it")
    return next(iter(lists.values()))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    """Columns by the first line; every cell is text. Places are lines of the file, as an editor counts them."""
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        header = next(reader, [])
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise UserError(f"{path}, line 1: two columns are called {twice[0]!r}", "which of them counts is not said")
        begin = reader.line_num + 1
        for cells in reader:
            place, begin = f"line {begin}", reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(f"{path}, {place}: {len(cells)} cells under {len(header)} headings")
            yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not readable ({error})") from None


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"row {number}", row


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _object(path: Path, place: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{path}, {place}: expected an object with fields, found {type(row).__name__}")
    return row
