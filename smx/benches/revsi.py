"""ReVSI: VSI-Bench asked again, with answers that the frames a model sees do contain; choice and numerical.

Read as 3dlg-hcvc/ReVSI on Hugging Face has it (a set of questions and of videos for 16, 32, 64 or all frames), asked
and scored as lmms-eval does (lmms_eval/tasks/revsi at 75571cf).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from smx.benches import Question
from smx.benches._rows import Row
from smx.benches._video_questions import VideoQuestions, first

NUMBER = "Answer the question using a single integer or decimal number."

_NUMERICAL = {
    "object_counting": ("object_counting_single", "object_counting_multiple"),
    "object_abs_distance": ("object_abs_distance",),
    "object_size_estimation": ("object_size_estimation",),
    "room_size_estimation": ("room_size_estimation_single", "room_size_estimation_multiple"),
}
_CHOICE = {
    "object_rel_distance": ("object_rel_distance_closest", "object_rel_distance_farthest"),
    "object_rel_direction": tuple(
        f"object_rel_direction_{way}_{level}" for level in ("easy", "hard") for way in ("forward", "backward")
    ),
    "route_planning": ("route_planning",),
}


class Bench(VideoQuestions):
    """ReVSI. The official overall is the mean of its seven tasks: `all.macro`."""

    name: ClassVar[str] = "revsi"
    hub: ClassVar[str] = "3dlg-hcvc/ReVSI"
    files: ClassVar[tuple[str, ...]] = ("{}/test*.parquet", "data/{}/test*.parquet", "{}*.parquet", "{}.tsv")
    task_types: ClassVar[dict[str, tuple[str, ...]]] = {**_NUMERICAL, **_CHOICE}
    numerical: ClassVar[frozenset[str]] = frozenset(kind for kinds in _NUMERICAL.values() for kind in kinds)

    clip: Literal["16_frame", "32_frame", "64_frame", "all_frame"] = Field(
        "all_frame", description="which videos and questions: of the frames that both hold"
    )

    def question_files(self) -> tuple[str, ...]:
        """Those of the clips that are asked about."""
        return tuple(pattern.format(self.clip) for pattern in self.files)

    def row(self, row: Row) -> dict[str, Any]:
        """`scene_id` names a video in the folder of its clip."""
        video = f"{self.clip}/{row.get('scene_id', '')}.mp4" if row.get("scene_id") else None
        own = {key: row.get(key) for key in ("id", "dataset", "question", "options")}
        return {**own, "video": video, "type": first(row, "question_type"), "truth": first(row, "ground_truth")}

    def render(self, question: Question) -> str:
        """As lmms-eval asks."""
        if question.type in self.numerical:
            return super().render(question).rpartition("\n")[0] + f"\n{NUMBER}"
        return super().render(question)
