"""`smx show`: everything about one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smx.cli._filters import Named

if TYPE_CHECKING:
    from smx.runfolder import RunFolder


def show(
    run: Named,
    items: Annotated[bool, typer.Option("--items", help="Its items: questions, answers, truth.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only such items: right, wrong, unparsed, failed; type=, scene=, dataset=, item=a|b."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many items.")] = 20,
    scorer: Annotated[
        str | None, typer.Option(help="Judge items by this scorer.", show_default="the bench's first")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Everything about one run: spec, inputs, attempts, failures, scores, paths.

    With --items, what it was asked, what it said and what is right, read from
    its records; nothing is run again.

    Example: smx show tiny-rooms-uniform-16f-1a2b3c4d --items --where wrong
    """
    from smx.cli._common import out, out_json, registry_as_it_is, say, workspace
    from smx.control.sync import refresh
    from smx.monitor.run_list import run_json
    from smx.monitor.status import span
    from smx.monitor.training_progress import training_progress
    from smx.registry.rows import excluded_attempts
    from smx.runfolder import RunFolder
    from smx.states import RunState

    space = workspace()
    with registry_as_it_is(space) as registry:
        refresh(space, registry, say)
        row = registry.find(run)
        attempts = registry.attempts(row.fingerprint)
        inputs = registry.inputs(row.fingerprint)
        notes, tags = registry.notes(row.fingerprint), registry.tags(row.fingerprint)
    folder = RunFolder(space.runs / row.folder)
    if items or where or scorer:
        _say_items(folder, excluded_attempts(attempts), where or (), scorer, limit, as_json)
        return
    result = folder.result()
    training = training_progress(folder) if row.kind == "train" else None
    if as_json:
        tries = [
            {"attempt": a.attempt, "state": a.state, "executor": a.executor, "items": a.items, "done": a.done}
            | {"failed": a.failed, "started": a.started, "ended": a.ended, "failure": a.failure, "mark": a.mark}
            | {"resources": a.resources, "usage": a.usage, "machines": _machines(folder, a.attempt)}
            | {"provenance": a.provenance}
            for a in attempts
        ]
        out_json(
            {**run_json(row), "folder": str(folder.path), "spec": folder.spec, "attempts": tries, "result": result}
            | ({"training": training.as_json()} if training else {})
        )
        return
    out(
        f"{folder.path.name}: {row.state}, {row.done}/{row.items or '?'} items"
        + (f", {row.failed} failed" if row.failed else "")
    )
    if training:
        left = f", {span(training.left)} left" if training.left and row.state == RunState.running else ""
        out(f"  {training.words()}{left}")
    for label, said in row.labels.items():
        out(f"  {label}: {', '.join(map(str, said)) if isinstance(said, list) else said}")
    if tags:
        out(f"  tags: {', '.join(tags)}")
    for note in notes:
        out(f"  note {note.created[:16]} {note.author}: {note.text}")
    out("spec")
    for key, value in folder.spec["spec"].items():
        out(f"  {key}: {_plain(value)}")
    out("inputs")
    for entry in inputs:
        out(f"  {entry.role}: {entry.input[:24]}")
    out("attempts")
    for attempt in attempts:
        _say_attempt(attempt, folder)
    if result:
        _say_result(result)
    out("paths")
    out(f"  {folder.path}")


def _say_items(
    folder: RunFolder, excluded: frozenset[int], where: Sequence[str], scorer: str | None, limit: int, as_json: bool
) -> None:
    from smx.cli._common import counted, out, out_json, say
    from smx.cli._following import width
    from smx.monitor.items import items, lines

    found = items(folder, excluded, where, scorer)
    if as_json:
        out_json(found[:limit])
    elif found:
        out("\n".join(lines(found[:limit], width())))
    more = f", {len(found) - limit} more: --limit {len(found)}" if len(found) > limit else ""
    say(f"{counted(len(found), 'item')}{' fit' if where else ''}{more}")


def _machines(folder: RunFolder, attempt: int) -> list[dict[str, Any]]:
    """What each shard of an attempt ran on, of those that began."""
    from smx.atomic_io import read_json

    place = folder.attempt(attempt)
    shards = place.shards() if place.planned else []
    return [found for shard in shards if (found := read_json(shard.path / "machine.json"))]


def _on(machines: list[dict[str, Any]]) -> list[str]:
    """`on n[1-2]: 2 × NVIDIA H200 (driver 550.1)`, a line for each sort of machine with GPUs."""
    sorts: dict[str, set[str]] = {}
    for machine in machines:
        gpus = machine.get("gpus") or ()
        for name, driver in dict.fromkeys((gpu["name"], gpu["driver"]) for gpu in gpus):
            number = sum(gpu["name"] == name for gpu in gpus)
            sorts.setdefault(f"{number} × {name} (driver {driver})", set()).add(machine["host"])
    return [f"on {', '.join(sorted(hosts))}: {gpus}" for gpus, hosts in sorts.items()]


def _say_attempt(attempt: Any, folder: RunFolder) -> None:
    from smx.cli._common import out
    from smx.monitor.cost import of_attempt

    mark = f", {attempt.mark}" if attempt.mark else ""
    span = f"{(attempt.started or attempt.created)[:19]} .. {(attempt.ended or '')[:19]}"
    out(f"  {attempt.attempt}: {attempt.state}{mark}, {attempt.executor}, {attempt.done}/{attempt.items} items, {span}")
    git = attempt.provenance.get("git") or {}
    code = git.get("commit", "")[:12] + (" + uncommitted changes" if git.get("dirty") else "")
    origin = attempt.provenance
    kept = f", copy {origin['snapshot']}" if origin.get("snapshot") else ""
    out(f"     {origin.get('user')}@{origin.get('host')}  smx {origin.get('smx')} {code}{kept}")
    out(f"     $ {origin.get('command')}")
    for plugin, digest in (origin.get("plugins") or {}).items():
        out(f"     plugin {plugin} {digest}")
    for line in (*_on(_machines(folder, attempt.attempt)), *of_attempt(attempt)):
        out(f"     {line}")
    if attempt.failure:
        place = attempt.failure.get("where")
        where = f" ({place})" if place and place not in attempt.failure["line"] else ""
        out(f"     {attempt.failure['kind']}: {attempt.failure['line']}{where}")
        for log in folder.attempt(attempt.attempt).logs("err", attempt.failure.get("shard"))[:1]:
            out(f"     log: {log}")
    if attempt.unknown_since:
        out(f"     unknown since {attempt.unknown_since[:19]}")


def _say_result(result: dict[str, Any]) -> None:
    from smx.cli._common import out

    if result["errors"]:
        out("failed items (the same command with --retry tries them again)")
        for error in result["errors"]:
            out(f"  {len(error['items'])} × {error['kind']}: {error['line']}  [{', '.join(error['items'][:5])}]")
    blocks = {scorer: _score_lines(found) for scorer, found in (result.get("scores") or {}).items()}
    for own in list(blocks)[:1]:
        alike = [scorer for scorer in blocks if blocks[scorer] == blocks[own]]
        for scorer in (own, *(scorer for scorer in blocks if scorer not in alike)):
            out("\n".join([f"scores, {scorer} {blocks[scorer][0]}", *blocks[scorer][1:]]))
            if scorer == own and len(alike) > 1:
                out(f"  the same by {', '.join(alike[1:])}")
    if result.get("samples"):
        out("samples")
        for key, value in result["samples"].items():
            out(f"  {key}: {value:g}")
    if result.get("losses"):
        losses = result["losses"]
        out(f"loss: {losses[0]:.3f} at the first step, {losses[-1]:.3f} at step {len(losses)}")
    for key, value in result["info"].items():
        out(f"  {key}: {_plain(value)}")


def _score_lines(found: dict[str, Any]) -> list[str]:
    """Counts, then averages and types with their intervals."""
    cut = f", {found['cut']} cut at max_new_tokens" if found.get("cut") else ""
    lines = [f"(n {found['n']}, {found['unparsed']} unparsed{cut})"]
    ci = found.get("ci", {})
    for name in [name for name in ("all", "acc", "mra") if name in found]:
        means = [(k, v, ci.get(f"{name}.{k}", {}).get("")) for k, v in found[name].items() if v is not None]
        shown = "  ".join(f"{k} {100 * v:.2f}{_interval(sure)}" for k, v, sure in means)
        lines.append(f"  {name}: {shown or 'no such questions'}")
    for kind, entry in found["types"].items():
        sure = _interval(ci.get("type", {}).get(kind))
        lines.append(f"    {kind}: {100 * entry['score']:.2f}{sure} (n {entry['n']}){_no_better(found, kind)}")
    return lines


def _interval(pair: list[float] | None) -> str:
    return f" [{100 * pair[0]:.1f}, {100 * pair[1]:.1f}]" if pair else ""


def _no_better(found: dict[str, Any], kind: str) -> str:
    """Whether always giving the most frequent answer would do as well."""
    from smx.registry.scores import majority_baseline

    majority = majority_baseline(found, "type", kind)
    if not majority or majority["better"]:
        return ""
    return f", no better than always answering {majority['answer']!r} ({100 * majority['score']:.2f})"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" if isinstance(v, dict) else f"{k}={v}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) if len(value) <= 6 else f"{', '.join(map(str, value[:5]))} … ({len(value)})"
    return str(value)
