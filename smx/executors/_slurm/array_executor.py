"""One array of a submission, as submitit launches it: it checks the parameters and writes the script.

What submitit settles only once sbatch has answered is settled before, so an answer may be lost and nothing has to
outlive sbatch: the job's name, the script `<part>.sh`, and, where submitit would leave a pickle a task, the map
`<part>.json`, which says what each task works on. All paths in the script are relative to the submission's folder,
where the job starts, so none needs quoting, and what was printed moves with the workspace.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import submitit

from smx.atomic_io import write_atomic, write_json
from smx.errors import UserError
from smx.executors import start
from smx.executors._slurm.commands import Answer, ask
from smx.executors._slurm.job_arrays import CODE, Part
from smx.executors._slurm.options import Resources
from smx.failures import SET_UP


class ArrayExecutor(submitit.SlurmExecutor):
    """submitit's executor of one array. `folder`: the submission's; scripts can be read without one.

    `UserError` for parameters of the site file that submitit does not take.
    """

    def __init__(self, part: Part, submission: str, folder: Path = Path()) -> None:
        resources = part.resources
        python = resources.python or ("python" if resources.conda or resources.container else sys.executable)
        super().__init__(folder / str(part.number), python=shlex.join([*resources.container, python]))
        self.part, self.job_name = part, f"smx-{submission}-{part.number}"
        self.conditions: Sequence[str] = ()  # of its beginning, as --dependency takes them
        site = dict(resources.submitit)
        # Lines of several ranks are marked with the rank; unbuffered they would come in pieces.
        output = "--label" if resources.nodes * resources.tasks > 1 else "--unbuffered"
        try:
            # Without the kill the other ranks of a training wait for a dead one until the time limit.
            self._srun = ["srun", output, "--kill-on-bad-exit=1", *resources.srun, *site.pop("srun_args", ())]
            setup = [*_setup(resources), *site.pop("setup", ())]
            further = site.pop("additional_parameters", {}) | _unknown_to_submitit(part)
            own = _parameters(part) | {"job_name": self.job_name, "setup": setup, "additional_parameters": further}
            self.update_parameters(**site, **own)
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"executors.slurm.submitit: {error}", "submitit's documentation says what it takes"
            ) from error

    @classmethod
    def affinity(cls) -> int:
        """As where srun is: a script can be read without SLURM."""
        return 2

    @property
    def script(self) -> Path:
        """What sbatch is given."""
        return Path(self.folder).with_name(f"{self.part.number}.sh")

    def text(self) -> str:
        """The whole script."""
        return str(self._make_submission_file_text(self._submitit_command_str, ""))

    def prepare(self) -> None:
        """Write the script, the map, and a folder for what the tasks print."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        home = self.script.parent.resolve()
        part = self.part
        tasks = {
            str(index): {
                "folder": os.path.relpath(job.folder, home),
                "shard": shard,
                "after": [os.path.relpath(producer, home) for producer in job.after],
                "behind": os.path.relpath(part.behind, home) if part.behind else None,
            }
            for index, (job, shard) in zip(part.indices, part.tasks, strict=True)
        }
        about = {"name": self.job_name, "entry": part.tasks[0][0].entry, "cwd": str(Path.cwd())}
        about |= part.resources.model_dump(include={"requeue", "grace", "hold_after"})
        write_json(self.script.with_suffix(".json"), {**about, "tasks": tasks})
        write_atomic(self.script, self.text().encode())

    def command(self, conditions: Sequence[str]) -> list[str]:
        """How the script is handed over, in the submission's folder. `conditions`: "afterok:12_0:12_1" and the like."""
        self.conditions = conditions
        return list(self._make_submission_command(self.script))

    def launch(self, conditions: Sequence[str]) -> tuple[Answer, str | None]:
        """sbatch's answer, and the job's id if it names one: an answer without is a doubt, no failure.

        submitit's own call waits for ever, drops what is said on stderr and passes a surrounding job's variables on.
        """
        answer = ask(self.command(conditions), cwd=str(self.script.parent))
        return answer, self._get_job_id_from_submission_command(answer.out) or None

    @property
    def _submitit_command_str(self) -> str:
        module = start(CODE if self.part.code else None, "smx.executors._slurm.array_task")
        return f"{shlex.join(self._srun)} {self.python} -u {shlex.join(module)} {self.part.number}.json"

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        command = ["sbatch", "--parsable"]
        if self.conditions:
            command += [f"--dependency={','.join(self.conditions)}", "--kill-on-invalid-dep=yes"]
        return [*command, submission_file_path.name]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        """`123` or `123;cluster` on a line of its own; sites print warnings beside it. "" where that is not clear."""
        lines = (string if isinstance(string, str) else string.decode(errors="replace")).splitlines()
        ids = [match[1] for line in lines if (match := re.fullmatch(r"(\d+)(?:;\S+)?", line.strip()))]
        return ids[0] if len(ids) == 1 else ""


# No work in an environment that is not the one asked for. A trap, for lines that are parts of an `if` or a loop.
_TRAP = f"""trap 'smx_code=$?; echo "{SET_UP}: $BASH_COMMAND (exit code $smx_code)" >&2; exit $smx_code' ERR"""


def _parameters(part: Part) -> dict[str, Any]:
    """By submitit's names. None leaves out what submitit would send: a limit of 5 minutes, its own wckey."""
    resources = part.resources
    return {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "wckey": resources.wckey,
        "comment": resources.comment or _about(part),
        "time": resources.time,
        "mem": resources.memory,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks,
        "cpus_per_task": resources.cpus,
        "exclude": ",".join(resources.exclude) or None,
        **_gpus(resources),
        "use_srun": False,  # its srun writes a file for each rank, by an absolute path
    }


def _about(part: Part) -> str:
    """What an administrator sees of it: `smx eval sa-16f-vsibench-1a2b3c4d and 39 more`."""
    job = part.tasks[0][0]
    more = f"and {len(part.tasks) - 1} more" if len(part.tasks) > 1 else ""
    return " ".join(filter(None, ("smx", job.kind, job.folder.parent.parent.name, more)))


def _unknown_to_submitit(part: Part) -> dict[str, Any]:
    resources, number = part.resources, part.number
    return {
        "array": part.array,
        "output": f"{number}/%a.out",
        "error": f"{number}/%a.err",
        # To the tasks, not the shell (`B:`), so that they can finish or drop the item in hand. submitit would take the
        # signal's name from the environment of whoever submits.
        "signal": f"USR2@{resources.grace}",
        "requeue" if resources.requeue else "no-requeue": True,
        **({"reservation": resources.reservation} if resources.reservation else {}),
    }


def _setup(resources: Resources) -> list[str]:
    """Lines of the shell before the tasks. sbatch reads options up to the first that is no comment."""
    lines = [f"#SBATCH {line}" for line in resources.sbatch]
    lines += [f"# written by submitit {version('submitit')}, for smx"]
    lines += ["export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"]
    # srun has not inherited it since 22.05.
    lines += ['[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"']
    lines += [f"export {shlex.quote(key)}={shlex.quote(value)}" for key, value in resources.environment.items()]
    own = [f"module load {' '.join(map(shlex.quote, resources.modules))}"] if resources.modules else []
    if resources.conda:
        # An assignment fails where the command in it does; eval of nothing does not.
        own += ['smx_hook="$(conda shell.bash hook)"', 'eval "$smx_hook"']
        own += [f"conda activate {shlex.quote(resources.conda)}"]
    own += resources.prologue
    return [*lines, _TRAP, *own, "trap - ERR"] if own else lines


def _gpus(resources: Resources) -> dict[str, str]:
    if not resources.gpus:
        return {}
    kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
    if resources.gpus_as == "gres":
        return {"gres": f"gpu:{kind}{resources.gpus}"}
    count = resources.gpus // resources.tasks if resources.gpus_as == "gpus-per-task" else resources.gpus
    return {resources.gpus_as.replace("-", "_"): f"{kind}{count}"}
