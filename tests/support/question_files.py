"""Question files of SQA3D and ScanQA in miniature, in the layouts of their releases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

ASKED = [
    ("What is on my left?", "TV"),
    ("Is the door open?", "no"),
    ("How many chairs are there?", "two"),
    ("Can I reach the lamp?", "yes"),
    ("Which way is the sofa?", "backward"),
    ("Are there books?", "yes"),
]


def write_sqa3d(folder: Path, scenes: Sequence[str], split: str = "test") -> None:
    """Six questions a scene, one of each type; `questions` and `annotations` in different orders."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(scene, k, text, answer) for scene in scenes for k, (text, answer) in enumerate(ASKED)]
    questions = [
        {
            "scene_id": scene,
            "situation": "I am standing by the sofa.",
            "alternative_situation": ["I sit on the sofa.", "I left the table."],
            "question": text,
            "question_id": 100 * (1 + scenes.index(scene)) + k,
        }
        for scene, k, text, _ in rows
    ]
    annotations = [
        {
            "scene_id": scene,
            "question_type": "N/A",
            "answer_type": "other",
            "question_id": 100 * (1 + scenes.index(scene)) + k,
            "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": 1}],
            "rotation": {"_x": 0, "_y": 0, "_z": 0.6, "_w": 0.8},
            "position": {"x": 0.5, "y": -1.0, "z": 0},
        }
        for scene, k, _, answer in reversed(rows)
    ]
    for name, key, content in (("questions", "questions", questions), ("sqa_annotations", "annotations", annotations)):
        path = folder / f"v1_balanced_{name}_{split}_scannetv2.json"
        path.write_text(json.dumps({"info": {"version": "1.0"}, "task_type": "x", key: content}))


def write_scanqa(folder: Path, scenes: Sequence[str], split: str = "val") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "answers": [answer, f"{answer} one"],
            "object_ids": [1],
            "object_names": ["thing"],
            "question": text,
            "question_id": f"{split}-{scene}-{k}",
            "scene_id": scene,
        }
        for scene in scenes
        for k, (text, answer) in enumerate(ASKED)
    ]
    (folder / f"ScanQA_v1.0_{split}.json").write_text(json.dumps(rows))
