"""ScanQA: questions about rooms of ScanNet with short answers, several of which may be right.

Read as published, `ScanQA_v1.0_{split}.json` with `scene_id, question_id, question, answers`. The answers of its
test splits are not public, so `val` is what is asked. Scans are the dataset `scannet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from smx.benches import Question, Verdict, _captions
from smx.benches._rows import find_file, read_rows
from smx.benches._short import ShortAnswers, answers_of
from smx.benches._where import keep, parse_where
from smx.errors import UserError

# as ScanQA's own script counts them, and as Spatial-MLLM's, without a tokenizer
CAPTIONS = {"scanqa": _captions.scanqa, "spatial-mllm": _captions.spatial_mllm}
TYPES = ("what", "where", "how", "which", "is", "other")
_NAME = "ScanQA_v1.0_{}.json"


class Bench(ShortAnswers):
    """ScanQA's validation split: exact match with a question's answers, and its caption metrics of a whole file."""

    dataset: ClassVar[str] = "scannet"
    scorers: ClassVar[tuple[str, ...]] = (*ShortAnswers.scorers, *CAPTIONS)
    scorer_versions: ClassVar[Mapping[str, str]] = {**ShortAnswers.scorer_versions}
    types: ClassVar[tuple[str, ...]] = TYPES

    split: Literal["val", "train"] = "val"
    where: Annotated[dict[str, tuple[str, ...]], BeforeValidator(partial(parse_where, types=TYPES))] = Field(
        default_factory=dict, description="which questions are asked; empty: all"
    )

    def judge(self, question: Question, text: str, scorer: str) -> Verdict:
        """Score one raw answer; by the scorers that published ScanQA with caption metrics, the raw EM beside them."""
        if scorer not in CAPTIONS:
            return super().judge(question, text, scorer)
        return Verdict(text if text.strip() else None, float(bool(text.strip()) and text in question.truths))

    def of_all(self, answers: Sequence[tuple[Question, str]], scorer: str) -> Mapping[str, float | None]:
        """CIDEr, BLEU, METEOR and ROUGE-L of the scorers that have them."""
        count = CAPTIONS.get(scorer)
        return count([(question.truths, text) for question, text in answers]) if count else {}

    def questions(self, root: Path | None) -> list[Question]:
        """Questions of the split that `where` keeps."""
        return keep(list(self._asked(_file(root, self.split))), self.where)

    def training(self, root: Path | None) -> list[Question]:
        """The training split where its file is there."""
        found = None if self.split == "train" else _found(root, "train")
        return sorted(self._asked(found), key=lambda q: (q.scene, q.id)) if found else []

    def lacks_training(self, root: Path | None) -> str:
        """The file of the training split, which may not be there."""
        if self.split == "train":
            return "its option split is train, so the training questions are what it asks"
        return f"there is no {_NAME.format('train')} in {root}"

    def training_digest(self, root: Path | None) -> str:
        """As `digest`, of the training split."""
        return self.model_copy(update={"split": "train"}).digest(root)

    def digest(self, root: Path | None) -> str:
        """SHA-256 of the split's file."""
        with _file(root, self.split).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def render(self, question: Question) -> str:
        """The question and the usual request for a short answer."""
        return f"{question.text} Answer the question using a single word or phrase."

    def _asked(self, path: Path) -> Iterator[Question]:
        seen: set[str] = set()
        for place, row in read_rows(path):
            where = f"{path}, {place}"
            for key in ("question_id", "scene_id", "question"):
                if not isinstance(row.get(key), str | int) or not str(row[key]).strip():
                    raise UserError(f"{where}: no {key!r}", f"fields here: {', '.join(map(str, row))}")
            identity, text = str(row["question_id"]), str(row["question"]).strip()
            if identity in seen:
                raise UserError(f"{where}: question_id {identity} again")
            seen.add(identity)
            truths = answers_of(row, where)
            scene = str(row["scene_id"])
            yield Question(identity, "scannet", scene, self.type_of(text), text, None, truths[0], truths[1:])


def _file(root: Path | None, split: str) -> Path:
    found = _found(root, split)
    if found is None:
        raise UserError(f"bench scanqa: no {_NAME.format(split)} in {root}", "the files are those of ScanQA's release")
    return found


def _found(root: Path | None, split: str) -> Path | None:
    return find_file("scanqa", root, ("", "scanqa", "qa", "ScanQA"), _NAME.format(split))
