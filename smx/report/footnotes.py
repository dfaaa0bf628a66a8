"""What is said around a table: its title, what its numbers are, and what a reader must know about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from smx.registry.rows import is_many
from smx.report.query import AXES, BREAKDOWNS
from smx.report.table import Entry, Table

_KIND = {"all": "", "acc": "multiple choice, ", "mra": "numerical answers, "}
_MEAN = {"micro": "mean over questions", "macro": "mean over tasks"}
_FAILURES_NAMED = 3
NO_BETTER = "†"  # behind a score that one constant answer would reach


def wording(axes: Sequence[str], key: Sequence[Any], *, alone: bool = False) -> list[str]:
    """Values of axes as headings; `alone`: where no heading says which axis they are of."""
    words = []
    for axis, value in zip(axes, key, strict=True):
        if axis == "sampler" and value == "none":
            words.append("no frames")
        elif axis == "frames" and not value and "sampler" in axes:
            words.append("")
        elif value is None or value == "":
            words.append("not recorded")
        elif alone and axis not in AXES:
            words.append(f"{axis.rpartition('.')[2]}={value}")
        elif alone and axis in ("frames", "seed"):
            words.append(f"{value} frames" if axis == "frames" else f"seed {value}")
        else:
            words.append(str(value))
    return words


def heading(table: Table) -> str:
    """Bench, scorer and metric, whatever of them holds for the whole table."""
    parts = ["published" if table.sources else "imported"] if table.imported else []
    if "bench" in table.fixed:
        parts.append(str(table.fixed["bench"]))
    if scorer := table.fixed.get("scorer"):
        parts.append(f"scorer {scorer}" if not table.imported else str(scorer))
    parts.append(", ".join(_metrics(table)))
    return " · ".join(parts)


def explanation(table: Table) -> str:
    """What the numbers are: which mean, over how many questions and seeds, of what."""
    parts = []
    if any(entry.run.bench == "rooms" for entry in _entries(table)):
        parts.append("built-in rooms, no published bench")
    for metric in _metrics(table):
        kind, _, mean = metric.partition(".")
        if mean in _MEAN:
            named = f"{metric}: " if len(_metrics(table)) > 1 else ""
            parts.append(f"{named}{_KIND.get(kind, f'{kind}, ')}{_MEAN[mean]}")
    parts.append("scores × 100")
    if table.seeds:
        parts.append(f"± standard deviation over {table.seeds} seeds")
    if table.items:
        parts.append(f"{table.items} questions")
    for axis in ("model", "sampler", "frames"):
        value = table.fixed.get(axis)
        if value not in (None, 0):
            parts.append(f"{value} frames" if axis == "frames" else f"{axis} {value}")
    parts += [f"from {source}" for source in table.sources]
    return "; ".join(parts)


def notes(table: Table, missing: str) -> list[str]:
    """Lines below the table, only those that apply. `missing` is how a cell without runs is written."""
    found = []
    entries = list(_entries(table))
    if table.sources:
        found.append("published: by others, in the table that is named; no run of smx is behind these numbers")
    elif table.imported:
        found.append("imported: kept by hand before smx, or published elsewhere; no run of smx is behind these numbers")
    if any(
        table.applies(row, col) and not table.cell(row, col).entries for row in table.row_keys for col in table.col_keys
    ):
        found.append(f"{missing}: {'not published there' if table.sources else 'no such run yet'}")
    if any(entry.run.untrained for entry in entries):
        found.append("untrained: the weights are random; such a score says nothing about the model")
    if any(entry.run.pose_untrained for entry in entries):
        found.append("poses untrained: cameras enter the attention of weights that never saw poses in training")
    if chosen := sorted({f"{e.run.sampler}" for e in entries if e.run.imported}):
        found.append(f"{', '.join(chosen)} (imported): frames that another tool chose and saved (smx samples import)")
    if changes := sorted({change for entry in entries for change in entry.changes}):
        found.append(f"older code: {', '.join(changes)} since; the same command without --keep makes such runs anew")
    found += _stand_ins(entries)
    if any(entry.score and entry.score.doubtful for entry in entries):
        found.append("?: somebody marked the attempt doubtful")
    found += _below_majority(table)
    found += _failures(table)
    unparsed = [entry.score.unparsed for entry in entries if entry.score]
    if any(unparsed):
        where = f" of {table.fixed['bench']}" if "bench" in table.fixed else ""
        found.append(
            f"answers that did not parse count as wrong: up to {max(unparsed)} in a run{where} (json has each)"
        )
    if cut := [(e.score.cut, e.score.n) for e in entries if e.score and is_many(e.score.cut, e.score.n)]:
        most, n = max(cut, key=lambda pair: pair[0] / pair[1])
        found.append(
            f"answers that were cut off at max_new_tokens: up to {most} of {n} in a run (--set max_new_tokens=N)"
        )
    differing = sorted({key for cell in table.cells.values() for key in cell.differences()})
    if differing:
        found.append(f"or: runs of one cell that differ in {', '.join(differing)}; --runs names them")
    if table.added:
        found.append(f"{' and '.join(table.added)} joined the rows: runs of one cell would differ in it")
    if table.items is None and len({e.run.items for e in entries if e.run.items}) > 1:
        found.append("n: questions of the run; these runs do not share one set of questions")
    return found


def _metrics(table: Table) -> list[str]:
    if "metric" in table.fixed:
        return [table.fixed["metric"]]
    found = {entry.score.metric for entry in _entries(table) if entry.score}
    return sorted(found, key=lambda m: (m in BREAKDOWNS, m.partition(".")[0], m.endswith(".macro"))) or [
        "no scores yet"
    ]


def _below_majority(table: Table) -> Iterator[str]:
    """What guessing blindly reaches as well: the marked cells, and the types behind averages."""
    marked: dict[str, str | None] = {}
    kinds: list[str] = []
    runs = 0
    for cell in table.cells.values():
        for group in cell.scored:
            if group.marked:
                marked |= {e.score.task: e.score.majority_answer for e in group.entries if e.score}
            if table.weak and not group.baseline:
                for entry in group.entries:
                    if entry.score and not entry.score.task:
                        runs += 1
                        if entry.run.fingerprint in table.weak:
                            kinds += table.weak[entry.run.fingerprint].get(entry.score.scorer, ())
    same = "no better than always giving the most frequent answer"
    if marked:
        answers = [f"{task} {answer!r}" for task, answer in sorted(marked.items()) if answer is not None]
        yield f"{NO_BETTER}: {same}{': ' if answers else ' to each type of question'}{', '.join(answers)}"
    if weak := Counter(kinds):
        named = [kind + (f" ({weak[kind]} of {runs} runs)" if weak[kind] < runs else "") for kind in sorted(weak)]
        yield f"{same} at these types (--metric type shows them): {', '.join(named)}"


def _failures(table: Table) -> list[str]:
    entries = {e.run.fingerprint: e for e in _entries(table) if e.score and e.run.failed}
    worst = sorted(entries.values(), key=lambda e: -e.run.failed)
    named = [f"{e.run.failed} of {e.run.items} in {e.run.fingerprint[:8]}" for e in worst[:_FAILURES_NAMED]]
    if len(worst) > _FAILURES_NAMED:
        named.append(f"fewer in {len(worst) - _FAILURES_NAMED} more runs")
    return [f"failed items are left out: {', '.join(named)} (smx show RUN)"] if named else []


def _stand_ins(entries: list[Entry]) -> list[str]:
    said: dict[str, None] = {}
    for entry in entries:
        asked = entry.run.labels.get("stand_in_for") or {}
        for what, name in asked.items() if isinstance(asked, dict) else ():
            served = entry.run.bench if what == "bench" else entry.run.variant
            said[f"{what} {served} stood in for {name}, which is not configured here"] = None
    return list(said)


def _entries(table: Table) -> Iterator[Entry]:
    for cell in table.cells.values():
        yield from cell.entries
