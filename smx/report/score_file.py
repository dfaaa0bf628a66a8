"""Score a file of predictions that smx did not make (`smx score`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smx import plugins
from smx.benches import BaseBench, Question
from smx.benches._rows import read_rows
from smx.errors import UserError

# where other tools put the model's text, in order of preference; the last two are lmms-eval's
TEXT_FIELDS = ("prediction", "pred", "model_output", "response", "output", "filtered_resps", "resps")


EVERY = "all"  # as a scorer: all of them, side by side


def score_file(path: Path, bench_name: str, scorer: str | None = None) -> tuple[dict[str, Any], int]:
    """Score every row of `path` (jsonl, json, csv, tsv, parquet) with one scorer of a bench, by default its first.

    Returns the bench's `summarize` with `bench`, `scorer` and its `version` in front, and how many rows are recorded
    failures of smx's own `items.jsonl`, which are no wrong answers and not scored. For the scorer `all`: `{"bench",
    "n", "scorers": {name: summary}, "differ": [...]}`, the latter the answers that not all scorers score alike.
    Raises `UserError` naming file and line for a row that cannot be scored: unknown question type, no ground
    truth, no text, the same id twice.
    """
    bench: BaseBench = plugins.load("benches", bench_name)()
    name = EVERY if scorer == EVERY else bench.scorer_named(scorer)
    answers, failed = _read(path, bench)
    if name != EVERY:
        scored = [(question, bench.judge(question, text, name)) for _, question, text in answers]
        version = bench.scorer_id(name).partition("@")[2]
        summary = {"bench": bench_name, "scorer": name, "version": version, **bench.summarize(scored)}
        if of_all := bench.of_all([(question, text) for _, question, text in answers], name):
            summary["of_all"] = dict(of_all)
        return summary, failed
    verdicts = [[bench.judge(question, text, each) for each in bench.scorers] for _, question, text in answers]
    summaries = {
        each: {
            "version": bench.scorer_id(each).partition("@")[2],
            **bench.summarize([(q, found[k]) for (_, q, _), found in zip(answers, verdicts, strict=True)]),
        }
        for k, each in enumerate(bench.scorers)
    }
    differ = [
        {
            "item": question.id or place,
            "type": question.type,
            "truth": question.truth,
            "text": text,
            "scores": {
                each: {"parsed": v.parsed, "score": v.score} for each, v in zip(bench.scorers, found, strict=True)
            },
        }
        for (place, question, text), found in zip(answers, verdicts, strict=True)
        if len({verdict.score for verdict in found}) > 1
    ]
    return {"bench": bench_name, "n": len(answers), "scorers": summaries, "differ": differ}, failed


def _read(path: Path, bench: BaseBench) -> tuple[list[tuple[str, Question, str]], int]:
    """(place, question, what the model said) of every answer, and how many rows are recorded failures."""
    answers = []
    failed = 0
    first_seen: dict[str, str] = {}
    for place, row in read_rows(path):
        where = f"{path}, {place}"
        if row.get("ok") is False and "item" in row:
            failed += 1
            continue
        flat = unfold(row)
        question = bench.question_of(flat, where)
        if question.id:
            if question.id in first_seen:
                raise UserError(
                    f"{where}: id {question.id!r} again (first: {first_seen[question.id]})",
                    "every question counts once; remove the older answer",
                )
            first_seen[question.id] = place
        answers.append((place, question, model_text(flat, where)))
    return answers, failed


def unfold(row: Mapping[str, Any]) -> dict[str, Any]:
    """One flat row: the question's own fields may sit in an object inside it (`sample`, `doc` …).

    Fields of the row itself win over those of the object. A line of smx's own `items.jsonl` is put in the
    bench's words.
    """
    data = row.get("data")
    if "item" in row and isinstance(data, Mapping) and {"type", "truth", "text"} <= data.keys():
        own = {"id": row["item"], "question_type": data["type"], "ground_truth": data["truth"]}
        more = {"answers": [data["truth"], *data.get("also", ())], "options": data.get("options")}
        return {**own, **more, "question": data.get("question", ""), "prediction": data["text"]}
    known = {"question_type", "question", "answers"}
    inner = [value for value in row.values() if isinstance(value, Mapping) and known & value.keys()]
    flat: dict[str, Any] = {}
    for fields in inner:
        flat |= fields
    return flat | {key: value for key, value in row.items() if value not in inner}


def model_text(row: Mapping[str, Any], where: str) -> str:
    """What the model said. `UserError` starting with `where` when no known field holds a text."""
    name = next((field for field in TEXT_FIELDS if field in row), None)
    if name is None:
        raise UserError(
            f"{where}: no model text", f"valid: {', '.join(TEXT_FIELDS)}; fields here: {', '.join(map(str, row))}"
        )
    text = row[name]
    while isinstance(text, list) and len(text) == 1:
        text = text[0]
    if isinstance(text, int | float) and not isinstance(text, bool) and not math.isnan(text):  # NaN: an empty cell
        return str(text)
    if not isinstance(text, str):
        raise UserError(
            f"{where}: {name!r} is not one text but {text!r}",
            "leave out rows that were never answered: they are no wrong answers",
        )
    return text
