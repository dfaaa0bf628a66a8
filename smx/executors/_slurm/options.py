"""What a job may ask of SLURM: the options of the executor, in whole and per kind of run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from smx.errors import UserError, unknown
from smx.options import Options
from smx.slurm.limits import clock, seconds
from smx.slurm.records import size


def _one_line(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ValueError("must be one line without control characters")
    return text


def _time(value: object) -> object:
    # YAML reads an unquoted 1:30:00 as a number, and SLURM reads a bare number as minutes.
    text = value if isinstance(value, str) else ""
    if found := re.fullmatch(r"\s*0*([1-9]\d*)\s*(s|m|min|h|d)\s*", text):
        unit = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}[found[2]]
        return clock(int(found[1]) * unit)
    if not re.search("[:-]", text) or not (total := seconds(text)):  # to SLURM, no time is no limit
        raise ValueError('write a time as 90m, 12h, 2d or in quotes as "1-12:00:00"')
    return clock(total)


def _memory(value: str) -> str:
    if not re.fullmatch(r"\d+[KMGT]", value):
        raise ValueError("write memory as a whole number with a unit: 32G, 500M")
    return value


# What smx finds its jobs by, or what a task relies on; it writes them itself.
_OWN: tuple[str, ...] = ("job-name", "array", "output", "error", "open-mode", "dependency", "kill-on-invalid-dep")
_OWN += ("signal", "chdir", "clusters", "parsable", "wrap", "wait", "test-only")
_FINDS = "it finds its jobs by what it sets there"
_SHORT = {"J": "job-name", "a": "array", "o": "output", "e": "error", "d": "dependency", "D": "chdir", "M": "clusters"}


def _extra(text: str) -> str:
    if not (found := re.match(r"--([\w-]+)|-(\w)", text)):
        raise ValueError("write an option of sbatch as --name=value")
    name = found[1] or _SHORT.get(found[2], "")
    if len(name) > 2 and any(own.startswith(name) for own in _OWN):  # sbatch takes shortened names
        raise ValueError(f"{found[0]} is smx's own: {_FINDS}")
    return text


# Parameters of submitit that have a key of their own here; "": smx finds its jobs by what it sets there.
_KEYS = dict.fromkeys(("job_name", "name", "dependency", "use_srun", "stderr_to_stdout"), "")
_KEYS |= {key: key for key in ("partition", "account", "qos", "constraint", "wckey", "comment", "exclude", "nodes")}
_KEYS |= {"time": "time", "timeout_min": "time", "mem": "memory", "mem_gb": "memory", "cpus_per_task": "cpus"}
_KEYS |= {"ntasks_per_node": "tasks", "tasks_per_node": "tasks", "signal_delay_s": "grace"}
_KEYS |= dict.fromkeys(("gres", "gpus_per_node", "gpus_per_task", "num_gpus"), "gpus")
_KEYS |= {"array_parallelism": "throttle"}


def _submitit(values: dict[str, Any]) -> dict[str, Any]:
    """Without the prefix that submitit's AutoExecutor wants. `UserError` for parameters that submitit does not have."""
    plain = {name.removeprefix("slurm_"): value for name, value in values.items()}
    for name in plain.keys() & _KEYS.keys():
        raise ValueError(f"{name} is smx's own: {f'set {key}' if (key := _KEYS[name]) else _FINDS}")
    further = plain.get("additional_parameters")
    for option in further if isinstance(further, dict) else ():
        if not re.fullmatch(r"[\w-]+", str(option)):
            raise ValueError(f"{option!r} is no name of an option of sbatch")
        _extra(f"--{option}".replace("_", "-"))
    if single := [name for name in ("setup", "teardown", "srun_args") if not isinstance(plain.get(name, []), list)]:
        raise ValueError(f"write {single[0]} as a list: [{plain[single[0]]!r}]")
    for name in plain.keys() - {"setup", "teardown"}:  # those are lines of the shell, as they are
        for text in _texts(plain[name]):
            _one_line(text)
    if plain:
        from submitit import SlurmExecutor

        valid = SlurmExecutor._valid_parameters() - _KEYS.keys()
        if wrong := sorted(plain.keys() - valid):
            raise unknown("parameter of submitit", wrong[0], valid, "executors.slurm.submitit in the site file")
    return plain


def _texts(value: Any) -> Iterator[str]:
    """Every string in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _as_text(value: Any) -> Any:
    """Numbers as they are written: `OMP_NUM_THREADS: 4` is what anyone would type."""
    if not isinstance(value, dict):
        return value
    return {k: str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for k, v in value.items()}


def _variables(values: dict[str, str]) -> dict[str, str]:
    if wrong := [name for name in values if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]:
        raise ValueError(f"{wrong[0]!r} is no name of an environment variable")
    return values


Line = Annotated[str, AfterValidator(_one_line)]
Time = Annotated[str, BeforeValidator(_time)]
Memory = Annotated[str, AfterValidator(_memory)]


class Resources(Options):
    """What one array asks for, and how its tasks are started."""

    partition: Line | None = Field(
        None, description="partition, or auto: the one that fits; default: the cluster's own"
    )
    account: Line | None = Field(None, description="account that pays")
    qos: Line | None = Field(None, description="quality of service")
    constraint: Line | None = Field(None, description="features a node must have, e.g. a100&nvlink")
    reservation: Line | None = Field(None, description="reservation to use")
    wckey: Line | None = Field(None, description="workload characterization key; none is sent unless set")
    comment: Line | None = Field(None, description="comment squeue shows; default: which runs")
    time: Time | None = Field(None, description='time limit: 90m, 12h, 2d or "1-12:00:00"')
    memory: Memory | None = Field(None, description="memory per node: 64G")
    cpus: int | None = Field(None, ge=1, description="CPUs per task")
    nodes: int = Field(1, ge=1, description="nodes per shard")
    tasks: int = Field(1, ge=1, description="tasks (ranks) per node; more than one only for train")
    gpus: int = Field(0, ge=0, description="GPUs per node")
    gpu_type: Line | None = Field(None, description="type of GPU as the cluster names it")
    gpus_as: Literal["gres", "gpus-per-node", "gpus-per-task"] = Field(
        "gres", description="how GPUs are asked for: --gres=gpu:…, --gpus-per-node or --gpus-per-task"
    )
    exclude: list[Line] = Field(default_factory=list, description="nodes not to use")
    throttle: int | None = Field(None, ge=1, description="tasks of one submission that run at once")
    grace: int = Field(120, ge=1, le=65535, description="seconds before the time limit at which a task is told")
    requeue: int = Field(
        10, ge=0, description="how often a task stopped by its limit or for other work may start again"
    )
    hold_after: int = Field(
        5, ge=0, description="tasks in a row that fail the same way before the rest of an array is held; 0: never"
    )
    modules: list[Line] = Field(default_factory=list, description="modules to load")
    conda: Line | None = Field(None, description="conda environment to activate")
    container: list[str] = Field(
        default_factory=list, description="command a task is started in: [apptainer, exec, --nv, image.sif]"
    )
    python: str | None = Field(None, description="Python of the tasks; default: the one smx runs in")
    environment: Annotated[dict[str, str], BeforeValidator(_as_text), AfterValidator(_variables)] = Field(
        default_factory=dict, description="environment variables"
    )
    prologue: list[str] = Field(default_factory=list, description="shell lines before the task, as they are")
    sbatch: list[Annotated[Line, AfterValidator(_extra)]] = Field(
        default_factory=list, description="further #SBATCH options, e.g. --mail-type=FAIL"
    )
    srun: list[str] = Field(default_factory=list, description="further arguments of srun")
    submitit: Annotated[dict[str, Any], AfterValidator(_submitit)] = Field(
        default_factory=dict, description="further parameters of submitit, e.g. {slurm_srun_args: [--mpi=pmix]}"
    )

    def changed(self, changes: Mapping[str, Any], what: str) -> Resources:
        """With `changes`; `x2` for time and memory means twice as much. `UserError` for a wrong one."""
        values: dict[str, Any] = {name: getattr(self, name) for name in Resources.model_fields}
        for key, value in changes.items():
            times = re.fullmatch(r"x(\d+(?:\.\d+)?)", value) if isinstance(value, str) else None
            if times and not float(times[1]):  # to SLURM, no time is no limit, and no memory a whole node's
                raise UserError(f"{what}: {key} {value} is nothing", f"{key} x2 means twice as much")
            if not times:
                values[key] = value
            elif values.get(key) is None:
                raise UserError(f"{what}: {key} {value} needs a {key} to start from", f"set {key} in the site file")
            elif key == "time":
                values[key] = clock(int((seconds(values[key]) or 0) * float(times[1])))
            else:
                values[key] = f"{int((size(values[key]) or 0) * float(times[1])) >> 20}M"
        return Resources.parse(values, what)
