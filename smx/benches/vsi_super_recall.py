"""VSI-SUPER-Recall: in which order unusual objects were seen in videos of ten minutes to four hours; choices of four.

Read as nyu-visionx/VSI-SUPER-Recall on Hugging Face has it (or VLMEvalKit's tables of it), asked as Cambrian-S's code
does (lmms_eval/tasks/cambrians_vsr, as EASI's VLMEvalKit quotes it): the only prompt here without a line about frames.
"""

from __future__ import annotations

from typing import Any, ClassVar

from smx.benches import Question
from smx.benches._rows import Row
from smx.benches._video_questions import LETTER, VideoQuestions, first

LENGTHS = ("10mins", "30mins", "60mins", "120mins", "240mins")


class Bench(VideoQuestions):
    """VSI-SUPER-Recall; a task for each length of video."""

    name: ClassVar[str] = "vsi_super_recall"
    hub: ClassVar[str] = "nyu-visionx/VSI-SUPER-Recall"
    files: ClassVar[tuple[str, ...]] = ("test*.parquet", "data/*.parquet", "*.parquet", "VsiSuperRecall_*.tsv")
    task_types: ClassVar[dict[str, tuple[str, ...]]] = {length: (length,) for length in LENGTHS}

    def row(self, row: Row) -> dict[str, Any]:
        """`type` is the length of the video."""
        return {
            "id": row.get("id", row.get("index")),
            "video": row.get("video_path", row.get("video")),
            "type": first(row, "question_type", "type"),
            "question": row.get("question"),
            "options": row.get("options"),
            "truth": first(row, "mc_answer", "ground_truth", "answer"),
        }

    def render(self, question: Question) -> str:
        """Question, options and the request for a letter."""
        return "\n".join([question.text, "Options:", *(question.options or ()), LETTER])
