"""Questions of your own: one table (csv, tsv, json, jsonl, parquet, xlsx) and a folder of videos, no code."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from smx.benches import BaseBench, Question, Verdict
from smx.benches._averages import summarize
from smx.benches._columns import LETTERS, scene_of
from smx.benches._lenient import lenient
from smx.benches._rows import Row, list_in, read_rows
from smx.benches._scorers import finite, official
from smx.benches._short import clean, exact, refined
from smx.errors import UserError, unknown

KINDS = ("choice", "number", "text")  # by what tells how a question is scored, where no column has types


class Bench(BaseBench):
    """A question with options is answered by a letter; one whose truth is a number above 0 by MRA; all others by EM."""

    dataset: ClassVar[str] = "frames"
    scorers: ClassVar[tuple[str, ...]] = ("strict", "lenient")

    file: str = Field("questions.csv", description="name of the table; smx eval --bench FILE fills in all of these")
    scene: str = Field("video", description="column of the video, or of the folder of pictures")
    question: str = Field("question", description="column of the question")
    truth: str = Field("answer", description="column of the right answer; of a choice: its letter or its text")
    options: str | None = Field(None, description="column of the options; or they are the columns A, B, C …")
    type: str | None = Field(None, description="column by which scores are told apart")
    id: str | None = Field(None, description="column of the ids; else questions are counted from 1")
    types: tuple[str, ...] = Field(KINDS, description="what stands in the column `type`")

    def questions(self, root: Path | None) -> list[Question]:
        """All rows. `UserError` with file and line for one that cannot be asked."""
        path, asked, seen = self._path(root), [], dict[str, str]()
        for number, (place, row) in enumerate(read_rows(path), start=1):
            question = self._question(row, f"{path}, {place}", number, whole=True)
            if question.id in seen:
                raise UserError(f"{path}, {place}: id {question.id!r} again (first: {seen[question.id]})")
            seen[question.id] = place
            asked.append(question)
        return sorted(asked, key=lambda q: (q.scene, q.id))

    def question_of(self, row: Mapping[str, Any], place: str) -> Question:
        """A row of a file of predictions with the table's own columns."""
        return self._question(row, place, 0, whole=False)

    def digest(self, root: Path | None) -> str:
        """SHA-256 of the table."""
        with self._path(root).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def render(self, question: Question) -> str:
        """The question, its options, and how to answer, in the words that VSI-Bench has for it."""
        lines = ["These are frames of a video.", question.text]
        if question.options:
            lines += ["Options:", *question.options]
            return "\n".join([*lines, "Answer with the option's letter from the given choices directly."])
        return "\n".join([*lines, "Please answer the question using a single word or phrase."])

    def judge(self, question: Question, text: str, scorer: str) -> Verdict:
        """strict: the first word, as VSI-Bench has it, or EM. lenient: a letter or number anywhere, or EM-R."""
        if scorer not in self.scorers:
            raise unknown("scorer", scorer, self.scorers)
        numerical = _is_number(question)
        if question.options or numerical:
            if scorer == "lenient":
                return lenient(text, question.truth, question.options, numerical=numerical)
            return official(text, question.truth, numerical=numerical)
        said, truth = clean(text), clean(question.truth)
        if not said.strip(string.punctuation):
            return Verdict(None, 0.0)
        return Verdict(said, float((exact if scorer == "strict" else refined)(said, [truth])))

    def summarize(self, scored: Sequence[tuple[Question, Verdict]]) -> Mapping[str, Any]:
        """Scores by type, and over all."""
        return summarize(scored, self.tasks(), self.averages())

    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Every type by itself."""
        return {kind: (kind,) for kind in self.types}

    def averages(self) -> Mapping[str, Collection[str]]:
        """One."""
        return {"all": self.types}

    def _path(self, root: Path | None) -> Path:
        if root is None or not (root / self.file).is_file():
            where = f"{root} holds no {self.file}" if root else "no root is given"
            raise UserError(f"bench table: {where}", "smx eval --bench FILE --root VIDEOS reads a table of your own")
        return root / self.file

    def _question(self, row: Mapping[str, Any], place: str, number: int, *, whole: bool) -> Question:
        text = _text(row.get(self.question))
        scene = scene_of(_text(row.get(self.scene)))
        for column, value in ((self.question, text), (self.scene, scene)) if whole else ():
            if not value:
                raise UserError(f"{place}: no {column!r}", f"columns here: {', '.join(map(str, row))}")
        options = _options(row, self.options, place)
        truth = _truth(_text(row.get(self.truth)), options, place)
        if not truth and not whole:
            raise UserError(f"{place}: no {self.truth!r}", "an answer to a question without truth cannot be scored")
        kind = _text(row.get(self.type)) if self.type else ""
        kind = kind or ("choice" if options else "number" if _positive(truth) else "text")
        if kind not in self.types:
            raise UserError(f"{place}: question type {kind!r} is not among {', '.join(self.types)}", "look at it again")
        identity = _text(row.get(self.id or "id")) or (str(number) if number else "")
        return Question(identity, "", scene, kind, text, options, truth)


def types_of(bench: Bench, rows: Sequence[tuple[str, Row]]) -> tuple[str, ...]:
    """What the column of types holds, in order of appearance; the three kinds where there is no such column."""
    if bench.type is None:
        return KINDS
    named = dict.fromkeys(_text(row.get(bench.type)) for _, row in rows)
    return tuple(kind for kind in named if kind) + (KINDS if "" in named else ())


def _is_number(question: Question) -> bool:
    return not question.options and _positive(question.truth)


def _positive(truth: str) -> bool:
    value = finite(truth.replace(",", ""))
    return value is not None and value > 0


def _text(value: Any) -> str:
    """A cell as text; "" where it is empty. A whole number that a sheet keeps as 3.0 is 3."""
    if value is None or value != value:  # NaN: an empty cell of parquet
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _options(row: Mapping[str, Any], column: str | None, place: str) -> tuple[str, ...] | None:
    """Options, each with its letter before it."""
    if column is None:
        cells = [_text(row.get(letter)) for letter in LETTERS]
        value: Any = [cell for cell in cells if cell]
    else:
        value = row.get(column)
        value = list_in(value) if isinstance(value, str) else value
        if isinstance(value, str):
            value = [part.strip() for part in value.replace("\n", "|").replace(";", "|").split("|") if part.strip()]
    if isinstance(value, Mapping):
        value = [f"{letter}. {text}" for letter, text in value.items()]
    if value is None or value != value or not len(value):
        return None
    if not isinstance(value, list | tuple):
        raise UserError(f"{place}: options must be a list of texts, found {value!r}")
    texts = [_text(item) for item in value]
    if all(text[:1] == letter and text[1:2] in (".", ")", ":") for text, letter in zip(texts, LETTERS, strict=False)):
        return tuple(texts)
    return tuple(f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))


def _truth(given: str, options: tuple[str, ...] | None, place: str) -> str:
    """The truth; of a choice, the letter of the option that it is or names."""
    if not options or not given:
        return given.replace(",", "") if _positive(given) else given
    letters = LETTERS[: len(options)]
    if len(bare := given.rstrip(".):").upper()) == 1 and bare in letters:
        return bare
    named = [letter for letter, option in zip(letters, options, strict=True) if given in (option, option[2:].strip())]
    if len(named) != 1:
        raise UserError(
            f"{place}: the truth {given!r} is no option's letter or text", f"options: {' | '.join(options)}"
        )
    return named[0]
