"""VSTI-Bench: how cameras and objects move in videos of ScanNet, ScanNet++ and ARKitScenes; choice and numerical.

Read as Journey9ni/vstibench on Hugging Face has it (`test-*.parquet` with `video_path`, `mc_answer`), asked and scored
as VLM-3R's code does (thinking-in-space/lmms_eval/tasks/vstibench at 6dd1264). The revision of 13 July 2026 corrected
camera positions: 5,736 questions, whose scores are not comparable with those of the 6,042 before.
"""

from __future__ import annotations

from typing import Any, ClassVar

from smx.benches._rows import Row
from smx.benches._video_questions import VideoQuestions, first

_NUMERICAL = ("camera_obj_abs_dist", "camera_displacement", "camera_obj_dist_change")
_CHOICE = (
    "camera_movement_direction",
    *(f"camera_obj_rel_dist_v{version}" for version in (1, 2, 3)),
    *(f"obj_obj_relative_pos_{axis}" for axis in ("nf", "ud", "lr")),
)


class Bench(VideoQuestions):
    """VSTI-Bench's test split. The official overall is the mean of its types: `all.macro`."""

    name: ClassVar[str] = "vstibench"
    hub: ClassVar[str] = "Journey9ni/vstibench"
    files: ClassVar[tuple[str, ...]] = ("test*.parquet", "data/test*.parquet", "test*.json*")
    task_types: ClassVar[dict[str, tuple[str, ...]]] = {kind: (kind,) for kind in (*_NUMERICAL, *_CHOICE)}
    numerical: ClassVar[frozenset[str]] = frozenset(_NUMERICAL)

    def row(self, row: Row) -> dict[str, Any]:
        """A choice's answer is the letter in `mc_answer`; `ground_truth` has its text."""
        kind = first(row, "question_type")
        truth = first(row, "mc_answer") if kind in _CHOICE else row.get("ground_truth")
        video = row.get("video_path") or f"{row.get('dataset', '')}/{row.get('scene_name', '')}"
        names = {"id": "id", "dataset": "dataset", "question": "question", "options": "options"}
        return {"type": kind, "truth": truth, "video": video, **{key: row.get(name) for key, name in names.items()}}
