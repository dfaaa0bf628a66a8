"""What a submission would hand to SLURM, for people to read: scripts, tables, when it might start. Writes nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import datetime

from smx.executors._slurm.commands import ask
from smx.executors._slurm.job_arrays import Part
from smx.executors._slurm.submit import dependency
from smx.slurm.limits import seconds

_EPOCH = re.compile(r"(?<=to start at )\d{9,}")


def preview(parts: Sequence[Part]) -> str:
    """Every array: the command, the script, the table of its tasks, GPU-hours, the start SLURM expects."""
    from smx.executors._slurm.array_executor import ArrayExecutor

    text: list[str] = []
    for part in parts:
        array = ArrayExecutor(part, "SUBMISSION")
        conditions, obstacle = dependency(part, parts, lambda number: f"JOB-OF-{number}.sh")
        command, written = shlex.join(array.command(conditions)), array.text()
        text.append(f"# {command}" + (f"   would not be submitted: {obstacle}" if obstacle else ""))
        text.append(written)
        start = _EPOCH.sub(_clock, ask(["sbatch", "--test-only"], input=written).words)
        text += [f"# {line}" for line in (*_table(part), _gpus(part), *([start] if start else []))]
        text.append("")
    if parts:
        code = parts[0].code
        text.append(f"# code: {code}" if code else "# code: as installed where a task runs")
        arrays, tasks = len(parts), sum(len(part.tasks) for part in parts)
        text.append(f"# {_counted(arrays, 'array')}, {_counted(tasks, 'task')}; {_total(parts)}")
    return "\n".join(text)


def _clock(found: re.Match[str]) -> str:
    """SLURM is asked for seconds since 1970, which programs read; this line is for people."""
    return f"{datetime.fromtimestamp(int(found[0])).astimezone():%Y-%m-%d %H:%M:%S}"


def _table(part: Part) -> list[str]:
    rows = [
        f"{k:>5}  {job.folder.parent.parent.name}  attempt {job.folder.name} shard {shard}"
        for k, (job, shard) in zip(part.indices, part.tasks, strict=True)
    ]
    if part.first:
        return ["canary: what waits for it begins when all its items are done", *rows]
    return ["index  run", *rows]


def _gpus(part: Part) -> str:
    if not part.resources.gpus:
        return "no GPUs"
    hours = _hours(part)
    if hours is None:
        return "no time limit is set, so GPU-hours cannot be told"
    return f"asks for at most {hours:.1f} GPU-hours"


def _hours(part: Part) -> float | None:
    """None where nothing limits them."""
    asked = part.resources
    if not asked.gpus:
        return 0.0
    limit = seconds(asked.time) if asked.time else None
    return None if limit is None else len(part.tasks) * asked.gpus * asked.nodes * limit / 3600


def _total(parts: Sequence[Part]) -> str:
    hours = [_hours(part) for part in parts]
    known = sum(h for h in hours if h is not None)
    return f"at most {known:.1f} GPU-hours" + ("" if None not in hours else ", and more without a time limit")


def _counted(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
