"""What benches of questions about one video share: columns, prompts, scorers and averages.

A subclass says where its rows have what, which types there are, and how it asks. Rules of scoring are VSI-Bench's
(`smx.benches._scorers`), which all of these benches took over: a choice is right or wrong, a number scores MRA.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from smx.benches import BaseBench, Question, Verdict
from smx.benches._averages import summarize
from smx.benches._lenient import lenient
from smx.benches._rows import Row, list_in, read_rows
from smx.benches._scorers import official, positive
from smx.benches._videos import ids_of, videos_below
from smx.benches._vlmevalkit import vlmevalkit
from smx.benches._where import keep, parse_where
from smx.errors import UserError, unknown

FRAMES = "These are frames of a video."
LETTER = "Answer with the option's letter from the given choices directly."
SHORT = "Please answer the question using a single word or phrase."


class VideoQuestions(BaseBench):
    """Questions about the videos below the root, which is also the dataset `videos`."""

    dataset: ClassVar[str] = "videos"
    scorers: ClassVar[tuple[str, ...]] = ("official", "vlmevalkit", "lenient")
    scorer_versions: ClassVar[Mapping[str, str]] = {"vlmevalkit": "2026-03", "lenient": "2"}
    name: ClassVar[str]  # of the bench
    files: ClassVar[tuple[str, ...]]  # globs of its question files below the root; the first that matches counts
    task_types: ClassVar[Mapping[str, tuple[str, ...]]]  # task -> its question types
    numerical: ClassVar[frozenset[str]] = frozenset()  # types scored by MRA

    file: str | None = Field(None, description="question file below the root; unset: where its release has it")
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="which questions are asked; empty: all")

    @field_validator("where", mode="before")
    @classmethod
    def _known_types(cls, value: Any) -> Any:
        return parse_where(value, [kind for kinds in cls.task_types.values() for kind in kinds])

    @abstractmethod
    def row(self, row: Row) -> dict[str, Any]:
        """The columns of a row under the names `id`, `dataset`, `video`, `type`, `question`, `options`, `truth`.

        `KeyError` for one that is missing; of a row of predictions, only `type` and `truth` have to be there.
        """

    def questions(self, root: Path | None) -> list[Question]:
        """Questions that `where` keeps. A video that is not there costs its questions, when they are asked."""
        known = ids_of(videos_below(self.name, root))
        seen: dict[str, str] = {}
        asked: list[Question] = []
        for path, place, row in self._rows(root):
            if self.is_left_out(row):
                continue
            question = self._question(row, f"{path}, {place}", whole=True, known=known, number=len(asked))
            if question.id in seen:
                raise UserError(f"{path}, {place}: id {question.id!r} again (first: {seen[question.id]})")
            seen[question.id] = place
            asked.append(question)
        if not any(question.truth for question in asked):
            raise UserError(f"{root}: no question has a known answer", "a question without one cannot be scored")
        return keep(asked, self.where)

    def is_left_out(self, row: Row) -> bool:
        """Whether a row asks what no sample of frames can answer."""
        return False

    def question_of(self, row: Mapping[str, Any], place: str) -> Question:
        """A row of a file of predictions: only its type and answer must be there."""
        return self._question(dict(row), place, whole=False, known={}, number=0)

    def digest(self, root: Path | None) -> str:
        """SHA-256 over the bytes of the question files."""
        digest = hashlib.sha256()
        for path in self._files(root):
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def render(self, question: Question) -> str:
        """As VSI-Bench asks."""
        lines = [FRAMES, question.text]
        if question.type in self.numerical:
            return "\n".join([*lines, SHORT])
        return "\n".join([*lines, "Options:", *(question.options or ()), LETTER])

    def judge(self, question: Question, text: str, scorer: str) -> Verdict:
        """Score one raw answer. `ValueError` for a numerical truth that is no positive number."""
        if scorer not in self.scorers:
            raise unknown("scorer", scorer, self.scorers)
        numerical = question.type in self.numerical
        if scorer == "lenient":
            return lenient(text, question.truth, question.options, numerical=numerical)
        rule = official if scorer == "official" else vlmevalkit
        return rule(text, question.truth, numerical=numerical)

    def summarize(self, scored: Sequence[tuple[Question, Verdict]]) -> dict[str, Any]:
        """Scores by type and task; micro over items, macro over tasks."""
        return summarize(scored, self.tasks(), self.averages())

    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Those that the official overall is the mean of."""
        return self.task_types

    def averages(self) -> Mapping[str, Collection[str]]:
        """All; and, where there are both, choices by accuracy and numbers by MRA."""
        every = frozenset(kind for kinds in self.task_types.values() for kind in kinds)
        choice = every - self.numerical
        both = {"acc": choice, "mra": self.numerical} if choice and self.numerical else {}
        return {**both, "all": every}

    def _question(self, row: Row, place: str, *, whole: bool, known: Mapping[str, str], number: int) -> Question:
        try:
            found = self.row(row)
            kind, truth = str(found["type"]), found["truth"]
        except KeyError as missing:
            raise UserError(f"{place}: no {missing}", f"fields here: {', '.join(map(str, row)) or 'none'}") from None
        types = [name for kinds in self.task_types.values() for name in kinds]
        if kind not in types:
            wrong = unknown("question type", kind, types)
            raise UserError(f"{place}: {wrong.message}", wrong.hint)
        options = None if kind in self.numerical else _options(found.get("options"), place)
        if whole and kind not in self.numerical and not options:
            raise UserError(f"{place}: a question of type {kind} without options")
        for column in ("video", "question") if whole else ():
            if not str(found.get(column) or "").strip():
                raise UserError(f"{place}: no {column!r}", f"fields here: {', '.join(map(str, row))}")
        video = _stem(str(found.get("video") or ""))
        return Question(
            id=str(found.get("id") if found.get("id") is not None else number),
            dataset=str(found.get("dataset") or self.name),
            scene=known.get(video, video),
            type=kind,
            text=str(found.get("question") or "").strip(),
            options=options,
            truth=self._truth(truth, kind, place, whole=whole),
        )

    def _truth(self, value: Any, kind: str, place: str, *, whole: bool) -> str:
        """The answer as text; "" where nobody knows one, so that the question fails alone."""
        truth = "" if value is None or isinstance(value, bool) else str(value).strip()
        if truth and kind in self.numerical:
            try:
                positive(truth)
            except ValueError:
                truth = ""
        if not truth and not whole:
            raise UserError(f"{place}: no answer that can be scored ({value!r})")
        return truth

    def _rows(self, root: Path | None) -> Iterator[tuple[Path, str, Row]]:
        for path in self._files(root):
            for place, row in read_rows(path):
                yield path, place, row

    def _files(self, root: Path | None) -> list[Path]:
        if root is None or not root.is_dir():
            where = f"{root} is not a folder" if root else "no root is given"
            raise UserError(f"bench {self.name}: {where}", f"--root FOLDER: the one that holds {self.files[0]}")
        for pattern in (self.file,) if self.file else self.question_files():
            if found := sorted(path for path in root.glob(pattern) if path.is_file()):
                return found
        looked = self.file or " or ".join(self.question_files())
        raise UserError(
            f"bench {self.name}: no {looked} in {root}", f"{self.hub} on Hugging Face has it; or file=NAME names it"
        )

    def question_files(self) -> tuple[str, ...]:
        """Globs below the root."""
        return self.files


def first(row: Row, *names: str) -> Any:
    """The first of these columns that is there: releases of one bench call them differently. `KeyError` for none."""
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise KeyError(names[0])


def _options(value: Any, place: str) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = list_in(value)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{place}: options must be a list of texts, found {value!r}")
    return tuple(value) or None


def _stem(video: str) -> str:
    """`a/b.mp4` -> `a/b`, without leading `./` or `/`."""
    path = video.replace("\\", "/").lstrip("./")
    return path.rpartition(".")[0] if path.lower().endswith((".mp4", ".mkv", ".avi", ".mov", ".webm")) else path
