"""SQA3D: 3,519 test questions about 67 rooms of ScanNet, asked from a situation, with short answers.

Read as published: `v1_balanced_questions_{split}_scannetv2.json` joined on `question_id` with
`v1_balanced_sqa_annotations_{split}_scannetv2.json`. Scans are the dataset `scannet`, below the same root or
where the site file says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from smx.benches import Question
from smx.benches._rows import Row, find_file, read_rows
from smx.benches._short import ShortAnswers, answers_of
from smx.benches._where import keep, parse_where
from smx.errors import UserError

TYPES = ("what", "is", "how", "can", "which", "other")
_QUESTIONS = "v1_balanced_questions_{}_scannetv2.json"
_ANSWERS = "v1_balanced_sqa_annotations_{}_scannetv2.json"
_FOLDERS = ("", "balanced", "sqa_task/balanced", "sqa3d")


class Bench(ShortAnswers):
    """SQA3D. Training asks every question three times, from its situation and two others worded differently."""

    dataset: ClassVar[str] = "scannet"
    types: ClassVar[tuple[str, ...]] = TYPES

    split: Literal["test", "val", "train"] = "test"
    situation: Literal["given", "none"] = Field("given", description="none: asked without saying where one stands")
    where: Annotated[dict[str, tuple[str, ...]], BeforeValidator(partial(parse_where, types=TYPES))] = Field(
        default_factory=dict, description="which questions are asked; empty: all"
    )

    def questions(self, root: Path | None) -> list[Question]:
        """Questions of the split that `where` keeps. `text` begins with the situation."""
        return keep(list(self._asked(root, self.split, expand=False)), self.where)

    def training(self, root: Path | None) -> list[Question]:
        """The training split where its files are there, every situation an example of its own."""
        if self.split == "train" or find_file("sqa3d", root, _FOLDERS, _QUESTIONS.format("train")) is None:
            return []
        expand = self.situation == "given"
        return sorted(self._asked(root, "train", expand=expand), key=lambda q: (q.scene, q.id))

    def lacks_training(self, root: Path | None) -> str:
        """The file of the training split, which may not be there."""
        if self.split == "train":
            return "its option split is train, so the training questions are what it asks"
        return f"there is no {_QUESTIONS.format('train')} in {root}"

    def training_digest(self, root: Path | None) -> str:
        """As `digest`, of the training split."""
        return self.model_copy(update={"split": "train"}).digest(root)

    def digest(self, root: Path | None) -> str:
        """SHA-256 over the bytes of the two files."""
        digest = hashlib.sha256()
        for name in (_QUESTIONS, _ANSWERS):
            with _file(root, name.format(self.split)).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def render(self, question: Question) -> str:
        """Situation, question and the usual request for a short answer, on one line."""
        return f"{question.text} Answer the question using a single word or phrase."

    def _asked(self, root: Path | None, split: str, *, expand: bool) -> Iterator[Question]:
        answers = _annotations(_file(root, _ANSWERS.format(split)))
        path = _file(root, _QUESTIONS.format(split))
        seen: set[str] = set()
        for place, row in read_rows(path):
            where = f"{path}, {place}"
            identity, scene, text = (_text(row, key, where) for key in ("question_id", "scene_id", "question"))
            if identity in seen:
                raise UserError(f"{where}: question_id {identity} again")
            seen.add(identity)
            if identity not in answers:
                raise UserError(f"{where}: question {identity} has no annotation", f"expected one in {_ANSWERS}")
            truths = answers_of(answers[identity], where)
            situations = [_text(row, "situation", where)] if self.situation == "given" else [""]
            if expand:
                situations += [str(other) for other in row.get("alternative_situation") or () if other]
            for number, situation in enumerate(situations):
                name = f"{identity}-{number}" if number else identity
                asked = f"{situation.strip()} {text}".strip()
                yield Question(name, "scannet", scene, self.type_of(text), asked, None, truths[0], truths[1:])


def _annotations(path: Path) -> dict[str, Row]:
    return {_text(row, "question_id", f"{path}, {place}"): row for place, row in read_rows(path)}


def _text(row: Row, key: str, place: str) -> str:
    value = row.get(key)
    if value is None or not str(value).strip():
        raise UserError(f"{place}: no {key!r}", f"fields here: {', '.join(map(str, row))}")
    return str(value).strip()


def _file(root: Path | None, name: str) -> Path:
    found = find_file("sqa3d", root, _FOLDERS, name)
    if found is None:
        raise UserError(f"bench sqa3d: no {name} in {root}", "the files are those of SQA3D's release, balanced/")
    return found
