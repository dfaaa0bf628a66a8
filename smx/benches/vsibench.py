"""VSI-Bench: 5,130 questions of ten types on 288 videos of real rooms, choice and numerical.

Rows are VSI-Bench's own (`id, dataset, scene_name, question_type, question, options, ground_truth`), read from
the public release's parquet or jsonl file; the videos beside it are the dataset `vsibench`.

VSI-Bench-Debiased (arXiv 2511.04655) is `subset: debiased`: the 2,362 questions that are left once 2,768, which
can be answered without looking, are pruned. The release of November 2025 (nyu-visionx/VSI-Bench at d7cb1a3) has it
three times over: `test_debiased.parquet` and `test_pruned.parquet`, which make up the whole; in those a boolean
column `pruned`; and, for `test.jsonl`, the ids in `pruned_ids.txt`, one a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from smx.benches import Question
from smx.benches._rows import Row, read_rows
from smx.benches._vsi import VsiBench, question_of
from smx.errors import UserError

DEBIASED, PRUNED, PRUNED_IDS = "test_debiased.parquet", "test_pruned.parquet", "pruned_ids.txt"
_SOURCE = "nyu-visionx/VSI-Bench on Hugging Face"


class Bench(VsiBench):
    """VSI-Bench's test split. It has no training split."""

    hub: ClassVar[str] = "nyu-visionx/VSI-Bench"
    dataset: ClassVar[str] = "vsibench"
    later: ClassVar[Mapping[str, Any]] = {"subset": "full"}

    file: str | None = None  # name of the question file under the root; None: the test split
    subset: Literal["full", "debiased"] = "full"  # debiased: without what can be answered blindly

    def questions(self, root: Path | None) -> list[Question]:
        """Questions of the subset that `where` keeps; `scene` is "<dataset>/<scene_name>"."""
        first_seen: dict[str, str] = {}
        questions = []
        for path, place, row in self._rows(root):
            question = question_of(row, f"{path}, {place}", whole=True)
            if question.id in first_seen:
                raise UserError(f"{path}, {place}: id {question.id!r} again (first: {first_seen[question.id]})")
            first_seen[question.id] = f"{path.name}, {place}"
            questions.append(question)
        if questions and not any(question.truth for question in questions):
            raise UserError(f"{root}: no question has a 'ground_truth'", "a question without one cannot be scored")
        return self._keep(questions)

    def digest(self, root: Path | None) -> str:
        """SHA-256 over the bytes of the files that say what is asked."""
        files, ids = self._sources(root)
        digest = hashlib.sha256()
        for path in files if ids is None else [*files, ids]:
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def _rows(self, root: Path | None) -> Iterator[tuple[Path, str, Row]]:
        """Rows of the subset with their file and place in it."""
        files, ids = self._sources(root)
        rows = [(path, place, row) for path in files for place, row in read_rows(path)]
        if self.subset == "full":
            yield from rows
            return
        pruned = {i.strip() for i in ids.read_text(encoding="utf-8").splitlines()} - {""} if ids else None
        if pruned is not None and pruned.isdisjoint(str(row.get("id")) for _, _, row in rows):
            raise UserError(
                f"bench vsibench: none of the {len(pruned)} ids in {ids} is one of {files[0]}",
                f"both are of one release of {_SOURCE}",
            )
        for path, place, row in rows:
            cut = _is_pruned(row, f"{path}, {place}") if pruned is None else str(row.get("id")) in pruned
            if cut and path.name == DEBIASED:
                raise UserError(f"{path}, {place}: this question is marked as pruned", f"take the file from {_SOURCE}")
            if not cut:
                yield path, place, row

    def _sources(self, root: Path | None) -> tuple[list[Path], Path | None]:
        """Question files, and the list of pruned ids where that is what tells the subset."""
        if root is None or not root.is_dir():
            where = f"{root} is not a folder" if root else "no root is given"
            raise UserError(f"bench vsibench: {where}", "--root FOLDER: the one that holds test.parquet or test.jsonl")
        if self.subset == "debiased" and self.file is None and (root / DEBIASED).is_file():
            return [root / DEBIASED], None
        try:
            files = self._files(root)
        except UserError as error:
            if self.subset == "full" or self.file is not None:
                raise
            raise _no_subset(root, error.message) from None
        if self.subset == "full" or "pruned" in read_rows(files[0])[0][1]:
            return files, None
        if (root / PRUNED_IDS).is_file():
            return files, root / PRUNED_IDS
        raise _no_subset(root, f"{files[0].name} has no column 'pruned'")

    def _files(self, root: Path) -> list[Path]:
        """The question file, or the parquet shards or halves of one split."""
        if self.file is not None:
            if Path(self.file).name != self.file or not (root / self.file).is_file():
                raise UserError(f"bench vsibench: {root} holds no file {self.file!r}", _listing(root))
            return [root / self.file]
        for pattern in ("test.parquet", "test-*-of-*.parquet", "test.jsonl"):
            if found := sorted(root.glob(pattern)):
                _require_all_shards(found)
                return found
        halves = [root / name for name in (DEBIASED, PRUNED)]
        if all(half.is_file() for half in halves):
            return halves
        found = _candidates(root)
        if len(found) == 1 and found[0] in halves:
            _refuse_half(found[0])
        if len(found) != 1:
            problem = "several question files" if found else "no question file"
            raise UserError(f"bench vsibench: {problem} in {root}", _listing(root))
        return found


def _is_pruned(row: Row, place: str) -> bool:
    pruned = row.get("pruned")
    if not isinstance(pruned, bool):
        raise UserError(f"{place}: 'pruned' must be true or false, found {pruned!r}")
    return pruned


def _no_subset(root: Path, found: str) -> UserError:
    found = found.removeprefix("bench vsibench: ")
    return UserError(
        f"bench vsibench: which questions are the debiased ones? {root} holds neither {DEBIASED} nor {PRUNED_IDS}, "
        f"and {found}",
        f"take it from {_SOURCE}: hf download nyu-visionx/VSI-Bench {DEBIASED} --repo-type dataset --local-dir {root}",
    )


def _refuse_half(file: Path) -> None:
    """`UserError`: a part of a bench must not pass for all of it."""
    ask = "for these alone: --subset debiased; " if file.name == DEBIASED else ""
    other = PRUNED if file.name == DEBIASED else DEBIASED
    raise UserError(
        f"bench vsibench: {file} holds a part of the questions, and {file.parent} not the others",
        f"{ask}for all: test.jsonl or {other} beside it, from {_SOURCE}",
    )


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
