"""Read tables of rows (jsonl, json, csv, tsv, parquet, xlsx, each also as .gz) with a name for every row.

Faults can then be pointed at.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from smx.errors import UserError, missing_package

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
    reader = _READERS.get(_ending(path))
    if reader is None:
        raise UserError(
            f"{path}: cannot read files that end in {path.suffix!r}", f"valid: {', '.join(READ)}, also as .gz"
        )
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
    if isinstance(content, dict) and {"eval", "samples"} <= content.keys():  # a log of inspect_ai
        return list(content["samples"] or ())
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
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter="\t" if _ending(path) == ".tsv" else ",")
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


def _inspect(path: Path) -> Iterator[tuple[str, Row]]:
    """A log of inspect_ai in its zip format: a json file for each sample."""
    try:
        with zipfile.ZipFile(path) as log:
            for name in sorted(each for each in log.namelist() if each.startswith("samples/")):
                yield name, _object(path, name, json.loads(log.read(name)))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, zlib.error) as error:
        hint = "inspect log convert --to json writes one that can be"
        raise UserError(f"{path}: not a readable log of inspect_ai ({error})", hint) from None


def _xlsx(path: Path) -> Iterator[tuple[str, Row]]:
    """The first sheet that is not empty, columns by its first row; places are rows of the sheet."""
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise missing_package(error) or error from None
    try:
        book = load_workbook(io.BytesIO(_bytes(path)), data_only=True)
    except Exception as error:  # noqa: BLE001 - a damaged file makes openpyxl raise whatever it stumbles over
        raise UserError(f"{path}: not a readable xlsx file ({error or type(error).__name__})") from None
    for sheet in book.worksheets:
        if sheet.merged_cells.ranges:
            first = sorted(map(str, sheet.merged_cells.ranges))[0]
            raise UserError(
                f"{path}, sheet {sheet.title!r}: cells {first} are merged", "one row, one cell: unmerge them"
            )
        rows = [
            (number, cells)
            for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1)
            if any(c is not None for c in cells)
        ]
        if not rows:
            continue
        header = ["" if name is None else str(name).strip() for name in rows[0][1]]
        named = [name for name in header if name]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise UserError(f"{path}, row 1: two columns are called {twice[0]!r}", "which of them counts is not said")
        for number, cells in rows[1:]:
            yield f"row {number}", {name: cell for name, cell in zip(header, cells, strict=True) if name}
        return


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(_bytes(path)) if path.suffix == ".gz" else path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"row {number}", row


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None


def _bytes(path: Path) -> bytes:
    import gzip

    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error})", "it was cut off: fetch it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _ending(path: Path) -> str:
    """`.csv` of `x.csv` and `x.csv.gz`."""
    return (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()


def _object(path: Path, place: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{path}, {place}: expected an object with fields, found {type(row).__name__}")
    return row


_READERS = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".xlsx": _xlsx,
    ".eval": _inspect,
}
READ = tuple(_READERS)  # endings of files that can be read
