"""Score a file of predictions that smx did not make (`smx score`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smx import plugins
from smx.benches import BaseBench, Question
from smx.benches._intervals import uncertainty
from smx.benches._rows import read_rows
from smx.errors import UserError

# Where other tools put the model's text, in order of preference: filtered_resps and resps are lmms-eval's,
# pred_response Video-3D-LLM's, completion inspect_ai's, text LLaVA-3D's.
TEXT_FIELDS = (
    *("prediction", "pred", "model_output", "response", "output", "filtered_resps", "resps"),
    *("pred_response", "completion", "text"),
)
_IDS = ("id", "question_id", "sample_id", "doc_id", "index")
# VLMEvalKit's and inspect_ai's names -> VSI-Bench's
_NAMES = {"type": "question_type", "answer": "ground_truth", "candidates": "options", "target": "ground_truth"}


EVERY = "all"  # as a scorer: all of them, side by side


@dataclass(frozen=True)
class Asked:
    """What is known of the questions that a file answers, beside what stands in it."""

    bench: BaseBench | None = None  # with its options; None: the plugin's defaults
    questions: Mapping[str, Question] = field(default_factory=dict)  # id -> question, where the bench's files are here
    only: Collection[str] | None = None  # ids that count; None: all
    text_field: str | None = None  # where the model's text is; None: one of `TEXT_FIELDS`


_NOTHING = Asked()


def score_file(
    path: Path, bench_name: str, scorer: str | None = None, asked: Asked = _NOTHING
) -> tuple[dict[str, Any], int]:
    """Score every row of `path` (whatever `read_rows` reads) with one scorer of a bench, by default its first.

    Returns the bench's `summarize` with `bench`, `scorer` and its `version` in front, and how many rows are recorded
    failures of smx's own `items.jsonl`, which are no wrong answers and not scored. For the scorer `all`: `{"bench",
    "n", "scorers": {name: summary}, "differ": [...]}`, the latter the answers that not all scorers score alike.
    Raises `UserError` naming file and line for a row that cannot be scored: unknown question type, no ground
    truth, no text, the same id twice.
    """
    bench: BaseBench = asked.bench or plugins.load("benches", bench_name)()
    name = EVERY if scorer == EVERY else bench.scorer_named(scorer)
    answers, failed, aside = _read(path, bench, asked)
    if name != EVERY:
        scored = [(question, bench.judge(question, text, name)) for _, question, text in answers]
        version = bench.scorer_id(name).partition("@")[2]
        summary = {"bench": bench_name, "scorer": name, "version": version, **bench.summarize(scored), **aside}
        if all(question.scene for question, _ in scored) and (doubt := uncertainty(bench, scored, name)).get("ci"):
            summary |= {"scenes": doubt["scenes"], "ci": doubt["ci"]}
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
    return {"bench": bench_name, "n": len(answers), **aside, "scorers": summaries, "differ": differ}, failed


def _read(path: Path, bench: BaseBench, asked: Asked) -> tuple[list[tuple[str, Question, str]], int, dict[str, int]]:
    """(place, question, what the model said) of every answer, how many rows are recorded failures, and what else.

    That is, where there is any: rows `unanswered`, `left_out` by `asked.only`, and answers given several times, of
    which the first counts (`repeats`).
    """
    answers = []
    failed = 0
    aside: Counter[str] = Counter()
    first_seen: dict[str, str] = {}
    for place, row in read_rows(path):
        where = f"{path}, {place}"
        if row.get("ok") is False and "item" in row:
            failed += 1
            continue
        flat = unfold(row)
        if asked.only is not None and _id_of(flat) not in asked.only:
            aside["left_out"] += 1
            continue
        question = _question(bench, flat, where, asked.questions)
        text = model_text(flat, where, asked.text_field)
        if text is None:
            aside["unanswered"] += 1
            continue
        if question.id:
            if question.id in first_seen:
                raise UserError(
                    f"{where}: id {question.id!r} again (first: {first_seen[question.id]})",
                    "every question counts once; remove the older answer",
                )
            first_seen[question.id] = place
        aside["repeats"] += isinstance(text, Several)
        answers.append((place, question, str(text)))
    if not answers:
        counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in aside.items() if count)
        raise UserError(f"{path} holds no answer that could be scored ({counts or f'{failed} failed'})")
    return answers, failed, {what: count for what, count in aside.items() if count}


def _id_of(row: Mapping[str, Any]) -> str:
    """The question's id; a whole number that a sheet keeps as 3.0 is 3."""
    value = next((row[name] for name in _IDS if row.get(name) not in (None, "")), "")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _question(bench: BaseBench, row: Mapping[str, Any], where: str, known: Mapping[str, Question]) -> Question:
    """The row's question, with the scene of the bench's own; one that lacks its truth or type is the bench's, by id."""
    same = known.get(_id_of(row))
    try:
        question = bench.question_of(row, where)
    except UserError as error:
        if same is None:
            hint = f"{error.hint}\nor say where the bench's questions are (--root DIR): truths are then joined by id"
            raise UserError(error.message, hint) from None
        return same
    return question if same is None else replace(question, id=same.id, dataset=same.dataset, scene=same.scene)


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
    flat |= {key: value for key, value in row.items() if value not in inner}
    if isinstance(output := flat.get("output"), Mapping):  # inspect_ai's
        flat["output"] = output.get("completion")
    if flat.keys() & {"type", "target"}:
        flat |= {name: flat[other] for other, name in _NAMES.items() if other in flat and name not in flat}
    return flat


class Several(str):
    """The first of several answers to one question."""


def model_text(row: Mapping[str, Any], where: str, named: str | None = None) -> str | None:
    """What the model said; None where it said nothing. `named`: the field that holds it.

    `UserError` starting with `where` when no known field holds a text.
    """
    name = named if named in row else None if named else next((each for each in TEXT_FIELDS if each in row), None)
    if name is None:
        valid = f"valid: {named or ', '.join(TEXT_FIELDS)}, or another by --text-field"
        raise UserError(f"{where}: no model text", f"{valid}; fields here: {', '.join(map(str, row))}")
    text = row[name]
    while isinstance(text, list) and len(text) == 1:
        text = text[0]
    if isinstance(text, list) and len(text) > 1 and all(isinstance(each, str) for each in text):
        return Several(text[0])
    if text is None or text != text:  # NaN: an empty cell
        return None
    if isinstance(text, int | float) and not isinstance(text, bool):
        return str(int(text) if isinstance(text, float) and text.is_integer() else text)
    if not isinstance(text, str):
        raise UserError(
            f"{where}: {name!r} is not one text but {text!r}",
            "leave out rows that were never answered: they are no wrong answers",
        )
    return text
