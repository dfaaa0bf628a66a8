"""The history file: the lab's past jobs and scores as YAML, typed facts as the notes say them.

schema: 1
source: research notes, 12.02-19.02
jobs:
  - {date: 2026-02-13, kind: gen, sampler: mergeaware_sa, frames: 8, ids: [2834355, 2828004], mark: done}
scores:
  - {model: qwen2_5vl, bench: vsibench, n: 150, metric: all.micro, value: 0.29}
"""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from smx.errors import UserError
from smx.options import Options
from smx.yamlfile import read_yaml

EXAMPLE = "smx ledger import --help shows what one looks like"

Mark = Literal["done", "failed", "doubtful", "lucky", "planned", "excluded"]


class Entry(Options):
    """What a job and a score have in common. `model` is the variant, `variant` and `checkpoint` tell it apart."""

    date: datetime.date | None = None
    model: str | None = None
    variant: str | None = None
    checkpoint: str | None = None
    sampler: str | None = None
    frames: Annotated[int, Field(ge=1)] | None = None
    bench: str | None = None
    dataset: str | None = None
    mark: Mark | None = None
    note: str | None = None


class JobEntry(Entry):
    """One cell of the notes: its job ids, the one that counts first."""

    date: datetime.date
    kind: Literal["gen", "train", "eval"]
    ids: tuple[int | str, ...] = ()
    data: str | None = None
    what: str | None = None
    where: str | None = None
    input: str | None = None
    gpus: Annotated[int, Field(ge=1)] | None = None
    failure: str | None = None


class ScoreEntry(Entry):
    """One number. `where` narrows it to some questions: {question_type: …, dataset: …}."""

    kind: Literal["gen", "train", "eval"] = "eval"
    bench: str
    metric: str
    value: float
    n: Annotated[int, Field(ge=0)]
    scorer: str | None = None
    where: dict[str, str] = Field(default_factory=dict)


class HistoryFile(Options):
    """The top of the file; its entries are checked one by one."""

    schema_: Literal[1] = Field(alias="schema")
    source: str | None = None
    jobs: tuple[dict[str, Any], ...] = ()
    scores: tuple[dict[str, Any], ...] = ()


def read(file: Path) -> list[dict[str, object]]:
    """Rows for the table `imports`, in the order of the file. `UserError` naming the entry and its line."""
    try:
        top = HistoryFile.parse(read_yaml(file), str(file))
    except UserError as error:
        raise UserError(error.message, error.hint or EXAMPLE) from None
    source = top.source or file.stem
    rows: list[dict[str, object]] = []
    seen: dict[str, int] = {}
    for section, cls in (("jobs", JobEntry), ("scores", ScoreEntry)):
        for index, given in enumerate(getattr(top, section)):
            entry = _checked(file, section, index, given, cls)
            text = json.dumps(entry.model_dump(mode="json", exclude_defaults=True), sort_keys=True, ensure_ascii=False)
            seen[text] = seen.get(text, 0) + 1  # the same line twice in one file is two entries
            digest = hashlib.sha256(f"{source}\0{section}\0{text}\0{seen[text]}".encode()).hexdigest()
            common = {"digest": digest, "file": file.name, "source": source, "position": len(rows), "entry": text}
            rows.append({**common, **_row(entry)})
    return rows


def _checked(file: Path, section: str, index: int, given: dict[str, Any], cls: type[Entry]) -> Entry:
    try:
        return cls.parse(given, "entry")
    except UserError as error:
        where = f"{file}, line {_line(file, section, index)}, {section[:-1]} {index + 1}"
        raise UserError(f"{where}: {error.message.replace('entry: ', '')}", error.hint) from None


def _line(file: Path, section: str, index: int) -> int:
    import yaml

    top = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert isinstance(top, yaml.MappingNode)
    (entries,) = [value for key, value in top.value if key.value == section]
    line: int = entries.value[index].start_mark.line
    return line + 1


def _row(entry: Entry) -> dict[str, object]:
    row: dict[str, object] = {
        "date": entry.date.isoformat() if entry.date else None,
        "variant": entry.model or entry.variant,
        "sampler": entry.sampler,
        "frames": entry.frames,
        "bench": entry.bench,
        "mark": entry.mark,
    }
    apart = [entry.variant if entry.model else None, entry.checkpoint]
    if isinstance(entry, JobEntry):
        remarks = [
            entry.what,
            entry.where,
            f"input: {entry.input}" if entry.input else None,
            f"{entry.gpus} GPUs" if entry.gpus else None,
            entry.note,
        ]
        row |= {
            "what": "job",
            "kind": entry.kind,
            "dataset": entry.dataset or entry.data,
            "jobs": json.dumps([str(i) for i in entry.ids]),
            "note": _joined(remarks, "; "),
            "failure": entry.failure,
        }
    elif isinstance(entry, ScoreEntry):
        rest = {k: v for k, v in entry.where.items() if k not in ("question_type", "dataset")}
        apart += [f"{k}={v}" for k, v in rest.items()]
        row |= {
            "what": "score",
            "kind": entry.kind,
            "dataset": entry.dataset or entry.where.get("dataset"),
            "jobs": "[]",
            "note": entry.note,
            "scorer": entry.scorer,
            "metric": entry.metric,
            "task": entry.where.get("question_type"),
            "value": entry.value,
            "n": entry.n,
        }
    return {**row, "detail": _joined(apart, ", ")}


def _joined(parts: list[str | None], with_: str) -> str | None:
    return with_.join(p for p in parts if p) or None
