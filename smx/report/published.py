"""Numbers that others published, as a table with sources: beside ours in reports, in no average of ours.

`from smx.report.published import PUBLISHED` gives every number; values are in 0..1, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from smx.registry.rows import CellScore
from smx.states import RunState

PAPER = "Spatial-MLLM, arXiv 2505.23747, table of VSI-Bench"
PAPER_SQA3D = "Spatial-MLLM, arXiv 2505.23747, table of ScanQA and SQA3D"
PAPER_SAMPLING = "Spatial-MLLM, arXiv 2505.23747, ablation of frame sampling"
README = "Spatial-MLLM v1.1, README of its repository at 9fc4738"
VLM_3R = "VLM-3R, arXiv 2505.20279, table of VSI-Bench"
SQA3D = "SQA3D, arXiv 2210.07474, table of baselines"

_TASKS = (
    *("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation"),
    *("object_rel_distance", "object_rel_direction", "route_planning", "obj_appearance_order"),
)


class Number(NamedTuple):
    """One published number. `scorer` is the bench's scorer it was made with, "" where the source does not say."""

    bench: str
    model: str
    sampler: str
    frames: int
    scorer: str
    metric: str  # all.micro, all.macro, task
    task: str
    value: float
    source: str


_AVERAGES = [  # model, sampler, frames, micro, macro
    ("Qwen2.5-VL-3B", "uniform", 16, 27.86, 27.25),
    ("Qwen2.5-VL-3B, tuned on 135K", "uniform", 16, 49.84, 49.64),
    ("Spatial-MLLM-135K", "uniform", 16, 51.13, 50.48),
    ("Spatial-MLLM-135K", "sa", 16, 52.75, 51.81),
    ("Spatial-MLLM-820K", "uniform", 16, 53.53, 53.00),
    ("Spatial-MLLM-820K", "sa", 16, 54.24, 53.43),
]
_BY_TASK = [  # model, sampler, frames, source, in the order of _TASKS
    ("Spatial-MLLM-4B", "sa", 16, PAPER, (65.3, 34.8, 63.1, 45.1, 41.3, 46.2, 33.5, 46.3)),
    ("Qwen2.5-VL-3B", "uniform", 16, PAPER, (24.3, 24.7, 31.7, 22.6, 38.3, 41.6, 26.3, 21.2)),
    ("Qwen2.5-VL-7B", "uniform", 16, PAPER, (40.9, 14.8, 43.4, 10.7, 38.6, 38.5, 33.0, 29.8)),
    ("VLM-3R-7B", "uniform", 32, VLM_3R, (70.2, 49.4, 69.2, 67.1, 65.4, 80.5, 45.4, 40.1)),
]
_SAMPLING = [(8, 46.1, 43.8), (16, 48.4, 47.1), (32, 49.3, 48.4)]  # frames, sa, uniform: Spatial-MLLM-4B, micro
_SHORT = [  # model, EM, EM-R
    ("Spatial-MLLM-4B", 55.9, 58.7),
    ("Qwen2.5-VL-3B", 43.4, 45.9),
    ("Qwen2.5-VL-7B", 46.5, 49.8),
]


def _numbers() -> Iterator[Number]:
    for model, sampler, frames, micro, macro in _AVERAGES:
        for metric, value in (("all.micro", micro), ("all.macro", macro)):
            yield Number("vsibench", model, sampler, frames, "spatial-mllm", metric, "", _share(value), README)
    for frames, sa, uniform in _SAMPLING:
        for sampler, value in (("sa", sa), ("uniform", uniform)):
            place = ("vsibench", "Spatial-MLLM-4B", sampler, frames, "")
            yield Number(*place, "all.micro", "", _share(value), PAPER_SAMPLING)
    yield Number("vsibench", "VLM-3R-7B", "uniform", 32, "", "all.macro", "", _share(60.9), VLM_3R)
    for model, sampler, frames, source, values in _BY_TASK:
        for task, value in zip(_TASKS, values, strict=True):
            yield Number("vsibench", model, sampler, frames, "", "task", task, _share(value), source)
    for model, em, refined in _SHORT:
        for scorer, value in (("em", em), ("em-r", refined)):
            place = ("sqa3d", model, "sa" if model.startswith("Spatial") else "uniform", 16, scorer)
            yield Number(*place, "all.micro", "", _share(value), PAPER_SQA3D)
    yield Number("sqa3d", "blind", "none", 0, "em", "all.micro", "", _share(43.65), SQA3D)


def _share(percent: float) -> float:
    return round(percent / 100, 6)


PUBLISHED: tuple[Number, ...] = tuple(_numbers())
_QUESTIONS: Mapping[str, int] = {"vsibench": 5130, "sqa3d": 3519}


def cell_scores(bench: str | None, metrics: tuple[str, ...]) -> Iterator[tuple[CellScore, str]]:
    """Published numbers in the shape of ours, each with its source. `bench` None: every bench."""
    for number in PUBLISHED:
        if bench in (None, number.bench) and number.metric in metrics:
            n = 0 if number.task else _QUESTIONS[number.bench]
            score = CellScore(
                kind="eval", variant=number.model, sampler=number.sampler, frames=number.frames, bench=number.bench,
                dataset=None, seed=0, scorer=number.scorer or "scorer not said", metric=number.metric,
                task=number.task, value=number.value, n=n, unparsed=0, ci_low=None, ci_high=None,
                state=RunState.done, items=n, done=n, failed=0, labels="{}", doubtful=0, origin="imported",
                fingerprint=None, created=None,
            )  # fmt: skip
            yield score, number.source
