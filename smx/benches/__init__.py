"""Benches: questions, prompts, scorers. One file each, `class Bench(BaseBench)`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from smx.errors import UserError, unknown
from smx.options import Options


@dataclass(frozen=True)
class Question:
    """One row of a bench. `scene` is the id the bench's dataset plugin uses for it."""

    id: str
    dataset: str  # the bench's own dataset column (scannet, arkitscenes, rooms …)
    scene: str
    type: str
    text: str
    options: tuple[str, ...] | None
    truth: str
    also: tuple[str, ...] = ()  # other answers that are as right

    @property
    def truths(self) -> tuple[str, ...]:
        """Every answer that is right."""
        return self.truth, *self.also


@dataclass(frozen=True)
class Verdict:
    """A scorer's reading of one raw answer. `score` is in 0..1; unparsed answers score 0 and are counted."""

    parsed: str | None
    score: float


class BaseBench(Options):
    """Contract of a bench plugin. Fields are its options (prompt, where, …)."""

    needs_root: ClassVar[bool] = True
    hub: ClassVar[str] = ""  # repository of Hugging Face that publishes its questions
    dataset: ClassVar[str]  # the dataset plugin its scenes come from
    scorers: ClassVar[tuple[str, ...]]  # first is the default
    # of those whose rule has changed (2, 3 …) or is a tool's of a date; all others are at version 1
    scorer_versions: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def scorer_id(cls, name: str) -> str:
        """What a score is recorded under: "official@1". Numbers of two versions are never in one table."""
        return f"{name}@{cls.scorer_versions.get(name, '1')}"

    @classmethod
    def scorer_named(cls, given: str | None) -> str:
        """The scorer that `given` means: a name, a name@version, or None for the first.

        `UserError` for an unknown name, and for a version that is not the one here.
        """
        if given is None:
            return cls.scorers[0]
        name, _, version = given.partition("@")
        if name not in cls.scorers:
            raise unknown("scorer", given, cls.scorers)
        if version and given != cls.scorer_id(name):
            raise UserError(f"scorer {name} is at version {cls.scorer_id(name).partition('@')[2]} here, not {version}")
        return name

    def dataset_options(self) -> dict[str, Any]:
        """Options for the dataset plugin, so that both speak of the same scenes."""
        return {}

    @abstractmethod
    def questions(self, root: Path | None) -> list[Question]:
        """All questions that `where` keeps, sorted by (scene, id). `UserError` with file and line when broken."""

    def training(self, root: Path | None) -> list[Question]:
        """Training questions (for train and for chance/frequency); empty where the bench has none."""
        return []

    def lacks_training(self, root: Path | None) -> str:
        """Why `training` has no questions, where it has none: the file that is missing, or that there is no split."""
        return "it has no training split"

    def training_digest(self, root: Path | None) -> str:
        """Identity of what `training` reads, hex."""
        return self.digest(root)

    def training_dataset_options(self) -> dict[str, Any]:
        """Options for the dataset plugin that holds the scenes of `training`."""
        return {}

    def baseline_answers(self, root: Path | None) -> tuple[list[Question], str]:
        """What chance and frequency may look at, and its name for the record.

        The training questions where there are any, else the bench's own, as VSI-Bench's paper has it.
        """
        training = self.training(root)
        if training:
            return training, "answers of the training split"
        return self.questions(root), "answers of the test split, as in the VSI-Bench paper"

    @abstractmethod
    def question_of(self, row: Mapping[str, Any], place: str) -> Question:
        """A row of a file of predictions (`smx score`) as a question. `UserError` starting with `place`."""

    @abstractmethod
    def digest(self, root: Path | None) -> str:
        """Identity of the question file(s), hex."""

    @abstractmethod
    def render(self, question: Question) -> str:
        """The user prompt that follows the video."""

    @abstractmethod
    def judge(self, question: Question, text: str, scorer: str) -> Verdict:
        """Score one raw answer with one named scorer. Pure."""

    @abstractmethod
    def summarize(self, scored: Sequence[tuple[Question, Verdict]]) -> Mapping[str, Any]:
        """`{"n", "unparsed", "types": {type: {"score", "n"}}, "tasks": {...}, "acc": {"micro", "macro"}, ...}`.

        Works on any subset of types; a mean over nothing is None.
        """

    def of_all(self, answers: Sequence[tuple[Question, str]], scorer: str) -> Mapping[str, float | None]:
        """What a scorer says of all answers at once and of none alone (CIDEr, BLEU …), by name; mostly nothing.

        Asked for by `smx score`, not stored with runs. `UserError` for what is not installed.
        """
        return {}

    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Task -> its question types: what `summarize` averages by, so that intervals can be drawn for it.

        Empty: no intervals.
        """
        return {}

    def averages(self) -> Mapping[str, Collection[str]]:
        """Name of an average (`all`, `acc` …) -> the question types it is over."""
        return {}
