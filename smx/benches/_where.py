"""Filters of questions, `where: question_type=a|b,dataset=c`, which every bench with rows has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smx.benches import Question
from smx.errors import UserError, unknown

KEYS = ("dataset", "id", "question_type", "scene_name")


def parse_where(value: Any, types: Sequence[str]) -> Any:
    """`"question_type=a|b,dataset=c"` or a mapping into `{key: sorted tuple of allowed values}`."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError("expected KEY=VALUE,KEY=VALUE; alternatives as KEY=A|B")
        value = {key.strip(): allowed for key, _, allowed in pairs}
    if not isinstance(value, Mapping):
        raise ValueError("expected KEY=VALUE,KEY=VALUE or a mapping")  # noqa: TRY004 (pydantic turns it into a UserError)
    return {str(key): _alternatives(str(key), value[key], types) for key in sorted(value, key=str)}


def keep(questions: Sequence[Question], where: Mapping[str, tuple[str, ...]]) -> list[Question]:
    """Those that `where` lets through, sorted by (scene, id). `UserError` when none is left."""
    kept = [q for q in questions if all(_field(q, key) in allowed for key, allowed in where.items())]
    if questions and not kept:
        shown = ",".join(f"{key}={'|'.join(allowed)}" for key, allowed in where.items())
        here = [f"{key} here: {', '.join(_some(questions, key))}" for key in where]
        raise UserError(f"no question has {shown}", "\n".join(here))
    return sorted(kept, key=lambda q: (q.scene, q.id))


def _alternatives(key: str, value: Any, types: Sequence[str]) -> tuple[str, ...]:
    if key not in KEYS:
        raise unknown("filter", key, KEYS, f"filters look like question_type={types[0]},dataset=scannet")
    listed = value.split("|") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    allowed = tuple(sorted({str(item).strip() for item in listed}))
    for name in allowed:
        if key == "question_type" and name not in types:
            raise unknown("question type", name, types)
    return allowed


def _field(question: Question, key: str) -> str:
    if key == "scene_name":
        return question.scene.rpartition("/")[2]
    return {"dataset": question.dataset, "id": question.id, "question_type": question.type}[key]


def _some(questions: Sequence[Question], key: str) -> list[str]:
    found = sorted({_field(q, key) for q in questions})
    return found if len(found) <= 12 else [*found[:12], f"… ({len(found)} in all)"]
