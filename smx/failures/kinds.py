"""What failures are called, how they are told apart, and the wordings they are known by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

MOST_EVIDENCE = 5  # lines
SET_UP = "smx: a set-up line of the job failed"  # what a job says before it ends for that
_LONGEST = 400  # characters of a line that are kept


@dataclass(frozen=True)
class Kind:
    """Everything that smx knows of one kind of failure; a new kind is one entry of `KINDS`."""

    meaning: str  # in the words of the docs
    change: str = ""  # what usually has to change before trying again
    wordings: tuple[str, ...] = ()  # regular expressions of one line of a log
    prose: bool = False  # the wordings are a scheduler's or a shell's, never an exception's message
    exceptions: frozenset[str] = frozenset()  # bare names of types that are this kind whatever they say
    states: Mapping[str, str] = field(default_factory=dict)  # scheduler state -> line that says so
    weak: bool = False  # usually a consequence: any other error of the log explains more


# What people say for several of them.
TOGETHER = {"oom": ("oom-gpu", "oom-host")}
# By name. Where the wordings of several fit a line, the first of them counts.
KINDS: dict[str, Kind] = {
    "node-fail": Kind(
        "the node died, or a GPU of it",
        "nothing, if the node is left out",
        (
            "DUE TO NODE FAILURE",
            "[Nn]ode failure",
            "NODE_FAIL",
            "[Uu]ncorrectable (?:ECC|NVLink)",
            "[Dd]ouble.bit ECC",
            "cudaErrorECCUncorrectable",
            # Those of the hardware (NVIDIA's XID catalogue); 13, 31, 43 and 45 are mostly the program's own.
            r"Xid \(PCI[^)]*\): (?:48|6[1-4]|68|69|74|79|9[245]|109|119|120|140)\b",
            r"\bNVLINK?_UNCORRECTABLE|NVLink (?:fatal |link )?(?:error|failure)",
            "fallen off the bus",
            "GPU is lost",
            "boot failure",
            "[Pp]rolog (?:failed|failure|error|hung)",
            "launch failed requeued held",
            r"Task launch for \S+ failed on node",
            r"Nodes? \S+ not responding",
        ),
        states={"NODE_FAIL": "its node failed", "BOOT_FAIL": "its node did not boot"},
    ),
    "oom-gpu": Kind(
        "the GPU's memory was not enough",
        "fewer frames, or a GPU with more memory",
        (
            "(?:CUDA|HIP) out of memory",
            "OutOfMemoryError",
            "CUDA error: out of memory",
            "(?:CUBLAS|CUDNN|CUSOLVER)_STATUS_ALLOC_FAILED",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "RESOURCE_EXHAUSTED: Out of memory",
            "cudaErrorMemoryAllocation",
        ),
    ),
    "oom-host": Kind(
        "the node's memory, or what the job asked of it, was not enough",
        "more memory for the job",
        (
            "oom[-_ ]?kill",
            "OOM Killed",
            "[Mm]emory cgroup out of memory",
            "OUT_OF_MEMORY",
            "[Ee]xceeded (?:job |step )?memory limit",
            "killed by signal: (?:Bus error|Killed|Aborted)",
            r"\bBus error\b",
            r"\b_?(?:Array)?MemoryError\b",
            "can't allocate memory",
            r"[Oo]ut of memory: Kill(?:ed)? process",
            r"std::bad_alloc",
            r"insufficient shared memory \(shm\)",
            "unable to mmap .* bytes",
            "[Cc]annot allocate memory",
        ),
    ),
    "timeout": Kind(
        "the time limit came first",
        "more time for the job; what is done stays done",
        ("DUE TO TIME LIMIT",),
        prose=True,
        states={"TIMEOUT": "the job's time limit", "DEADLINE": "the job's deadline"},
    ),
    "preempted": Kind(
        "the scheduler took the node back for other work",
        "nothing: it goes on where it was",
        ("DUE TO PREEMPTION", "[Jj]ob (?:was |is being )?preempted"),
        prose=True,
        states={"PREEMPTED": "other work took its node"},
    ),
    "port": Kind(
        "a network port of the node was taken by somebody else",
        "nothing: another start takes another port",
        ("[Aa]ddress already in use", "EADDRINUSE"),
    ),
    "nccl": Kind(
        "ranks lost each other",
        "nothing, if no rank failed on its own (the evidence says)",
        (
            "[Ww]atchdog caught collective",
            "collective operation timeout",
            "ProcessGroupNCCL",
            "NCCL (?:error|WARN|watchdog)",
            r"nccl\w*Error",
            "Dist(?:Backend|Store|Network)Error",
            r"NCCL time-?out|transport retry counter exceeded|ibv_\w+ failed",
            "connectFullMesh failed|RendezvousTimeoutError|waiting for clients",
            r"Connection closed by (?:remote )?peer",
            "[Hh]eartbeat ?[Mm]onitor",
        ),
        weak=True,
    ),
    "no-space": Kind(
        "the disk or a quota is full", "free some space", ("No space left on device", "[Dd]isk quota exceeded")
    ),
    "storage": Kind(
        "the file system failed: a stale handle, an eviction, a broken mount",
        "nothing, once it is there again",
        (
            "[Ss]tale (?:NFS )?file handle",
            "[Ii]nput/output error",
            "[Rr]emote I/O error",
            "[Tt]ransport endpoint is not connected",
            "[Cc]annot send after transport endpoint shutdown",
            r"Lustre(?:Error)?: .*(?:evict|was lost|timed out)",
        ),
    ),
    "permission": Kind(
        "a file or folder may not be read or written",
        "the rights of the folder, or another one",
        ("Permission denied", "Read-only file system"),
        exceptions=frozenset({"PermissionError"}),
        weak=True,
    ),
    "driver": Kind(
        "the node's driver and CUDA do not fit, or no GPU was found",
        "a node with another driver, a PyTorch for this one, or a GPU asked for",
        (
            "CUDA driver version is insufficient",
            "NVIDIA driver on your system is too old",
            "Found no NVIDIA driver",
            "[Nn]o CUDA-capable device is detected",
            "No CUDA GPUs are available",
            "no kernel image is available for execution",
            "[Ff]orward compatibility was attempted",
            "Driver/library version mismatch",
            r"device\(s\) is/are busy or unavailable",
            "PTX was compiled with an unsupported toolchain",
            "Failed to initialize NVML",
            "CUDA_ERROR_SYSTEM_NOT_READY|system not yet initialized",
        ),
    ),
    "crash": Kind(
        "native code crashed",
        "a library of the environment; another node, if it is always the same one",
        (
            "[Ss]egmentation fault",
            "SIGSEGV",
            "Fatal Python error",
            "[Ii]llegal instruction",
            r"double free or corruption|free\(\): invalid|corrupted size vs",
            "terminate called (?:after|without)",
        ),
        prose=True,
    ),
    "never-started": Kind(
        "it died before any work: environment, missing module",
        "the environment of the job",
        (
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
            "Could not find conda environment",
            "shell has not been properly configured to use 'conda activate'|Run 'conda init' before",
            r"version `(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found",
            "bad interpreter",
            "[Ee]xec format error",
            r"FATAL:\s+(?:[Cc]ould not open image|container creation failed|.*image.*: no such file)",
            r"Unable to open file `|couldn't open (?:stdout|stderr|output)",
            SET_UP,
        ),
        prose=True,
        exceptions=frozenset({"ModuleNotFoundError", "ImportError"}),
    ),
    "dependency": Kind(
        "a run it waits for did not succeed",
        "the run it waits for is tried again with it",
        ("DependencyNeverSatisfied",),
        prose=True,
    ),
    "cancelled": Kind(
        "someone stopped it",
        wordings=(r"\bCANCELLED AT\b", "forcing job termination"),
        prose=True,
        exceptions=frozenset({"KeyboardInterrupt", "Cancelled"}),
        weak=True,
    ),
    "missing-input": Kind(
        "a file or a scene is missing or cannot be used",
        "mend or provide what is missing",
        (
            "LocalEntryNotFoundError",
            "OfflineModeIsEnabled",
            "couldn't connect to 'https://huggingface",
            "[Cc]annot find the requested files in the (?:disk|local) cache",
        ),
        exceptions=frozenset({"FileNotFoundError", "NotADirectoryError", "SceneError", "UserError"}),
    ),
    "endpoint": Kind(
        "the endpoint that was asked gave no answer",
        "the endpoint, its address or its key (the line says which)",
        exceptions=frozenset({"EndpointError"}),
    ),
    "submit": Kind("the scheduler refused it before it was a job", "what the scheduler's words ask for"),
    "diverged": Kind(
        "a training's loss or gradient norm was no finite number",
        "a lower learning rate, or a longer warm-up",
        exceptions=frozenset({"Diverged"}),
    ),
    "stalled": Kind(
        "a training made no step for too long",
        "what the log's stacks point at; a step that is that slow: recipe.stalled_after",
        exceptions=frozenset({"Stalled"}),
    ),
    "python": Kind("an exception in Python", "the code, or the options that lead there"),
    "killed": Kind(
        "something killed it without a word (SIGKILL)",
        "its memory, if it comes back; nothing, if it was killed from outside",
        (r"line \d+:\s+\d+ Killed\b", r"tasks? [\d,\s-]+: Killed\b", r"\bSIGKILL\b", r"exitcode\s*: -9\b"),
        prose=True,
        weak=True,
    ),
    "lost": Kind("it ended without a word", "nothing, if it was killed from outside; its memory, if it comes back"),
}
# Raised by those who notice that another rank or worker is gone.
ECHOES = {"ChildFailedError", "BrokenPipeError", "ConnectionResetError", "ConnectionRefusedError", "EOFError"}


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
        """As it is kept: its fields and `group`, its key."""
        return {
            **asdict(self),
            "evidence": list(self.evidence),
            "group": group_key(self.kind, self.line, self.type, self.where),
        }


def kind_of_exception(type_: str, message: str, bases: Iterable[str] = ()) -> str:
    """The kind of an exception, from its type's bare name (and those of its bases, nearest first) and its message."""
    by_type = (name for each in (type_, *bases) for name, kind in KINDS.items() if each in kind.exceptions)
    return next(by_type, "") or _worded(f"{type_}: {message}", prose=False) or "python"


def kind_of_line(line: str) -> str:
    """The kind that one line of a log speaks of; empty where of none."""
    return _worded(line, prose=True)


def kind_of_state(state: str) -> tuple[str, str]:
    """(kind, line for people) of a job's last scheduler state, without what follows it; `("lost", "")` for others."""
    return next(((name, kind.states[state]) for name, kind in KINDS.items() if state in kind.states), ("lost", ""))


def group_key(kind: str, line: str, type_: str = "", where: str = "") -> str:
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


def _worded(text: str, *, prose: bool) -> str:
    """The first kind whose wording is in `text`; without `prose`, of those that an exception may be."""
    asked = ((name, kind.wordings) for name, kind in KINDS.items() if kind.wordings and (prose or not kind.prose))
    return next((name for name, wordings in asked if _any_of(wordings).search(text)), "")


@cache
def _any_of(wordings: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(wordings))
