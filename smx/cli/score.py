"""`smx score`: score predictions that smx did not make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

ASIDE = {
    "unanswered": "row(s) hold no answer: they are not scored, and are no wrong answers.",
    "repeats": "question(s) were answered several times: the first answer counts.",
    "left_out": "row(s) are of other questions than those asked for.",
}
_SHOWN = 20  # answers named where scorers differ


def score(
    file: Annotated[
        Path, typer.Argument(help="Predictions: jsonl, json, csv, tsv, parquet, xlsx, .gz.", show_default=False)
    ],
    bench: Annotated[str, typer.Option(help="Benchmark they answer: smx list benches.")] = "vsibench",
    root: Annotated[Path | None, typer.Option(help="The bench's questions, joined by id.")] = None,
    text_field: Annotated[str | None, typer.Option(help="Field that holds the model's text.")] = None,
    subset: Annotated[str | None, typer.Option(help="Only these questions: debiased or pruned (vsibench).")] = None,
    ids: Annotated[Path | None, typer.Option(help="Only these questions: a file of ids, one a line.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="Scorer of the bench; all: side by side.", show_default="the bench's first: official"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, scores in 0..1.")] = False,
) -> None:
    """Score a file of predictions that smx did not make.

    A row holds the bench's own fields (VSI-Bench: question_type,
    ground_truth, options) and the model's text as prediction, pred,
    model_output, response or output. Result files of Spatial-MLLM, VLMEvalKit,
    LLaVA-3D and Video-3D-LLM, logs of lmms-eval and inspect_ai, and smx's own
    items.jsonl are read as they are; a truth that is not in the file is joined
    by id from the bench's questions, where these are here. A
    row that cannot be scored is an error naming its line, never a zero.
    --scorer all names the answers that scorers do not score alike.

    Example: smx score results_spatial-mllm.json --bench vsibench --scorer spatial-mllm
    """
    from smx.cli._common import console, out_json, say, workspace
    from smx.report.score_file import Asked, score_file
    from smx.resolve.known_questions import bench_and_questions, subset_ids

    made, questions, folder = bench_and_questions(workspace(quiet=True), bench, root)
    only = set(_lines(ids)) if ids else None
    if subset:
        only = subset_ids(bench, subset, questions, folder) & (only if only is not None else questions.keys())
    summary, failed = score_file(file, bench, scorer, Asked(made, questions, only, text_field))
    for what, words in ASIDE.items():
        if summary.get(what):
            say(f"{summary[what]} {words}")
    if failed:
        say(f"{file} records {failed} failed item(s): they are no wrong answers and are not scored.")
    if as_json:
        out_json(summary)
        return
    if "scorers" in summary:
        _side_by_side(summary)
        return
    screen = console()
    answers = f"{summary['n']} answer" + ("" if summary["n"] == 1 else "s")
    unparsed = f", {summary['unparsed']} of them unparsed" if summary["unparsed"] else ""
    scorer_id = f"{summary['scorer']}@{summary['version']}"
    screen.print(f"{summary['bench']}, scorer {scorer_id}: {answers}{unparsed}. Scores in %.")
    screen.print(_by_task(summary))
    screen.print(_averages(summary))
    if of_all := summary.get("of_all"):
        shown = ", ".join(f"{name} {percent(value)}" for name, value in of_all.items())
        screen.print(f"of all answers, × 100: {shown}", highlight=False)
        if None in of_all.values():
            say("-: not computed, for there is no java here (METEOR is a Java program)")


def _side_by_side(summary: Mapping[str, Any]) -> None:
    """One column per scorer, and the answers that they do not score alike."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from smx.cli._common import console

    screen, scorers = console(), summary["scorers"]
    versions = ", ".join(f"{name}@{found['version']}" for name, found in scorers.items())
    screen.print(f"{summary['bench']}: {summary['n']} answers. Scores in % by {versions}.", highlight=False)
    table = Table("", "n", *scorers, box=SIMPLE_HEAD, padding=0, show_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    first = next(iter(scorers.values()))
    for task, scored in first["tasks"].items():
        table.add_row(task, str(scored["n"]), *(percent(found["tasks"][task]["score"]) for found in scorers.values()))
    for key in [name for name in ("acc", "mra", "all") if name in first]:
        for name in ("micro", "macro"):
            table.add_row(f"{key}.{name}", "", *(percent(found[key][name]) for found in scorers.values()))
    table.add_row("unparsed", "", *(str(found["unparsed"]) for found in scorers.values()))
    screen.print(table)
    differ = summary["differ"]
    screen.print(f"{len(differ)} of {summary['n']} answers are not scored alike{':' if differ else '.'}")
    for entry in differ[:_SHOWN]:
        scores = _grouped({name: percent(found["score"]) for name, found in entry["scores"].items()})
        text = " ".join(entry["text"].split())
        shown = text if len(text) <= 40 else text[:39] + "…"
        line = f"  {entry['item']}  {shown!r} for {entry['truth']!r}: {scores}"
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(differ) > _SHOWN:
        screen.print(f"  … and {len(differ) - _SHOWN} more: --json")


def _grouped(scores: Mapping[str, str]) -> str:
    """Scores with the scorers that gave them; those of the largest group are `others`."""
    groups: dict[str, list[str]] = {}
    for name, score in scores.items():
        groups.setdefault(score, []).append(name)
    most = max(map(len, groups.values()))
    alone = most > 1 and sum(len(names) == most for names in groups.values()) == 1
    named = {score: "others" if alone and len(names) == most else ", ".join(names) for score, names in groups.items()}
    return "; ".join(f"{names} {score}" for score, names in named.items())


def _by_task(summary: Mapping[str, Any]) -> Table:
    from rich.table import Table

    table = Table("task", "type")
    table.add_column("n", justify="right")
    table.add_column("score", justify="right")
    for task, scored in summary["tasks"].items():
        table.add_row(task, "", str(scored["n"]), percent(scored["score"]))
        types = [name for name in summary["types"] if name != task and name.startswith(task)]
        for name in types:
            table.add_row("", name, str(summary["types"][name]["n"]), percent(summary["types"][name]["score"]))
    return table


def _lines(path: Path) -> list[str]:
    from smx.errors import UserError

    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", "a text file of ids, one a line") from None


def _averages(summary: Mapping[str, Any]) -> Table:
    from rich.table import Table

    ci = summary.get("ci", {})
    table = Table("average")
    for name in ("micro", "macro"):
        table.add_column(name, justify="right")
        if ci:
            table.add_column("95 %", justify="right")
    labels = {"acc": "acc (choice)", "mra": "mra (numerical)", "all": "all"}
    for key, label in labels.items():
        if key not in summary:
            continue
        cells = []
        for name in ("micro", "macro"):
            cells.append(percent(summary[key][name]))
            if ci:
                low, high = ci.get(f"{key}.{name}", {}).get("", (None, None))
                cells.append(f"{percent(low)} to {percent(high)}")
        table.add_row(label, *cells)
    return table


def percent(score: float | None) -> str:
    """A share as the published tables print it, a dash where there is nothing to average."""
    return "-" if score is None else f"{100 * score:.2f}"
