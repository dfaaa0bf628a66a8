"""Derive result.json from a run's items: counts, scores, and which attempts and code versions they came from.

Pure reading of the run folder: the same items give the same bytes, on the node, in sync and in a rebuild.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from statistics import fmean
from typing import Any

from smx import plugins
from smx.atomic_io import read_json, read_whole, write_json
from smx.benches import BaseBench, Question, Verdict
from smx.benches._averages import counts
from smx.benches._intervals import uncertainty
from smx.runfolder import Outcome, RunFolder
from smx.spec import AnySpec, EvalSpec, GenSpec, recorded


def derive(run: RunFolder, without: frozenset[int] = frozenset()) -> dict[str, Any]:
    """Return what result.json holds, and write it where that can be. `without`: attempts that are marked excluded."""
    outcome = run.outcome(without)
    spec = recorded(run.spec)
    attempts = [a for a in run.attempts() if a.number not in without]
    of = max((a.plan["of"] for a in attempts), default=0)
    used = Counter(record["attempt"] for record in outcome.done.values())
    result = {
        "fingerprint": run.spec["fingerprint"],
        "items": of,
        "done": len(outcome.done),
        "failed": len(outcome.failed),
        "from_attempts": {str(n): count for n, count in sorted(used.items())},
        "code": sorted({_code(a.plan["provenance"]) for a in attempts if a.number in used}),
        "info": _info(attempts, set(used)),
        "errors": _errors(outcome),
        **_kind_of_result(spec, outcome, run),
    }
    try:
        write_json(run.path / "result.json", result)
    except OSError:  # a full disk, or somebody else's folder: better none than an old one, and what it says is known
        with suppress(OSError):
            (run.path / "result.json").unlink(missing_ok=True)
    return result


def _kind_of_result(spec: AnySpec, outcome: Outcome, run: RunFolder) -> dict[str, Any]:
    if isinstance(spec, EvalSpec):
        spent = _spent(outcome)
        return {"scores": _scores(spec, outcome, run), **({"spent": spent} if spent else {})}
    if isinstance(spec, GenSpec):
        early = {item: r["data"]["ends_early"] for item, r in outcome.done.items() if "ends_early" in r["data"]}
        warnings = {item: r["data"]["warnings"] for item, r in sorted(outcome.done.items()) if "warnings" in r["data"]}
        shown = {"warnings": warnings} if warnings else {}
        return {"samples": _samples(outcome), "ends_early": dict(sorted(early.items())), **shown}
    losses = [loss for item in sorted(outcome.done) for loss in outcome.done[item]["data"]["losses"]]
    return {"losses": losses}


def _scores(spec: EvalSpec, outcome: Outcome, run: RunFolder) -> dict[str, Any]:
    """`{"official@1": summary, …}` over the items that were answered; errors are no wrong answers.

    Answers are judged again, so that a new scorer of smx's scores them too. Not by a lab's bench that was edited
    since: what was derived before stays, or is put together from the verdicts on record.
    """
    bench: BaseBench = plugins.load("benches", spec.bench).parse(spec.bench_options, f"bench {spec.bench}")
    identity = plugins.identity("benches", spec.bench)
    edited = isinstance(identity, str) and identity != run.spec["plugins"].get(f"benches/{spec.bench}")
    if edited and (before := read_whole(run.path / "result.json")) and before.get("done") == len(outcome.done):
        return dict(before.get("scores", {}))
    records = {item: outcome.done[item]["data"] for item in sorted(outcome.done)}
    asked = [(question_of(item, data), data) for item, data in records.items()]
    found = {}
    for scorer in bench.scorers:
        if edited:
            judged = [(q, data) for q, data in asked if scorer in data["scores"]]
            scored = [(q, Verdict(**data["scores"][scorer])) for q, data in judged]
            doubt = {"scenes": len({q.scene for q, _ in scored})}  # what a constant answer scores is not on record
        else:
            judged = asked
            scored = [(question, bench.judge(question, data["text"], scorer)) for question, data in asked]
            doubt = uncertainty(bench, scored, scorer)
        cut = [data["new_tokens"] >= spec.max_new_tokens for _, data in judged]
        found[bench.scorer_id(scorer)] = {
            **bench.summarize(scored),
            "cut": sum(cut),
            **doubt,
            "counts": counts(scored, bench.tasks(), bench.averages(), cut),
        }
    return found


def _spent(outcome: Outcome) -> dict[str, Any]:
    """Tokens and US dollars of all answers of an endpoint, and the models that it says have answered."""
    records = [record for record in outcome.done.values() if "by" in record.get("used", {})]
    if not records:
        return {}
    priced = [record["used"]["dollars"] for record in records if "dollars" in record["used"]]
    return {
        **{key: sum(record["data"][key] for record in records) for key in ("prompt_tokens", "new_tokens")},
        **({"dollars": round(sum(priced), 6)} if priced else {}),
        "by": sorted({record["used"]["by"] for record in records}),
    }


def question_of(item: str, data: Mapping[str, Any]) -> Question:
    """An item's record as the question it answers."""
    options = None if data["options"] is None else tuple(data["options"])
    also = tuple(data.get("also", ()))
    return Question(item, data["dataset"], data["scene"], data["type"], data["question"], options, data["truth"], also)


def _samples(outcome: Outcome) -> dict[str, Any]:
    """Means over scenes of what each sample says of itself."""
    rows = [record["data"] for record in outcome.done.values()]
    keys = sorted({k for row in rows for k, v in row.items() if isinstance(v, (int, float))})
    found = {k: [row[k] for row in rows if isinstance(row.get(k), (int, float))] for k in keys}
    return {k: round(fmean(values), 6) for k, values in found.items()}


def _errors(outcome: Outcome) -> list[dict[str, Any]]:
    """Equal failures together, most frequent first, with the items they hit."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item, record in outcome.failed.items():
        error = record["error"]
        groups.setdefault((error["kind"], error["line"], error["where"]), []).append(item)
    ordered = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [{"kind": k, "line": line, "where": where, "items": sorted(items)} for (k, line, where), items in ordered]


def _info(attempts: list[Any], used: set[int]) -> dict[str, Any]:
    """What the model said of itself, from the newest attempt that contributed."""
    for attempt in reversed(attempts):
        if attempt.number in used:
            for shard in attempt.shards():
                info = read_json(shard.path / "info.json")
                if info:
                    return dict(info)
    return {}


def _code(provenance: dict[str, Any]) -> str:
    """One code version: commit, with the digest of uncommitted changes, or the installed version."""
    git = provenance.get("git")
    if not git:
        return f"smx {provenance['smx']}"
    return f"{git['commit'][:12]}+{git['diff'][:8]}" if git["dirty"] else str(git["commit"][:12])
