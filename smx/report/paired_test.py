"""Two models on the same questions: what they differ by, and whether that is more than the choice of scenes.

How a difference is tested, and its interval, is said in `smx.benches._intervals`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smx import plugins
from smx.benches import BaseBench, Question, Verdict
from smx.benches._intervals import DRAWS, EXACT, POWER, compare, holm, least_p, metric_of, scenes_needed
from smx.errors import UserError, unknown
from smx.registry.rows import RunRow, excluded_attempts
from smx.registry.store import Registry
from smx.report.labels import bench_label, model_label, without_mark
from smx.report.own_code import own_code
from smx.results.derive import question_of
from smx.runfolder import RunFolder

_SURE = 0.05
_MODEL = {"model", "variant"}  # keys of a spec
_UNTESTED = {"gain": None, "p": None, "scenes": 1, "least_p": 1.0, "sd": None}


def pairs(
    registry: Registry, runs: Path, a: str, b: str, bench: str | None, scorer: str | None
) -> list[dict[str, Any]]:
    """One entry per pair: `{"a", "b", "bench", "scorer", "shared", "older_code", "only", "scenes", "least_p", "rows"}`.

    `a` and `b` are variants (compared wherever bench, sampler, frames and seed are the same) or runs. A row:
    `{"metric", "task", "n", "a", "b", "gain", "p", "holm", "scenes", "least_p", "sd"}` with gain the interval of
    b − a, None for one scene; task is a question type's task, or a dataset where several are asked about; holm is p
    corrected for all rows of all entries. `UserError` where nothing can be compared.
    """
    entries = [_compared(registry, runs, x, y, scorer) for x, y in _matched(registry, a, b, bench)]
    tested = [row for entry in entries for row in entry["rows"] if row["p"] is not None]
    for row, corrected in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["holm"] = round(corrected, 6)
    return sorted(entries, key=lambda entry: (entry["bench"], entry["a"], entry["b"]))


def plan(entries: Sequence[Mapping[str, Any]], difference: float | None) -> None:
    """Adds to each row as `needed` how many scenes `difference` (0..1; None: the observed one) needs to be found."""
    for row in (row for entry in entries for row in entry["rows"]):
        size = abs(row["b"] - row["a"]) if difference is None else difference
        row["needed"] = scenes_needed(size, row["sd"]) if row["p"] is not None and size > 0 else None


def _matched(registry: Registry, a: str, b: str, bench: str | None) -> list[tuple[RunRow, RunRow]]:
    every = [run for run in registry.runs(kind="eval", bench=bench) if run.done]
    sides = [_named(every, name) for name in (a, b)]
    if a == b:
        raise _same(a)
    if all(sides):
        seen = _seen(registry)
        shared = [(x, y) for x in sides[0] for y in sides[1] if _alike(x, y, seen)]
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
    own = [run for run in runs if name in (model_label(run), without_mark(model_label(run)))]
    return own or [run for run in runs if run.variant == name]


def _same(name: str) -> UserError:
    return UserError(f"{name} would be compared with itself", "name two models, or two runs: smx ls --kind eval")


def _seen(registry: Registry) -> dict[str, list[tuple[str, str]]]:
    """Run -> digests of the frames it looks at, and of the rule and code that chose them."""
    found: dict[str, list[tuple[str, str]]] = {}
    for run, role, digest in registry.query(
        "select fingerprint, role, input from run_inputs where role in ('frames', 'sample_set') order by role"
    ):
        found.setdefault(run, []).append((role, digest))
    return found


def _alike(x: RunRow, y: RunRow, seen: Mapping[str, object]) -> bool:
    """Whether two runs differ in their model alone. One that sees nothing is set against each of the other's."""
    if x.fingerprint == y.fingerprint or bench_label(x) != bench_label(y):
        return False
    if not x.frames or not y.frames:
        return True
    if seen.get(x.fingerprint) != seen.get(y.fingerprint):
        return False
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
        "older_code": sorted({change for code in own_code([x, y], runs).values() for change in code.changes.values()}),
        "only": [len(first.keys() - second.keys()), len(second.keys() - first.keys())],
        **{"scenes": (scenes := len({(q.dataset, q.scene) for q in questions})), "least_p": least_p(scenes)},
        "rows": rows,
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
            rows.append({**row, **tested.get(metric, _UNTESTED)})
    return rows


def _asked(bench: BaseBench, questions: Sequence[Question], metric: tuple[str, str]) -> int:
    """How many questions a metric is over."""
    name, task = metric
    over = bench.tasks()[task] if task else bench.averages()[name.partition(".")[0]]
    return sum(question.type in over for question in questions)


def _answers(registry: Registry, runs: Path, run: RunRow) -> Mapping[str, Mapping[str, Any]]:
    excluded = excluded_attempts(registry.attempts(run.fingerprint))
    done = RunFolder(runs / run.folder).outcome(excluded).done
    return {item: record["data"] for item, record in done.items()}


def lines(compared: Mapping[str, Any]) -> list[str]:
    """One comparison as text, scores × 100."""
    scenes, rows = compared["scenes"], compared["rows"]
    text = [f"{compared['bench']} · scorer {compared['scorer']}", f"a  {compared['a']}", f"b  {compared['b']}"]
    only = [f"{n} only in {side}" for side, n in zip("ab", compared["only"], strict=True) if n]
    counts = f"{compared['shared']:,} shared questions about {scenes} scene{'s' * (scenes != 1)}"
    text.append("; ".join([counts, *only]))
    planned = any("needed" in row for row in rows)
    wide = max(len(row["task"] or row["metric"]) for row in rows)
    heads = f"  {'':<{wide}}      n      a      b   b − a  95 %                p          Holm"
    text.append(heads + ("    scenes needed" if planned else ""))
    for row in rows:
        name = row["task"] or row["metric"]
        line = f"  {name:<{wide}}  {row['n']:>5} {100 * row['a']:6.2f} {100 * row['b']:6.2f} "
        line += f"{100 * (row['b'] - row['a']):+7.2f}"
        if row["gain"] is not None:
            low, high = row["gain"]
            sure = f"{_p_words(row['p'])}{' *' * (row['p'] < _SURE)}"
            line += f"  [{100 * low:+.2f}, {100 * high:+.2f}]".ljust(20) + f"  {sure:<11}{_p_words(row['holm'])}"
        if row.get("needed"):
            line = line.ljust(len(heads)) + f"    {row['needed']:,}"
        text.append(line.rstrip())
    older = [f"older code: {', '.join(compared['older_code'])} since they ran"] if compared["older_code"] else []
    return [*text, *_remarks(scenes, rows, planned=planned), *older]


def _p_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _remarks(scenes: int, rows: Sequence[Mapping[str, Any]], *, planned: bool) -> list[str]:
    """What the numbers rest on, and what they cannot say."""
    if scenes < 2:
        return ["one scene says nothing about others: no interval"]
    exchanges = f"all {2**scenes:,} exchanges" if scenes <= EXACT else f"{DRAWS:,} exchanges"
    remarks = [f"p: {exchanges} of a and b, scene by scene; 95 %: Student's t over scenes"]
    if least_p(scenes) > 0.001:
        remarks.append(f"{scenes} scenes: p cannot be under {least_p(scenes):.3f}")
    if fewer := [f"{row['task'] or row['metric']} {row['scenes']}" for row in rows if row["scenes"] < min(scenes, 8)]:
        remarks.append(f"scenes of rows asked in fewer: {', '.join(fewer)}")
    if any(row["p"] is not None and row["p"] < _SURE for row in rows):
        remarks.append(f"* p < {_SURE}; Holm: p corrected for all rows shown")
    if planned:
        remarks.append(
            f"scenes needed: to find the difference with probability {POWER:.0%} at p < {_SURE}, "
            "if scenes differ as these do"
        )
    return remarks
