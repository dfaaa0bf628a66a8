"""Two models on the same questions: what they differ by, and whether that is more than the choice of scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smx import plugins
from smx.benches import BaseBench, Question, Verdict
from smx.benches._intervals import DRAWS, compare, metric_of
from smx.errors import UserError, unknown
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.report.table import bench_label, model_label
from smx.results.derive import question_of
from smx.runfolder import RunFolder

_SURE = 0.05
_MODEL = {"model", "variant"}  # keys of a spec


def pairs(
    registry: Registry, runs: Path, a: str, b: str, bench: str | None, scorer: str | None
) -> list[dict[str, Any]]:
    """One entry per pair: `{"a", "b", "bench", "scorer", "shared", "only", "scenes", "draws", "rows"}`.

    `a` and `b` are variants (compared wherever bench, sampler, frames and seed are the same) or runs. A row:
    `{"metric", "task", "n", "a", "b", "gain", "p"}` with gain the interval of b − a, None for one scene; task is
    a question type's task, or a dataset where several are asked about. `UserError` where nothing can be compared.
    """
    found = [_compared(registry, runs, x, y, scorer) for x, y in _matched(registry, a, b, bench)]
    return sorted(found, key=lambda entry: (entry["bench"], entry["a"], entry["b"]))


def _matched(registry: Registry, a: str, b: str, bench: str | None) -> list[tuple[RunRow, RunRow]]:
    every = [run for run in registry.runs(kind="eval", bench=bench) if run.done]
    sides = [_named(every, name) for name in (a, b)]
    if a == b:
        raise _same(a)
    if all(sides):
        shared = [(x, y) for x in sides[0] for y in sides[1] if _alike(x, y)]
        if not shared:
            here = [f"{n}: {', '.join(sorted({_words(x) for x in s}))}" for n, s in zip((a, b), sides, strict=True)]
            same = "compared are runs of the same bench, sampler, frames, seed and other settings"
            hint = [*here, same, "whatever they differ in, name the two runs: smx ls --kind eval"]
            raise UserError(f"{a} and {b} were never asked the same with the same frames", "\n".join(hint))
        return shared
    names = sorted({run.variant or "" for run in every})
    for name, side in zip((a, b), sides, strict=True):
        if not side and name not in names and not any(name in (run.folder, run.fingerprint) for run in every):
            try:
                registry.find(name)
            except UserError:
                raise unknown("variant or run", name, names, "smx ls --kind eval") from None
    x, y = registry.find(a), registry.find(b)
    if x.fingerprint == y.fingerprint:
        raise _same(a)
    if x.bench != y.bench:
        raise UserError(f"{a} answers {x.bench}, {b} answers {y.bench}", "compare runs of one bench")
    return [(x, y)]


def _named(runs: list[RunRow], name: str) -> list[RunRow]:
    """Those of a model. Shown its frames in another way it is another model, which has that in its name."""
    own = [run for run in runs if name in (model_label(run), model_label(run).removesuffix(" (untrained)"))]
    return own or [run for run in runs if run.variant == name]


def _same(name: str) -> UserError:
    return UserError(f"{name} would be compared with itself", "name two models, or two runs: smx ls --kind eval")


def _alike(x: RunRow, y: RunRow) -> bool:
    """Whether two runs differ in their model alone. One that sees nothing is set against each of the other's."""
    if x.fingerprint == y.fingerprint or bench_label(x) != bench_label(y):
        return False
    if not x.frames or not y.frames:
        return True
    first, second = (json.loads(run.spec) for run in (x, y))
    return all(first.get(key) == second.get(key) for key in (first.keys() | second.keys()) - _MODEL)


def _words(run: RunRow) -> str:
    seen = f"{run.sampler} {run.frames} frames" if run.frames else "without frames"
    return f"{bench_label(run)} {seen}, seed {run.seed}"


def _compared(registry: Registry, runs: Path, x: RunRow, y: RunRow, scorer: str | None) -> dict[str, Any]:
    first, second = _answers(registry, runs, x), _answers(registry, runs, y)
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise UserError(
            f"{x.name} and {y.name} share no answered question",
            "each was asked other questions, or failed on what the other answered",
        )
    spec = RunFolder(runs / x.folder).spec["spec"]
    bench: BaseBench = plugins.load("benches", spec["bench"]).parse(spec["bench_options"], f"bench {spec['bench']}")
    name = bench.scorer_named(scorer)
    questions = [question_of(item, first[item]) for item in shared]
    verdicts = [[bench.judge(q, side[q.id]["text"], name) for q in questions] for side in (first, second)]
    rows = _rows(bench, questions, verdicts)
    for dataset in sorted({q.dataset for q in questions}) if len({q.dataset for q in questions}) > 1 else ():
        own = [k for k, q in enumerate(questions) if q.dataset == dataset]
        part = _rows(bench, [questions[k] for k in own], [[side[k] for k in own] for side in verdicts])
        rows += [{**row, "task": dataset} for row in part if row["metric"] == "all.micro"]
    return {
        **{"a": Path(x.folder).name, "b": Path(y.folder).name, "bench": bench_label(x)},
        **{"scorer": bench.scorer_id(name), "shared": len(shared)},
        "only": [len(first.keys() - second.keys()), len(second.keys() - first.keys())],
        **{"scenes": len({(q.dataset, q.scene) for q in questions}), "draws": DRAWS, "rows": rows},
    }


def _rows(bench: BaseBench, questions: Sequence[Question], verdicts: list[list[Verdict]]) -> list[dict[str, Any]]:
    """One per average and task."""
    summaries = [dict(bench.summarize(list(zip(questions, side, strict=True)))) for side in verdicts]
    tested = compare(bench, questions, *([verdict.score for verdict in side] for side in verdicts))
    averages = [(f"{name}.{mean}", "") for name in ("all", "acc", "mra") for mean in ("micro", "macro")]
    metrics = [m for m in averages if m[0].partition(".")[0] in summaries[0]]
    metrics += [("task", task) for task in summaries[0]["tasks"]]
    rows = []
    for metric in metrics:
        values = [metric_of(summary, metric) for summary in summaries]
        if values[0] is not None:
            n = _asked(bench, questions, metric)
            row = {"metric": metric[0], "task": metric[1], "n": n, "a": values[0], "b": values[1]}
            rows.append({**row, **tested.get(metric, {"gain": None, "p": None})})
    return rows


def _asked(bench: BaseBench, questions: Sequence[Question], metric: tuple[str, str]) -> int:
    """How many questions a metric is over."""
    name, task = metric
    over = bench.tasks()[task] if task else bench.averages()[name.partition(".")[0]]
    return sum(question.type in over for question in questions)


def _answers(registry: Registry, runs: Path, run: RunRow) -> Mapping[str, Mapping[str, Any]]:
    excluded = frozenset(row.attempt for row in registry.attempts(run.fingerprint) if row.mark == "excluded")
    done = RunFolder(runs / run.folder).outcome(excluded).done
    return {item: record["data"] for item, record in done.items()}


def lines(found: Mapping[str, Any]) -> list[str]:
    """One comparison as text, scores × 100."""
    text = [f"{found['bench']} · scorer {found['scorer']}", f"a  {found['a']}", f"b  {found['b']}"]
    only = [f"{n} only in {side}" for side, n in zip("ab", found["only"], strict=True) if n]
    counts = f"{found['shared']:,} shared questions about {found['scenes']} scene{'s' * (found['scenes'] != 1)}"
    drawn = [f"95 % intervals by {found['draws']:,} draws of scenes"] if found["scenes"] > 1 else []
    text.append("; ".join([counts, *only, *drawn]))
    wide = max(len(row["task"] or row["metric"]) for row in found["rows"])
    text.append(f"  {'':<{wide}}      n      a      b   b − a  95 %               p")
    for row in found["rows"]:
        gain, p = row["gain"], row["p"]
        name = row["task"] or row["metric"]
        line = f"  {name:<{wide}}  {row['n']:>5} {100 * row['a']:6.2f} {100 * row['b']:6.2f} "
        line += f"{100 * (row['b'] - row['a']):+7.2f}"
        if gain is not None:
            line += f"  [{100 * gain[0]:+.2f}, {100 * gain[1]:+.2f}]".ljust(19)
            line += f"  {'< 0.001' if p < 0.001 else f'{p:.3f}'}" + (" *" if p < _SURE else "")
        text.append(line)
    if found["scenes"] < 2:
        text.append("one scene says nothing about others: no interval")
    elif any(row["p"] is not None and row["p"] < _SURE for row in found["rows"]):
        tests = len(found["rows"])
        text.append(f"* p < {_SURE}; of {tests} rows, about {_SURE * tests:.1f} would have one by chance alone")
    return text
