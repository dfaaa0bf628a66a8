"""VSI-SUPER-Count: how many objects of a kind were seen in videos of ten minutes to two hours; numerical.

Read as nyu-visionx/VSI-SUPER-Count on Hugging Face has it (or VLMEvalKit's tables of it), asked as Cambrian-S's code
does (lmms_eval/tasks/cambrians_vsc, as EASI's VLMEvalKit quotes it). Rows of the streaming setting ask at many moments
of a video that goes on, which a sample of frames is no answer to: they are left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from smx.benches._rows import Row
from smx.benches._video_questions import VideoQuestions, first

LENGTHS = ("10mins", "30mins", "60mins", "120mins")


class Bench(VideoQuestions):
    """VSI-SUPER-Count; a task for each length of video, by mean relative accuracy."""

    name: ClassVar[str] = "vsi_super_count"
    hub: ClassVar[str] = "nyu-visionx/VSI-SUPER-Count"
    files: ClassVar[tuple[str, ...]] = ("test*.parquet", "data/*.parquet", "*.parquet", "VsiSuperCount_*.tsv")
    task_types: ClassVar[dict[str, tuple[str, ...]]] = {length: (length,) for length in LENGTHS}
    numerical: ClassVar[frozenset[str]] = frozenset(LENGTHS)

    def is_left_out(self, row: Row) -> bool:
        """The streaming setting."""
        return str(row.get("question_type", row.get("split", ""))).endswith("_streaming")

    def row(self, row: Row) -> dict[str, Any]:
        """`split` is the length of the video."""
        return {
            "id": row.get("id", row.get("index")),
            "video": row.get("video_path", row.get("video")),
            "type": first(row, "question_type", "split", "type"),
            "question": row.get("question"),
            "truth": first(row, "ground_truth", "answer"),
        }
