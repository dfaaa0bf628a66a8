"""The brake of an array: when its tasks keep failing the same way, those that have not begun are held.

A task that fails looks back itself, so nobody has to watch; what fails before Python can look back is seen by sync.
Beside the array's script `<part>.held.json` then says why. What was held by hand, or released, is left alone:
only failures after the last hold count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smx.atomic_io import load_json, read_json, write_json
from smx.executors import ShardOutcome
from smx.executors._slurm.commands import Answer, ask
from smx.failures import Streak, group_key, streak
from smx.runfolder import AttemptFolder, ShardFolder, now


def brake_own(folder: Path, part: str) -> None:
    """Hold the array this very task is of, if it has come to that. `folder`: the submission's."""
    about = load_json(folder / f"{part}.json")
    tasks = about["tasks"].values()
    shards = (AttemptFolder(Path(os.path.normpath(folder / t["folder"]))).shard(t["shard"]) for t in tasks)
    ends = [(str(end["at"]), _failure(shard, end)) for shard in shards if (end := shard.exit()) and _tells(end)]
    _hold(folder, part, about, ends, os.environ["SLURM_ARRAY_JOB_ID"], os.environ.get("SLURMD_NODENAME", "a task"))


def brake(ends: Iterable[ShardOutcome]) -> None:
    """Hold the arrays among these that have come to it."""
    arrays: dict[tuple[Path, str, str], list[tuple[str, Mapping[str, Any] | None]]] = {}
    for end in ends:
        job, _, name = end.handle["shards"][end.shard]
        if job and name and "folder" in end.handle:
            key = (Path(end.handle["folder"]), str(name).rpartition("-")[2], str(job))
            arrays.setdefault(key, []).append((end.at, end.failure))
    for (folder, part, job), found in arrays.items():
        if about := read_json(folder / f"{part}.json"):
            _hold(folder, part, about, found, job, "smx")


def held(folder: str, name: str) -> str:
    """Why an array of this name, whose tasks its owner holds, is held, where smx did it; else ""."""
    said = read_json(Path(folder) / f"{name.rpartition('-')[2]}.held.json") if folder else None
    return f"held: {said['tasks']} tasks in a row failed the same way ({said['kind']}: {said['line']})" if said else ""


def _hold(
    folder: Path,
    part: str,
    about: Mapping[str, Any],
    ends: Sequence[tuple[str, Mapping[str, Any] | None]],
    job: str,
    by: str,
) -> None:
    before = read_json(folder / f"{part}.held.json") or {"at": ""}
    found = streak(end for end in ends if end[0] > before["at"])
    if not about["hold_after"] or found is None or found.count < about["hold_after"]:
        return
    if _hold_pending(job).ok:
        write_json(folder / f"{part}.held.json", {"at": now(), "by": by, **_as_json(found)})


def _hold_pending(job: str) -> Answer:
    """Hold the tasks of an array that wait; fails where none does."""
    waiting = ask(["squeue", "--noheader", "--array", "--states=PENDING", f"--jobs={job}", "--format=%K"])
    indices = sorted(int(word) for word in waiting.out.split() if word.isdigit())
    if not waiting.ok or not indices:
        return Answer(False, words=waiting.words)
    return ask(["scontrol", "uhold", f"{job}_[{','.join(map(str, indices))}]"])


def _as_json(found: Streak) -> dict[str, Any]:
    return {"tasks": found.count, "kind": found.kind, "line": found.line, "group": found.group}


def _tells(end: Mapping[str, Any]) -> bool:
    return end["how"] in ("done", "failed")


def _failure(shard: ShardFolder, end: Mapping[str, Any]) -> dict[str, Any] | None:
    """A shard's failure where it says something of the next shard's; None where it is a matter of single items."""
    if end["how"] == "done":
        return None
    if end.get("kind") != "items":
        line = str(end.get("line", ""))
        group = end.get("group") or group_key(str(end["kind"]), line, str(end.get("type", "")))
        return {"kind": end["kind"], "line": line, "group": group}
    records = list(shard.items())
    errors = [record["error"] for record in records if not record["ok"]]
    if len(errors) < max(2, len(records)) or len({error["group"] for error in errors}) > 1:
        return None
    return {key: errors[0][key] for key in ("kind", "line", "group")}
