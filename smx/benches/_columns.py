"""What the columns of somebody's table are, by their names: those that benches and tools use for the same thing."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from smx.errors import UserError

LETTERS = string.ascii_uppercase
# What a question needs or may have -> names of its column, the likeliest first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "scene": ("video", "video_path", "video_file", "video_name", "video_id", "scene", "scene_name", "scene_id", "clip"),
    "question": ("question", "prompt", "query", "instruction", "q"),
    "truth": ("answer", "ground_truth", "truth", "gt", "gt_answer", "correct_answer", "target", "label"),
    "options": ("options", "candidates", "choices"),
    "type": ("question_type", "type", "task_type", "task", "category"),
    "id": ("id", "question_id", "qid", "uid", "index"),
}
NEEDED = ("scene", "question", "truth")
# As `smx.datasets._files.VIDEOS`; a name may hold other dots.
_ENDINGS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".gif", ".wmv", ".flv", ".3gp")


def guess(columns: Sequence[str], given: Mapping[str, Any], where: str) -> dict[str, str | None]:
    """Role -> column: as `given`, else by its name. `UserError` where one that is needed cannot be told."""
    lower = {column.lower().strip().replace(" ", "_"): column for column in reversed(columns)}
    roles: dict[str, str | None] = {}
    for role, names in NAMES.items():
        if given.get(role) is not None:
            if given[role] not in columns:
                raise UserError(f"{where} has no column {given[role]!r}", f"columns: {', '.join(columns)}")
            roles[role] = given[role]
            continue
        taken = set(roles.values())
        roles[role] = next((lower[name] for name in names if name in lower and lower[name] not in taken), None)
        if roles[role] is None and role in NEEDED:
            raise UserError(
                f"{where}: which column is the {role}?",
                f"--set bench_options.{role}=COLUMN; columns: {', '.join(columns)}",
            )
    return roles


def words(roles: Mapping[str, str | None], columns: Sequence[str]) -> str:
    """What was made of the columns, for a person to look at."""
    options = roles["options"] or ("A, B …" if "A" in columns and "B" in columns else None)
    choice = f"letter where `{options}`, " if options else ""
    parts = [f"`{roles['scene']}` → scene", f"`{roles['question']}`", f"`{roles['truth']}` → truth"]
    more = "".join(f", `{roles[role]}` → {role}" for role in ("type", "id") if roles[role])
    return f"{', '.join(parts)} ({choice}number → MRA, else em){more}"


def scene_of(cell: str) -> str:
    """The scene that a cell names, as the dataset `frames` does: `clips/kitchen.mp4` is `kitchen`."""
    name = PurePosixPath(cell.replace("\\", "/")).name
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    return name.removesuffix(name[len(name) - len(ending) :]) if ending else name
