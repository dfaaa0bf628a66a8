"""The batch script of one array. Nothing a user can name reaches it but what the site file says.

Which run a task works on stands in the file beside the script, what a task prints in files of its index there, and
the code is reached through a link to its copy; all are relative to the submission's folder, where the job starts. So
no path and no name needs quoting.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from smx.executors import start
from smx.executors._slurm.options import Resources

CODE = Path("code")  # beside the script: a link to the copy of the code that it runs


def script(part: int, name: str, array: str, ask: Resources, code: Path | None = CODE) -> str:
    """The whole script of array `array` ("0-15%4"), called `name`; its map is `<part>.json`.

    `code`: copy of the code to run, as seen from beside the script; None runs the smx that is installed there.
    """
    options = {
        "job-name": name,
        "array": array,
        "output": f"{part}/%a.out",
        "error": f"{part}/%a.err",
        "open-mode": "append",
        "partition": ask.partition,
        "account": ask.account,
        "qos": ask.qos,
        "constraint": ask.constraint,
        "reservation": ask.reservation,
        "wckey": ask.wckey,
        "comment": ask.comment,
        "time": ask.time,
        "mem": ask.memory,
        "nodes": ask.nodes,
        "ntasks-per-node": ask.tasks,
        "cpus-per-task": ask.cpus,
        "exclude": ",".join(ask.exclude) or None,
        **_gpus(ask),
        # To the tasks, not the shell (`B:`), so that they can finish or drop the item in hand.
        "signal": f"USR2@{ask.grace}",
    }
    lines = ["#!/bin/bash", *(f"#SBATCH --{k}={shlex.quote(str(v))}" for k, v in options.items() if v is not None)]
    lines += ["#SBATCH --requeue" if ask.requeue else "#SBATCH --no-requeue"]
    lines += [f"#SBATCH {line}" for line in ask.sbatch]
    lines += ["", "export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"]
    lines += ['[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"']
    lines += [f"export {shlex.quote(key)}={shlex.quote(value)}" for key, value in ask.environment.items()]
    lines += [f"module load {' '.join(map(shlex.quote, ask.modules))}"] if ask.modules else []
    lines += ['eval "$(conda shell.bash hook)"', f"conda activate {shlex.quote(ask.conda)}"] if ask.conda else []
    lines += ask.prologue
    python = [ask.python or ("python" if ask.conda or ask.container else sys.executable)]
    task = [*ask.container, *python, "-u", *start(code, "smx.executors._slurm.array_task"), f"{part}.json"]
    # Lines of several ranks are marked with the rank; unbuffered they would come in pieces.
    output = "--label" if ask.nodes * ask.tasks > 1 else "--unbuffered"
    lines += [shlex.join(["srun", output, "--kill-on-bad-exit=1", *ask.srun, *task]), ""]
    return "\n".join(lines)


def _gpus(ask: Resources) -> dict[str, str]:
    if not ask.gpus:
        return {}
    kind = f"{ask.gpu_type}:" if ask.gpu_type else ""
    if ask.gpus_as == "gres":
        return {"gres": f"gpu:{kind}{ask.gpus}"}
    count = ask.gpus // ask.tasks if ask.gpus_as == "gpus-per-task" else ask.gpus
    return {ask.gpus_as: f"{kind}{count}"}
