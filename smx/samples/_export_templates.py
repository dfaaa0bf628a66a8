"""Files that lmms-eval and VLMEvalKit load: written from questions that hold their prompts and frames.

Formats: lmms-eval 0.7 (a task's YAML and its `utils.py`, found by `--include_path`); VLMEvalKit as of August 2026 (a
`NAME.tsv` in `$LMUData`, loaded as a custom set of questions).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_YAML = """# Written by smx: the frames of a sample set, for any model of lmms-eval that takes pictures.
#   python -m lmms_eval --include_path {folder} --tasks {task} --model …
# It holds the place of its questions: a folder that was moved is exported again.
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {questions}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: ground_truth
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: 16
  temperature: 0
  do_sample: false
metric_list:
  - metric: score
    aggregation: !function utils.mean_of_types
    higher_is_better: true
metadata:
  - version: 1.0
"""

_HEAD = '''"""Frames and questions of {bench}, chosen by smx. Scores by type are logged; the task's is their mean."""

from pathlib import Path

from loguru import logger
from PIL import Image

HERE = Path(__file__).resolve().parent


def doc_to_visual(doc):
    return [Image.open(HERE / name).convert("RGB") for name in doc["frames"]]


def mean_of_types(results):
    by_type = {{}}
    for result in results:
        by_type.setdefault(result["type"], []).append(result["score"])
    means = {{kind: sum(scores) / len(scores) for kind, scores in sorted(by_type.items())}}
    logger.info(f"scores by type: {{means}}")
    return sum(means.values()) / len(means)


'''

# VSI-Bench's own prompts and rules are lmms-eval's, so that its numbers stay comparable with its other tasks.
_VSI = """from lmms_eval.tasks.vsibench.utils import vsibench_doc_to_text as doc_to_text
from lmms_eval.tasks.vsibench.utils import vsibench_process_results


def process_results(doc, results):
    scored = next(iter(vsibench_process_results(dict(doc), results).values()))
    score = scored["accuracy"] if "accuracy" in scored else scored["MRA:.5:.95:.05"]
    return {"score": {"type": doc["question_type"], "score": float(score)}}
"""

_EXACT = """def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]


def process_results(doc, results):
    said = results[0].strip().rstrip(".").lower()
    return {"score": {"type": doc["question_type"], "score": float(said == doc["ground_truth"].strip().lower())}}
"""


def lmms_eval(task: str, bench: str, rows: Sequence[Mapping[str, Any]], folder: Path, *, vsi: bool) -> dict[str, str]:
    """File -> text. `vsi`: the question types are VSI-Bench's, so lmms-eval's own prompts and rules apply."""
    questions = json.dumps(str(folder.resolve() / "questions.jsonl"))  # a JSON text is a YAML text
    yaml = _YAML.format(task=task, folder=folder.resolve(), questions=questions)
    return {f"{task}.yaml": yaml, "utils.py": _HEAD.format(bench=bench) + (_VSI if vsi else _EXACT)}


def vlmevalkit(task: str, bench: str, rows: Sequence[Mapping[str, Any]], folder: Path, *, vsi: bool) -> dict[str, str]:
    """`TASK.tsv`: prompts and the paths of pictures; truths beside them, so that `smx score` reads what comes back."""
    text = io.StringIO()
    columns = ("index", "image_path", "question", "answer", "id", "question_type", "options", "ground_truth")
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(columns)
    for index, row in enumerate(rows):
        paths = str([str(folder.resolve() / name) for name in row["frames"]])
        options = json.dumps(row["options"], ensure_ascii=False) if row["options"] else ""
        truth = row["ground_truth"]
        table.writerow([index, paths, row["prompt"], truth, row["id"], row["question_type"], options, truth])
    return {f"{task}.tsv": text.getvalue()}
