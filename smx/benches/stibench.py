"""STI-Bench: distances, sizes, speeds and paths in videos of desks, rooms and roads; 2,064 choices of five.

Read as MINT-SJTU/STI-Bench on Hugging Face has it (`qa.parquet`: `Video, ID, Question, Candidates, Answer, Task,
time_start, time_end`), asked as its `openai_test.py` (at 05018e8) does. That states the rate at which frames were
sampled; chosen frames have none, so the prompt says what VLMEvalKit's says then. The release has no scorer: the first
here is VLMEvalKit's, by which EASI's tables are made.
"""

from __future__ import annotations

from typing import Any, ClassVar

from smx.benches import Question
from smx.benches._rows import Row
from smx.benches._video_questions import VideoQuestions, first

TASKS = (
    "Dimensional Measurement",
    "Spatial Relation",
    "3D Video Grounding",
    "Displacement & Path Length",
    "Speed & Acceleration",
    "Ego-Centric Orientation",
    "Trajectory Description",
    "Pose Estimation",
)


class Bench(VideoQuestions):
    """STI-Bench. Every question is about a stretch of its video, which the prompt names."""

    name: ClassVar[str] = "stibench"
    hub: ClassVar[str] = "MINT-SJTU/STI-Bench"
    scorers: ClassVar[tuple[str, ...]] = ("vlmevalkit", "official", "lenient")
    files: ClassVar[tuple[str, ...]] = ("qa.parquet", "data/qa*.parquet", "STIBench.tsv")
    task_types: ClassVar[dict[str, tuple[str, ...]]] = {task: (task,) for task in TASKS}

    def row(self, row: Row) -> dict[str, Any]:
        """Of the release, or of VLMEvalKit's table of it."""
        kind, truth = first(row, "Task", "task_type"), first(row, "Answer", "answer")
        candidates = row.get("Candidates", row.get("options"))
        if isinstance(candidates, dict):  # parquet gives each row all letters, those it does not use as None
            candidates = [f"{letter} {text}" for letter, text in candidates.items() if text is not None]
        start, end = row.get("time_start"), row.get("time_end")
        video, question = row.get("Video", row.get("video")), row.get("Question", row.get("question"))
        own = row.get("index") if row.get("ID") is None else f"{video}|{row['ID']}|{start}|{end}"
        asked = f"From {start} seconds to {end} seconds. {question}" if question else question
        return {
            "id": own,
            "dataset": row.get("Source"),
            "video": video,
            "type": kind,
            "question": asked,
            "options": candidates,
            "truth": truth,
        }

    def render(self, question: Question) -> str:
        """As the release asks, without the rate that chosen frames do not have."""
        lines = [
            "Answer the question below based on the frames provided, which are sampled at an unspecified frame rate.",
            f"Question: {question.text}",
            *(question.options or ()),
            "Please output only the option you choose!",
        ]
        return "\n".join(lines)
