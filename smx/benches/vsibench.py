"""VSI-Bench: 5,130 questions of ten types on 288 videos of real rooms, choice and numerical.

Rows are VSI-Bench's own (`id, dataset, scene_name, question_type, question, options, ground_truth`), read from
the public release's parquet or jsonl file; the videos beside it are the dataset `vsibench`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from smx.benches import Question
from smx.benches._rows import read_rows
from smx.benches._vsi import VsiBench, question_of
from smx.errors import UserError


class Bench(VsiBench):
    """VSI-Bench's test split. It has no training split."""

    dataset: ClassVar[str] = "vsibench"

    file: str | None = None  # name of the question file under the root; None: the test split

    def questions(self, root: Path | None) -> list[Question]:
        """Questions that `where` keeps; `scene` is "<dataset>/<scene_name>"."""
        first_seen: dict[str, str] = {}
        questions = []
        for path in self._files(root):
            for place, row in read_rows(path):
                question = question_of(row, f"{path}, {place}", whole=True)
                if question.id in first_seen:
                    raise UserError(f"{path}, {place}: id {question.id!r} again (first: {first_seen[question.id]})")
                first_seen[question.id] = f"{path.name}, {place}"
                questions.append(question)
        return self._keep(questions)

    def digest(self, root: Path | None) -> str:
        """SHA-256 over the bytes of the question files."""
        digest = hashlib.sha256()
        for path in self._files(root):
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def _files(self, root: Path | None) -> list[Path]:
        """The question file, or the parquet shards of one split."""
        if root is None or not root.is_dir():
            where = f"{root} is not a folder" if root else "no root is given"
            raise UserError(f"bench vsibench: {where}", "--root FOLDER: the one that holds test.parquet or test.jsonl")
        if self.file is not None:
            if Path(self.file).name != self.file or not (root / self.file).is_file():
                raise UserError(f"bench vsibench: {root} holds no file {self.file!r}", _listing(root))
            return [root / self.file]
        for pattern in ("test.parquet", "test-*-of-*.parquet", "test.jsonl"):
            if found := sorted(root.glob(pattern)):
                _require_all_shards(found)
                return found
        found = _candidates(root)
        if len(found) != 1:
            problem = "several question files" if found else "no question file"
            raise UserError(f"bench vsibench: {problem} in {root}", _listing(root))
        return found


def _require_all_shards(files: list[Path]) -> None:
    """`UserError` when a shard of a split is missing: part of a bench must not pass for all of it."""
    total = files[0].stem.rpartition("-of-")[2]
    if total.isdigit() and len(files) != int(total):
        raise UserError(f"{files[0].parent} holds {len(files)} of {int(total)} files {files[0].name} …")


def _candidates(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.suffix in (".parquet", ".jsonl") and p.is_file())


def _listing(root: Path) -> str:
    names = [p.name for p in _candidates(root)]
    if names:
        return f"choose one with file=NAME: {', '.join(names)}"
    return "expected test.parquet, test-00000-of-00001.parquet or test.jsonl"
