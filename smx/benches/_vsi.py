"""What VSI-Bench and the built-in rooms share: types, prompts, filters, scorers and averages."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from smx.benches import BaseBench, Question, Verdict
from smx.benches._averages import summarize
from smx.benches._lenient import lenient
from smx.benches._rows import list_in
from smx.benches._scorers import lmms_eval, official, positive, spatial_mllm
from smx.benches._vlmevalkit import vlmevalkit
from smx.benches._where import keep, parse_where
from smx.errors import UserError, unknown

# task -> its question types, in the order of the published tables
TASKS: dict[str, tuple[str, ...]] = {
    "object_counting": ("object_counting",),
    "object_abs_distance": ("object_abs_distance",),
    "object_size_estimation": ("object_size_estimation",),
    "room_size_estimation": ("room_size_estimation",),
    "object_rel_distance": ("object_rel_distance",),
    "object_rel_direction": (
        "object_rel_direction_easy",
        "object_rel_direction_medium",
        "object_rel_direction_hard",
    ),
    "route_planning": ("route_planning",),
    "obj_appearance_order": ("obj_appearance_order",),
}
TYPES = tuple(t for types in TASKS.values() for t in types)
NUMERICAL = frozenset(TYPES[:4])  # scored by MRA; metres, cm, m², or a count
CHOICE = frozenset(TYPES[4:])  # scored by accuracy; the answer is the letter of an option

PUBLISHED = {
    "official": official,
    "spatial-mllm": spatial_mllm,
    "lmms-eval": lmms_eval,
    "vlmevalkit": vlmevalkit,
}
SCORERS = (*PUBLISHED, "lenient")

Where = Annotated[dict[str, tuple[str, ...]], BeforeValidator(partial(parse_where, types=TYPES))]


class VsiBench(BaseBench):
    """A bench with VSI-Bench's ten question types; a subclass says where the questions come from."""

    scorers: ClassVar[tuple[str, ...]] = SCORERS
    scorer_versions: ClassVar[Mapping[str, str]] = {"lmms-eval": "2026-07", "vlmevalkit": "2026-03", "lenient": "2"}

    prompt: Literal["official", "spatial-mllm"] = "official"  # the latter has no line about the frames
    where: Where = Field(default_factory=dict)  # which questions are asked; empty: all

    def render(self, question: Question) -> str:
        """The user prompt after the video, as lmms_eval's vsibench task or Spatial-MLLM v1.1 words it."""
        lines = ["These are frames of a video."] if self.prompt == "official" else []
        lines.append(question.text)
        if question.type in CHOICE:
            lines += ["Options:", *(question.options or ())]
            lines.append("Answer with the option's letter from the given choices directly.")
        else:
            lines.append("Please answer the question using a single word or phrase.")
        return "\n".join(lines)

    def judge(self, question: Question, text: str, scorer: str) -> Verdict:
        """Score one raw answer. `ValueError` for a numerical ground truth that is not a positive number."""
        if scorer not in SCORERS:
            raise unknown("scorer", scorer, SCORERS)
        numerical = question.type in NUMERICAL
        if scorer == "lenient":
            return lenient(text, question.truth, question.options, numerical=numerical)
        return PUBLISHED[scorer](text, question.truth, numerical=numerical)

    def question_of(self, row: Mapping[str, Any], place: str) -> Question:
        """A row of a file of predictions: only its type and ground truth must be there."""
        return question_of(row, place, whole=False)

    def summarize(self, scored: Sequence[tuple[Question, Verdict]]) -> dict[str, Any]:
        """Scores by type and task, and six averages: acc (choice), mra (numerical), all; each micro and macro.

        micro is the mean over items; macro the mean over the tasks present, a task being the mean of its types
        present (so the three of relative direction count as one). A mean over nothing is None.
        """
        return summarize(scored, self.tasks(), self.averages())

    def tasks(self) -> Mapping[str, tuple[str, ...]]:
        """The eight tasks of the published tables."""
        return TASKS

    def averages(self) -> Mapping[str, Collection[str]]:
        """Choice by accuracy, numerical by MRA, and both."""
        return {"acc": CHOICE, "mra": NUMERICAL, "all": CHOICE | NUMERICAL}

    def _keep(self, questions: Sequence[Question]) -> list[Question]:
        """Those that `where` lets through, sorted by (scene, id). `UserError` when none is left."""
        return keep(questions, self.where)


def question_of(row: Mapping[str, Any], place: str, *, whole: bool) -> Question:
    """One row in VSI-Bench's columns as a `Question`. `UserError` starting with `place` when it cannot be one.

    `whole` rows can be asked (id, scene, question, options), and one without a ground truth is a question without
    `truth`, which fails alone; others can only be scored (type and ground truth).
    """
    kind = row.get("question_type")
    if kind is None:
        raise UserError(f"{place}: no 'question_type'", f"fields here: {', '.join(map(str, row)) or 'none'}")
    if kind not in TYPES:
        wrong = unknown("question type", str(kind), TYPES)
        raise UserError(f"{place}: {wrong.message}", wrong.hint)
    options = _options(row.get("options"), place) if kind in CHOICE else None
    if whole and kind in CHOICE and not options:
        raise UserError(f"{place}: a question of type {kind} without options")
    for column in ("id", "dataset", "scene_name", "question") if whole else ():
        if row.get(column) in (None, ""):
            raise UserError(f"{place}: no {column!r}", f"fields here: {', '.join(map(str, row))}")
    dataset, scene = str(row.get("dataset", "")), str(row.get("scene_name", ""))
    for name in (dataset, scene) if whole else ():
        if name in (".", "..") or re.search(r"[/\\\x00-\x1f]", name):
            raise UserError(f"{place}: {name!r} cannot be the name of a folder or file")
    return Question(
        id=str(row.get("id", "")),
        dataset=dataset,
        scene=f"{dataset}/{scene}",
        type=kind,
        text=str(row.get("question", "")),
        options=options,
        truth=""
        if whole and _is_empty(row.get("ground_truth"))
        else _truth(row.get("ground_truth"), kind, options, place),
    )


def _options(value: Any, place: str) -> tuple[str, ...] | None:
    if isinstance(value, str):  # a cell of a csv file
        value = list_in(value)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{place}: options must be a list of texts, found {value!r}")
    return tuple(value) or None


def _is_empty(truth: Any) -> bool:
    return truth is None or (isinstance(truth, str) and not truth.strip())


def _truth(value: Any, kind: str, options: tuple[str, ...] | None, place: str) -> str:
    truth = "" if _is_empty(value) or isinstance(value, bool) else str(value).strip()
    if not truth:
        raise UserError(f"{place}: no 'ground_truth'", "a question without a known answer cannot be scored")
    if kind in NUMERICAL:
        try:
            positive(truth)
        except ValueError as error:
            raise UserError(f"{place}: {error}", f"{kind} is scored by its relative error") from None
        return truth
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(options) if options else 26]
    if len(truth) != 1 or truth.upper() not in letters:
        valid = f"valid: {', '.join(letters)}" if options else "expected one letter"
        raise UserError(f"{place}: ground truth {truth!r} is not the letter of an option", valid)
    return truth
