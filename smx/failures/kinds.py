"""What failures are called, how they are told apart, and the wordings they are known by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

# kind -> what it means, in the words of the docs
KINDS = {
    "oom-gpu": "the GPU's memory was not enough",
    "oom-host": "the node's memory, or what the job asked of it, was not enough",
    "timeout": "the time limit came first",
    "preempted": "the scheduler took the node back for other work",
    "node-fail": "the node died, or a GPU of it",
    "nccl": "ranks lost each other",
    "cancelled": "someone stopped it",
    "dependency": "a run it waits for did not succeed",
    "submit": "the scheduler refused it before it was a job",
    "never-started": "it died before any work: environment, missing module",
    "missing-input": "a file or a scene is missing or cannot be used",
    "no-space": "the disk or a quota is full",
    "python": "an exception in Python",
    "lost": "it ended without a word",
}
MOST_EVIDENCE = 5  # lines
_LONGEST = 400  # characters of a line that are kept


@dataclass(frozen=True)
class Failure:
    """Why one shard, or one item, failed."""

    kind: str
    line: str  # one line for people
    where: str = ""  # innermost frame of our own code, `file.function`, or the place it ran
    type: str = ""  # exception type
    node: str = ""  # the node that failed (not the one that reported it)
    evidence: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As it is kept: its fields and `group`, the fingerprint."""
        return {
            **asdict(self),
            "evidence": list(self.evidence),
            "group": fingerprint(self.kind, self.line, self.type, self.where),
        }


def kind_of_exception(type_: str, message: str) -> str:
    """The kind of an exception, from its type's bare name and its message."""
    text = f"{type_}: {message}"
    if type_ in _NOT_STARTED:
        return "never-started"
    if type_ in _MISSING:
        return "missing-input"
    if type_ in _STOPPED:
        return "cancelled"
    return next((kind for kind, pattern in WORDINGS.items() if kind not in _PROSE and pattern.search(text)), "python")


def fingerprint(kind: str, line: str, type_: str = "", where: str = "") -> str:
    """Equal for failures that are the same one: kind, exception type and place; numbers and paths do not count."""
    return "|".join((kind, type_, where) if type_ else (kind, "", masked(line)))


def masked(text: str) -> str:
    """`text` without what differs from one failure to the next: paths, quoted names, addresses, numbers."""
    text = re.sub(r"(?<![\w.])~?(?:/[\w.@+-]+)+/?", "<path>", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "<name>", text)
    return re.sub(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?", "<n>", text)


def kept(lines: Iterable[str]) -> tuple[str, ...]:
    """The first few different lines, each of a bearable length."""
    return tuple(dict.fromkeys(clipped(line.strip()) for line in lines if line.strip()))[:MOST_EVIDENCE]


def clipped(line: str, most: int = _LONGEST) -> str:
    """`line`, cut where it is longer than `most` characters."""
    return line if len(line) <= most else line[: most - 1] + "…"


_NOT_STARTED = {"ModuleNotFoundError", "ImportError"}
_MISSING = {"FileNotFoundError", "NotADirectoryError", "SceneError", "UserError"}
_STOPPED = {"KeyboardInterrupt", "SystemExit", "Cancelled"}
# Raised by those who notice that another rank or worker is gone.
ECHOES = {"ChildFailedError", "BrokenPipeError", "ConnectionResetError", "ConnectionRefusedError", "EOFError"}
WEAK = {"nccl", "cancelled"}  # usually consequences: any other error of the log explains more
# Wordings of schedulers and shells, not of exceptions.
_PROSE = {
    "cancelled",
    "timeout",
    "preempted",
    "dependency",
    "never-started",
}

# kind -> wordings of one line of a log; the first kind that fits
WORDINGS = {
    kind: re.compile("|".join(patterns))
    for kind, patterns in {
        "node-fail": (
            "DUE TO NODE FAILURE",
            "[Nn]ode failure",
            "NODE_FAIL",
            "[Uu]ncorrectable ECC",
            "[Dd]ouble.bit ECC",
            "fallen off the bus",
            "boot failure",
        ),
        "oom-gpu": (
            "(?:CUDA|HIP) out of memory",
            "OutOfMemoryError",
            "CUDA error: out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "cudaErrorMemoryAllocation",
        ),
        "oom-host": (
            "oom[-_ ]?kill",
            "OOM Killed",
            "[Mm]emory cgroup out of memory",
            "OUT_OF_MEMORY",
            "[Ee]xceeded (?:job |step )?memory limit",
            "killed by signal: (?:Bus error|Killed|Aborted)",
            r"\bBus error\b",
            r"\b_?(?:Array)?MemoryError\b",
            "can't allocate memory",
            "[Cc]annot allocate memory",
        ),
        "timeout": ("DUE TO TIME LIMIT",),
        "preempted": ("DUE TO PREEMPTION",),
        "nccl": (
            "[Ww]atchdog caught collective",
            "collective operation timeout",
            "ProcessGroupNCCL",
            "NCCL (?:error|WARN|watchdog)",
            r"nccl\w*Error",
            "Dist(?:Backend|Store|Network)Error",
            "[Hh]eartbeat ?[Mm]onitor",
        ),
        "no-space": ("No space left on device", "[Dd]isk quota exceeded"),
        "never-started": (
            "command not found",
            "error while loading shared libraries",
            r"execve\(\): .*No such file",
            r"python[\d.]*: No such file or directory",
            "can't open file '",
            "couldn't chdir",
            "No module named",
            "Lmod has detected",
            "[Uu]nable to locate a modulefile",
            "EnvironmentLocationNotFound",
        ),
        "dependency": ("DependencyNeverSatisfied",),
        "cancelled": (r"\bCANCELLED AT\b", "forcing job termination"),
    }.items()
}
