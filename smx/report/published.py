"""Numbers that others published, as a table with sources: beside ours in reports, in no average of ours.

`from smx.report.published import PUBLISHED` gives every number; values are in 0..1, as everywhere, and `decimals` says
how many its source prints of it in per cent. Each names its protocol: frames, how they were chosen, scorer, average.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smx.registry.rows import CellScore

PAPER = "Spatial-MLLM, arXiv 2505.23747, table of VSI-Bench"
PAPER_SQA3D = "Spatial-MLLM, arXiv 2505.23747, table of ScanQA and SQA3D"
PAPER_SAMPLING = "Spatial-MLLM, arXiv 2505.23747, ablation of frame sampling"
README = "Spatial-MLLM v1.1, README of its repository at 9fc4738, table of VSI-Bench"
VLM_3R = "VLM-3R, arXiv 2505.20279, table of VSI-Bench"
SQA3D = "SQA3D, arXiv 2210.07474, table of baselines"
VSI_BENCH = "Thinking in Space, arXiv 2412.14171, table 1 (frames: table 9)"
VSI_BENCH_TINY = "Thinking in Space, arXiv 2412.14171, table 1, VSI-Bench (tiny)"

NOT_SAID = "scorer not said"
WHOLE = "whole video"  # in place of a sampler: the model was handed the video itself
_TASKS = (
    *("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation"),
    *("object_rel_distance", "object_rel_direction", "route_planning", "obj_appearance_order"),
)


class Number(NamedTuple):
    """One published number. `scorer` is the bench's scorer it was made with, "" where the source does not say."""

    bench: str
    model: str
    sampler: str
    frames: int | None  # None: as many as the model takes of a video; none of the sources samples at a rate
    scorer: str
    metric: str  # all.micro, acc.macro …, task
    task: str
    value: float
    source: str
    decimals: int  # of the value in per cent, as printed there
    questions: int  # 0 where the source does not say


_AVERAGES = [  # model, sampler, then acc, mra, all: each micro, then macro; 16 frames
    ("Qwen2.5-VL-3B", "uniform", (35.42, 20.72, 27.86), (32.84, 21.65, 27.25)),
    ("Qwen2.5-VL-3B, tuned on 135K", "uniform", (46.91, 52.60, 49.84), (46.47, 52.81, 49.64)),
    ("Spatial-MLLM-135K", "uniform", (49.28, 52.88, 51.13), (47.07, 53.88, 50.48)),
    ("Spatial-MLLM-135K", "sa", (52.13, 53.33, 52.75), (49.15, 54.46, 51.81)),
    ("Spatial-MLLM-820K", "uniform", (49.56, 57.27, 53.53), (48.60, 57.39, 53.00)),
    ("Spatial-MLLM-820K", "sa", (50.60, 57.68, 54.24), (48.78, 58.09, 53.43)),
]
_BY_TASK = [  # model, sampler, frames, source, in the order of _TASKS
    ("Spatial-MLLM-4B", "sa", 16, PAPER, (65.3, 34.8, 63.1, 45.1, 41.3, 46.2, 33.5, 46.3)),
    ("Qwen2.5-VL-3B", "uniform", 16, PAPER, (24.3, 24.7, 31.7, 22.6, 38.3, 41.6, 26.3, 21.2)),
    ("Qwen2.5-VL-7B", "uniform", 16, PAPER, (40.9, 14.8, 43.4, 10.7, 38.6, 38.5, 33.0, 29.8)),
    ("VLM-3R-7B", "uniform", 32, VLM_3R, (70.2, 49.4, 69.2, 67.1, 65.4, 80.5, 45.4, 40.1)),
]
_SAMPLING = [(8, 46.1, 43.8), (16, 48.4, 47.1), (32, 49.3, 48.4)]  # frames, sa, uniform: Spatial-MLLM-4B, micro
# VSI-Bench's own table: model, sampler, frames, questions, mean over tasks, the tasks. 34.0 is what it prints for the
# most frequent answer, though its tasks have the mean 35.5.
_OWN: list[tuple[str, str, int | None, int, float | None, tuple[float | None, ...]]] = [
    ("chance, a random answer", "none", 0, 5130, None, (None, None, None, None, 25.0, 36.1, 28.3, 25.0)),
    ("chance, the most frequent answer", "none", 0, 5130, 34.0, (62.1, 32.0, 29.9, 33.1, 25.1, 47.9, 28.4, 25.2)),
    ("human", WHOLE, None, 400, 79.2, (94.3, 47.0, 60.4, 45.9, 94.7, 95.8, 95.8, 100.0)),
    ("GPT-4o", "uniform", 16, 5130, 34.0, (46.2, 5.3, 43.8, 38.2, 37.0, 41.3, 31.5, 28.5)),
    ("Gemini-1.5 Flash", WHOLE, None, 5130, 42.1, (49.8, 30.8, 53.5, 54.4, 37.7, 41.0, 31.5, 37.8)),
    ("Gemini-1.5 Pro", WHOLE, None, 5130, 45.4, (56.2, 30.9, 64.1, 43.6, 51.3, 46.3, 36.0, 34.6)),
    ("InternVL2-2B", "uniform", 32, 5130, 26.5, (25.7, 24.0, 20.0, 29.2, 32.1, 44.1, 30.4, 6.3)),
    ("InternVL2-8B", "uniform", 32, 5130, 37.5, (31.3, 29.0, 48.9, 44.2, 38.0, 33.4, 28.9, 46.4)),
    ("InternVL2-40B", "uniform", 32, 5130, 37.0, (41.3, 26.2, 48.2, 27.5, 47.6, 32.7, 27.8, 44.7)),
    ("LongVILA-8B", "uniform", 32, 5130, 21.6, (29.1, 9.1, 16.7, 0.0, 29.6, 30.7, 32.5, 25.5)),
    ("VILA-1.5-8B", "uniform", 32, 5130, 28.9, (17.4, 21.8, 50.3, 18.8, 32.1, 34.8, 31.0, 24.8)),
    ("VILA-1.5-40B", "uniform", 32, 5130, 31.2, (22.4, 24.8, 48.7, 22.7, 40.5, 25.7, 31.5, 32.9)),
    ("LongVA-7B", "uniform", 32, 5130, 29.2, (38.0, 16.6, 38.9, 22.2, 33.1, 43.3, 25.4, 15.7)),
    ("LLaVA-Video-7B", "uniform", 32, 5130, 35.6, (48.5, 14.0, 47.8, 24.2, 43.5, 42.4, 34.0, 30.6)),
    ("LLaVA-Video-72B", "uniform", 32, 5130, 40.9, (48.9, 22.8, 57.4, 35.3, 42.4, 36.7, 35.0, 48.6)),
    ("LLaVA-OneVision-0.5B", "uniform", 32, 5130, 28.0, (46.1, 28.4, 15.4, 28.3, 28.9, 36.9, 34.5, 5.8)),
    ("LLaVA-OneVision-7B", "uniform", 32, 5130, 32.4, (47.7, 20.2, 47.4, 12.3, 42.5, 35.2, 29.4, 24.4)),
    ("LLaVA-OneVision-72B", "uniform", 32, 5130, 40.2, (43.5, 23.9, 57.6, 37.5, 42.5, 39.9, 32.5, 44.6)),
]
_SHORT = [  # model, EM, EM-R
    ("Spatial-MLLM-4B", 55.9, 58.7),
    ("Qwen2.5-VL-3B", 43.4, 45.9),
    ("Qwen2.5-VL-7B", 46.5, 49.8),
]


def _numbers() -> Iterator[Number]:
    vsi, sqa = 5130, 3519
    for model, sampler, micro, macro in _AVERAGES:
        for average, values in (("micro", micro), ("macro", macro)):
            for part, value in zip(("acc", "mra", "all"), values, strict=True):
                cell = ("vsibench", model, sampler, 16, "spatial-mllm", f"{part}.{average}", "")
                yield Number(*cell, _share(value), README, 2, vsi)
    for frames, sa, uniform in _SAMPLING:
        for sampler, value in (("sa", sa), ("uniform", uniform)):
            cell = ("vsibench", "Spatial-MLLM-4B", sampler, frames, "", "all.micro", "")
            yield Number(*cell, _share(value), PAPER_SAMPLING, 1, vsi)
    yield Number("vsibench", "VLM-3R-7B", "uniform", 32, "", "all.macro", "", _share(60.9), VLM_3R, 1, vsi)
    for model, sampler, frames, source, scores in _BY_TASK:
        for task, value in zip(_TASKS, scores, strict=True):
            yield Number("vsibench", model, sampler, frames, "", "task", task, _share(value), source, 1, 0)
    for model, sampler, shown, asked, mean, tasks in _OWN:
        own = ("vsibench", model, sampler, shown, "official")
        source = VSI_BENCH if asked == vsi else VSI_BENCH_TINY
        if mean is not None:
            yield Number(*own, "all.macro", "", _share(mean), source, 1, asked)
        for task, score in zip(_TASKS, tasks, strict=True):
            if score is not None:
                yield Number(*own, "task", task, _share(score), source, 1, 0)
    for model, em, refined in _SHORT:
        for scorer, value in (("em", em), ("em-r", refined)):
            sampler = "sa" if model.startswith("Spatial") else "uniform"
            yield Number("sqa3d", model, sampler, 16, scorer, "all.micro", "", _share(value), PAPER_SQA3D, 1, sqa)
    yield Number("sqa3d", "blind", "none", 0, "em", "all.micro", "", _share(43.65), SQA3D, 2, sqa)


def _share(percent: float) -> float:
    return round(percent / 100, 6)


PUBLISHED: tuple[Number, ...] = tuple(_numbers())
BENCHES: frozenset[str] = frozenset(number.bench for number in PUBLISHED)


def by_source(bench: str, metrics: tuple[str, ...]) -> dict[tuple[str, str, str, int], list[CellScore]]:
    """(source, scorer, metric, decimals) -> numbers of one table of a source, in the shape of ours."""
    tables: dict[tuple[str, str, str, int], list[CellScore]] = {}
    for number in PUBLISHED:
        if number.bench == bench and number.metric in metrics:
            n, scorer = number.questions, number.scorer or NOT_SAID
            score = CellScore(
                kind="eval", variant=number.model, sampler=number.sampler, frames=number.frames, bench=number.bench,
                dataset=None, seed=0, scorer=scorer, metric=number.metric,
                task=number.task, value=number.value, n=n, unparsed=0, ci_low=None, ci_high=None,
                state="done", items=n, done=n, failed=0, labels="{}", doubtful=0, origin="imported",
                fingerprint=None, created=None,
            )  # fmt: skip
            tables.setdefault((number.source, scorer, number.metric, number.decimals), []).append(score)
    return tables
