"""Sample sets for other tools: pictures or clips with a list of them, and task folders that those tools load."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smx import sampleset
from smx.atomic_io import write_atomic
from smx.benches import BaseBench, Question
from smx.benches._vsi import VsiBench
from smx.errors import SceneError, UserError
from smx.samples import _export_templates as templates

Kind = Literal["lmms-eval", "vlmevalkit", "list", "video"]
KINDS: tuple[Kind, ...] = ("lmms-eval", "vlmevalkit", "list", "video")
WITH_QUESTIONS: tuple[Kind, ...] = ("lmms-eval", "vlmevalkit")


@dataclass(frozen=True)
class Asked:
    """The questions of a bench, for tools that are handed tasks."""

    name: str
    bench: BaseBench
    questions: list[Question]
    datasets: tuple[str, ...]  # as the records of the set name those that the bench asks about


def by_scene(samples: Mapping[str, Path]) -> dict[str, Path]:
    """`"<dataset>/<scene>"` as the records have it -> folder, of `samples_of` a set.

    `UserError` where a scene is there twice, from two roots of its dataset: whose frames are meant?
    """
    found: dict[str, Path] = {}
    for folder in samples.values():
        record = sampleset.read_record(folder)
        name = f"{record['dataset']}/{record['scene']}"
        if name in found:
            raise UserError(
                f"scene {name} is there twice, from two roots of its dataset: {found[name]} and {folder}",
                "name the folder of one of them in place of SET",
            )
        found[name] = folder
    return found


def export(
    sets: Mapping[str, Path], title: str, kind: Kind, target: Path, asked: Asked | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the samples of one set (`"<dataset>/<scene>"` -> folder) below `target`, which must not hold anything yet.

    Pictures keep their order: `frames/<dataset>/<scene>/00_<id>.png`. `video` writes a clip a scene instead, a frame a
    second in that order. Returns `folder`, `scenes`, `questions`, `task`, `use` (what to type next) and `failed`
    {scene: why}. `UserError` where
    the folder is in use, or no question is about a scene of the set.
    """
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty, and nothing in it is overwritten", "-o ANOTHER_FOLDER")
    if asked is not None and not any(_scene_of(asked, question, sets) for question in asked.questions):
        raise UserError(
            f"none of the {len(asked.questions)} questions of bench {asked.name} is about a scene of {title}",
            "name the bench that its scenes are of: --bench NAME",
        )
    scenes: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for name, folder in sets.items():
        try:
            scenes[name] = _scene(sampleset.read(folder), name, target, video=kind == "video")
        except SceneError as error:
            failed[name] = str(error)
            say(str(error))
    if not scenes:
        raise UserError(f"no sample of {title} could be read: {next(iter(failed.values()), 'it has none')}")
    _write_lines(target / "frames.jsonl", scenes.values())
    found = {"folder": str(target), "scenes": len(scenes), "failed": failed, "questions": 0, "task": None}
    if asked is None:
        what = "clips, a frame a second" if kind == "video" else "pictures in order"
        return found | {"use": [f"frames.jsonl lists each scene's {what}"]}
    rows = list(_rows(asked, scenes))
    task = re.sub(r"[^a-z0-9]+", "_", f"{asked.name}_{title}".lower()).strip("_")
    _write_lines(target / "questions.jsonl", rows)
    template = templates.lmms_eval if kind == "lmms-eval" else templates.vlmevalkit
    vsi = isinstance(asked.bench, VsiBench)
    for name, text in template(task, asked.name, rows, target, vsi=vsi).items():
        write_atomic(target / name, text.encode())
    use = {
        "lmms-eval": f"python -m lmms_eval --include_path {target} --tasks {task} --model …",
        "vlmevalkit": f"LMUData={target.resolve()} python run.py --data {task} --mode infer --model …",
    }
    return found | {"questions": len(rows), "task": task, "use": [use[kind]]}


def _scene(sample: sampleset.Sample, name: str, target: Path, *, video: bool) -> dict[str, Any]:
    """One scene written; its line in `frames.jsonl`, paths below `target`."""
    known = sample.record["timestamps"]
    dataset, _, scene = name.partition("/")
    entry = {"dataset": dataset, "scene": scene, "ids": sample.ids, "timestamps": known, "fill": sample.fill}
    if video:
        from smx.video import write

        clip = target / f"{name}.mp4"
        clip.parent.mkdir(parents=True, exist_ok=True)
        write(clip, iter(sample.frames()), 1, options={"crf": "12"})
        return entry | {"video": f"{name}.mp4"}
    folder = f"frames/{name}"
    files = []
    for position, (frame_id, file) in enumerate(zip(sample.ids, sample.record["files"], strict=True)):
        files.append(f"{folder}/{position:02d}_{frame_id}{Path(file).suffix}")
        (target / folder).mkdir(parents=True, exist_ok=True)
        write_atomic(target / files[-1], sample.content(file))
    return entry | {"frames": files}


def _rows(asked: Asked, scenes: Mapping[str, Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Questions about the scenes that were written, with their frames, in the columns of VSI-Bench."""
    rows = []
    for question in asked.questions:
        if (name := _scene_of(asked, question, scenes)) is None:
            continue
        rows.append(
            {
                "id": question.id,
                "dataset": question.dataset,
                "scene_name": question.scene.rpartition("/")[2],
                "question_type": question.type,
                "question": question.text,
                "options": list(question.options) if question.options else None,
                "ground_truth": question.truth,
                "prompt": asked.bench.render(question),
                "frames": scenes[name]["frames"],
            }
        )
    return rows


def _scene_of(asked: Asked, question: Question, scenes: Collection[str]) -> str | None:
    """Which of `scenes` ("<dataset>/<scene>") the question is about."""
    return next((name for dataset in asked.datasets if (name := f"{dataset}/{question.scene}") in scenes), None)


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
