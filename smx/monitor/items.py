"""Single items of a run: what was asked, what was said, what was right, and what failed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from smx import plugins
from smx.benches import BaseBench
from smx.errors import UserError
from smx.results.derive import question_of
from smx.runfolder import RunFolder

WORDS = ("right", "wrong", "unparsed", "failed", "done")
KEYS = ("dataset", "item", "scene", "type")


def items(
    run: RunFolder, without: frozenset[int], where: Sequence[str] = (), scorer: str | None = None
) -> list[dict[str, Any]]:
    """Items that fit every one of `where`, in the order of their ids. `without`: excluded attempts.

    `where` holds `WORDS` and `KEY=VALUE` (a|b for either). Of an eval: `{"item", "attempt", "state", "scene",
    "type", "question", "truth", "text", "parsed", "score"}`, judged now by `scorer` (the bench's first unless
    named), `right` where that is full marks; of others what was recorded; of failed ones the error.
    """
    words, filters = _parsed(where)
    bench, name = _judge(run, scorer)
    outcome = run.outcome(without)
    entries = [_done(item, record, bench, name) for item, record in outcome.done.items()]
    entries += [_failed(item, record) for item, record in outcome.failed.items()]
    kept = [e for e in entries if _fits(e, words, filters)]
    return sorted(kept, key=lambda entry: entry["item"])


def lines(entries: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Two or three lines an item: what and where, question, answers."""
    text = []
    for entry in entries:
        place = "  ".join(str(entry[key]) for key in ("item", "scene", "type") if entry.get(key))
        if entry["state"] == "failed":
            text += [f"{place}  failed: {entry['error']['line']}"]
        elif "text" in entry:
            others = "".join(f" or {answer!r}" for answer in entry["also"])
            parsed = "unparsed" if entry["parsed"] is None else f"read as {entry['parsed']!r}"
            text.append(f"{place}  {100 * entry['score']:.0f}")
            text += textwrap.wrap(entry["question"], width, initial_indent="  ", subsequent_indent="  ")
            text += [_clipped(f"  {option}", width) for option in entry["options"] or ()]
            said = _clipped(f"  said {entry['text']!r}", max(24, width - len(parsed) - 24))
            text.append(f"{said}, {parsed}; truth {entry['truth']!r}{others}")
        else:
            text.append(_clipped(f"{place}  {entry['data']}", width))
    return text


def _done(item: str, record: Mapping[str, Any], bench: BaseBench | None, scorer: str) -> dict[str, Any]:
    data = record["data"]
    entry = {"item": item, "attempt": record["attempt"], "state": "done"}
    if bench is None or "text" not in data:
        return {**entry, "data": data}
    verdict = bench.judge(question_of(item, data), data["text"], scorer)
    return {
        **entry,
        **{key: data[key] for key in ("dataset", "scene", "type", "question", "options", "truth")},
        **{"also": data.get("also", []), "text": data["text"], "scorer": scorer, **vars(verdict)},
    }


def _failed(item: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"item": item, "attempt": record["attempt"], "state": "failed", "error": record["error"]}


def _judge(run: RunFolder, scorer: str | None) -> tuple[BaseBench | None, str]:
    if run.spec["kind"] != "eval":
        return None, ""
    spec = run.spec["spec"]
    bench: BaseBench = plugins.load("benches", spec["bench"]).parse(spec["bench_options"], f"bench {spec['bench']}")
    return bench, bench.scorer_named(scorer)


def _parsed(where: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    words: list[str] = []
    filters: dict[str, list[str]] = {}
    for part in (piece.strip() for text in where for piece in text.split(",") if piece.strip()):
        key, sign, value = part.partition("=")
        if sign and key in KEYS:
            filters[key] = [*filters.get(key, []), *value.split("|")]
        elif not sign and part in WORDS:
            words.append(part)
        else:
            choices = [*WORDS, *(f"{key}=…" for key in KEYS)]
            raise UserError(f"--where {part!r} picks no items", f"valid: {', '.join(choices)}")
    return words, filters


def _fits(entry: Mapping[str, Any], words: Sequence[str], filters: Mapping[str, Sequence[str]]) -> bool:
    score = entry.get("score")
    standing = {
        "done": entry["state"] == "done",
        "failed": entry["state"] == "failed",
        "right": score == 1,
        "wrong": score is not None and score < 1,
        "unparsed": score is not None and entry["parsed"] is None,
    }
    return all(standing[word] for word in words) and all(
        str(entry.get(key, "")) in allowed for key, allowed in filters.items()
    )


def _clipped(text: str, width: int) -> str:
    line = text.replace("\n", " ")
    return line if len(line) <= width else line[: width - 1] + "…"
