"""sbatch, once for each array: nothing is handed over twice, and an answer that was lost is looked for.

Beside `<part>.sh` and its map `<part>.json` lies `<part>.answer.json` once it is known what came of it: a job id,
or sbatch's words. No answer file means that there may be a job of that name; polling looks it up by the name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smx.atomic_io import load_json, read_json, write_json
from smx.executors import Job
from smx.executors._slurm.commands import Answer, history, queue
from smx.executors._slurm.job_arrays import Part
from smx.runfolder import AttemptFolder

if TYPE_CHECKING:
    from smx.executors._slurm.array_executor import ArrayExecutor


def launch_all(arrays: Sequence[ArrayExecutor], parts: Sequence[Part]) -> None:
    """Give arrays to SLURM, one after the other. Where sbatch hangs, it is not waited for again and again."""
    for k, array in enumerate(arrays):
        if launch(array, parts):
            continue
        for other in arrays[k + 1 :]:
            _refused(other.script.parent, other.part, "not submitted: sbatch did not answer for the array before")
        return


def launch(array: ArrayExecutor, parts: Sequence[Part]) -> bool:
    """Give one array to SLURM, after those it depends on; False where sbatch hangs.

    Refused ones say so in their shards' exit.json.
    """
    part, folder = array.part, array.script.parent

    def job_of(number: int) -> str | None:
        return (read_json(folder / f"{number}.answer.json") or {}).get("job")

    conditions, obstacle = dependency(part, parts, job_of)
    if obstacle:
        _refused(folder, part, f"not submitted: {obstacle}")
        return True
    asked = time.time()
    answer, job = array.launch(conditions)
    if job is None and not answer.ok and not answer.doubtful:
        _refused(folder, part, answer.words or f"sbatch ended with exit code {answer.code}")
        return True
    if job is None:
        job = _looked_up(array.job_name, asked)
    if job is not None:
        said = {"job": job, "at": asked, "out": answer.out, "err": answer.words, "code": answer.code}
        write_json(folder / f"{part.number}.answer.json", said)
    else:
        said = {"at": asked, "out": answer.out, "err": answer.words, "code": answer.code}
        write_json(folder / f"{part.number}.doubt.json", said)
    return job is not None or answer.code is not None


def handles(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
    """A handle for each job, from the maps and answers in `folder`; None where nothing of it was accepted.

    A shard is [job id or None, array index, job name]; a whole refused shard has no name either. `logs`: where each
    shard's output is, less its ending, as seen from the attempt's folder.
    """
    known = load_json(folder / "parts.json")
    at, home = known["at"], folder.resolve()
    places: dict[tuple[str, int], list[Any]] = {}
    logs: dict[tuple[str, int], str] = {}
    for number in range(len(known["names"])):
        about = load_json(folder / f"{number}.json")
        answer = read_json(folder / f"{number}.answer.json") or {"job": None}
        for index, task in about["tasks"].items():
            name = None if answer.get("refused") else about["name"]
            key = os.path.normpath(home / task["folder"]), task["shard"]
            places[key] = [answer["job"], int(index), name]
            logs[key] = f"{number}/{index}"
    found: list[dict[str, Any] | None] = []
    for job in jobs:
        shards = [places[str(job.folder), k] for k in range(job.shards)]
        first = next((s for s in shards if s[0]), None)
        handle = {
            "executor": "slurm",
            "folder": str(folder),
            "requeues": True,
            "books": True,
            "at": at,
            "shards": shards,
        }
        way = os.path.relpath(home, job.folder)  # holds when the workspace is moved
        handle["logs"] = [f"{way}/{logs[str(job.folder), k]}" for k in range(job.shards)]
        if first:
            handle["job"] = f"{first[0]}_{first[1]}"
        found.append(handle if any(s[2] for s in shards) else None)
    return found


def sbatch_output(folder: str, name: str) -> str:
    """What sbatch said where it named no job for the array of this name, one line; "" where nothing is known of it."""
    said = (read_json(Path(folder) / f"{name.rpartition('-')[2]}.doubt.json") if folder else None) or {}
    words = " ".join(str(said.get("err") or said.get("out", "")).split())
    return words or (f"it ended with exit code {said['code']}" if said.get("code") else "")


def dependency(part: Part, parts: Sequence[Part], job_of: Callable[[int], str | None]) -> tuple[list[str], str]:
    """When it may begin, as --dependency takes it, and what stands in the way. `job_of`: of a part here."""
    wanted: list[str] = []
    conditions = [f"afterany:{job}" for number in part.turn if (job := job_of(number))]
    if part.beside is not None:
        if (job := job_of(part.beside)) is None:
            title = part.tasks[0][0].after[0].parent.parent.name
            return [], f"dependency {title}: whether SLURM took it is not known"
        conditions.append(f"aftercorr:{job}")
    here = {
        (job.folder, shard): (p.number, k) for p in parts for k, (job, shard) in zip(p.indices, p.tasks, strict=True)
    }
    counts = {job.folder: job.shards for p in parts for job, _ in p.tasks}
    for producer in (*part.after, *([part.behind] if part.behind else [])):
        title = producer.parent.parent.name
        attempt = AttemptFolder(producer)
        if producer not in counts and not attempt.planned:
            return [], f"dependency {title} is being submitted, and SLURM cannot wait for it"
        handle = attempt.handle()
        shards = counts[producer] if producer in counts else len(attempt.shards())
        for k in range(1 if producer == part.behind else shards):
            end = attempt.shard(k).exit()
            if end is not None and end["how"] == "done":
                continue
            if end is not None and end["how"] == "failed":
                return [], f"dependency {title} did not succeed"
            if (producer, k) in here:
                number, index = here[producer, k]
                job = job_of(number)
                if job is None:
                    return [], f"dependency {title}: whether SLURM took it is not known"
            elif handle is None or not handle.get("requeues"):  # no scheduler's: it has no job ids
                where = f"runs with executor {handle['executor']}" if handle else "is being submitted"
                return [], f"dependency {title} {where}, and SLURM cannot wait for it"
            else:
                job, index, _ = handle["shards"][k]
                if job is None:
                    return [], f"dependency {title}: whether SLURM took it is not known"
            wanted.append(f"{job}_{index}")
    return [*conditions, *([f"afterok:{':'.join(wanted)}"] if wanted else [])], ""


def _looked_up(name: str, asked: float) -> str | None:
    """The job of this name, when sbatch's own answer was lost."""
    for _, found in (queue([name]), history([name], asked - 3600)):
        for record in found.values():
            if record.name == name:
                return record.job
    return None


def _refused(folder: Path, part: Part, words: str) -> None:
    answer = Answer(False, words=words)
    write_json(folder / f"{part.number}.answer.json", {"job": None, "refused": True, "err": answer.words})
    for job, k in part.tasks:
        shard = AttemptFolder(job.folder).shard(k)
        if shard.exit() is None:
            dependency = words.startswith("not submitted: dependency ")
            if dependency:
                shard.end("cancelled", reason=words.removeprefix("not submitted: "))
            else:
                shard.end("failed", kind="submit", line=words)
