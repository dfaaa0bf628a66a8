"""Questions to SLURM's commands. An answer is never made up: what cannot be asked says so."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from smx.errors import UserError
from smx.slurm import limits, records

_PATIENCE = {"sbatch": 60.0, "scancel": 30.0, "sacct": 20.0}  # seconds until a command is given up; others: a question
_QUESTION = 10.0
_SILENCE = 2.0  # seconds of waiting that need no word
_SIGNALLED = range(129, 193)  # 128 and the signal's number: how a shell ends around a command that was killed
_MOST_NAMES = 100_000  # characters of job names in one argument; the kernel takes 131,072
# The client gave up, or the connection broke, so the controller may have made the job all the same.
_DOUBT = re.compile(
    r"timed out|unable to contact|connection|communication|zero bytes|transport|try again|timeout", re.I
)


@dataclass(frozen=True)
class Answer:
    """What a command said. `ok`: it answered; `absent`: there is no such source here; else it is unreachable."""

    ok: bool
    out: str = ""
    words: str = ""  # what it complained of, one line
    absent: bool = False
    code: int | None = 0

    @property
    def doubtful(self) -> bool:
        """Whether what was asked for may have happened nevertheless: a command that was killed says nothing of it."""
        killed = self.code is None or self.code < 0 or self.code in _SIGNALLED
        return not self.ok and (killed or bool(_DOUBT.search(self.words)))


def ask(command: Sequence[str], *, input: str | None = None, cwd: str | None = None) -> Answer:
    """Run a SLURM command with an environment that a job around us has not touched."""
    program, seconds = command[0], _patience(command)
    try:
        # A group of its own: what a wrapper started would keep the pipes open after the wrapper has been killed.
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment(os.environ),
            cwd=cwd,
            process_group=0,
        )
    except FileNotFoundError:
        return Answer(False, words=f"{program} is not on PATH", absent=True, code=127)
    except OSError as error:  # nobody may run it, or it takes no more words than a system allows
        return Answer(False, words=f"{program} cannot be run: {error.strerror}", code=126)
    with _saying(f"waiting for {program} …"):
        try:
            out, complaints = process.communicate(input, timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return Answer(False, words=f"{program} has not answered within {seconds:.0f} s", code=None)
        except BaseException:
            _end(process)
            raise
    absent = "accounting storage is disabled" in complaints
    if process.returncode == 0 and program in ("squeue", "sacct") and out and not out.endswith("\n"):
        return Answer(False, words=f"{program}'s answer was cut short", code=0)
    return Answer(process.returncode == 0, out, _complaint(complaints), absent, process.returncode)


def _patience(command: Sequence[str]) -> float:
    return _QUESTION if "--test-only" in command else _PATIENCE.get(command[0], _QUESTION)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel is left to it
        process.communicate(timeout=1)


@contextlib.contextmanager
def _saying(words: str) -> Iterator[None]:
    """One word on a terminal where an answer takes long."""
    timer = threading.Timer(_SILENCE, lambda: sys.stderr.write(f"{words}\n"))
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _complaint(said: str) -> str:
    """What a command complained of, in one line; each thing once."""
    if "Could not establish a configuration source" in said:  # told in four lines, none of which says what is wrong
        return "it finds no slurm.conf, and no controller by DNS"
    return "; ".join(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Without what a surrounding job has set; with times in seconds and whole lists of indices."""
    kept = {
        key: value
        for key, value in inherited.items()
        if key == "SLURM_CONF" or not key.startswith(("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "PMI"))
    }
    return kept | {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}


def queue(names: Iterable[str]) -> tuple[Answer, dict[tuple[str, int | None], records.Record]]:
    """What squeue says of jobs with these names."""
    answer, found = listed(names)
    return answer, records.newest(found)


def listed(names: Iterable[str]) -> tuple[Answer, list[records.Record]]:
    """All that squeue lists under these names. What it printed in part, or garbled, is told but nothing else is."""
    answer = ask(["squeue", "--noheader", "--array", "--states=all", f"--format={records.SQUEUE}", *_named(names)])
    if answer.ok and (odd := records.garbled(answer.out)):
        return replace(answer, ok=False, words=f"squeue printed what is no answer: {odd}"), records.squeue(answer.out)
    return answer, records.squeue(answer.out) if answer.ok else []


def history(
    names: Iterable[str], since: float, users: Collection[int] = ()
) -> tuple[Answer, dict[tuple[str, int | None], records.Record]]:
    """What sacct says of jobs with these names, submitted after `since` (seconds since 1970) by `users` (uids).

    Without users, by whoever asks: a site's database has everybody's jobs of years.
    """
    whose = ",".join(map(str, sorted(users or [os.geteuid()])))
    start = datetime.fromtimestamp(since).strftime("%Y-%m-%dT%H:%M:%S")
    command = ["sacct", "--parsable2", "--noheader", f"--uid={whose}", "--duplicates", f"--starttime={start}"]
    answer = ask([*command, f"--format={','.join(records.SACCT)}", *_named(names)])
    return answer, records.newest(records.sacct(answer.out)) if answer.ok else {}


def cluster() -> Cluster:
    """What the cluster allows. `UserError` when there is none, or it does not answer."""
    said = {}
    for what in ("config", "partition", "node"):
        answer = ask(["scontrol", "--oneliner", "show", what] if what != "config" else ["scontrol", "show", "config"])
        if answer.absent:
            raise UserError("there is no SLURM here: scontrol is not on PATH", "run it on the cluster's login node")
        if not answer.ok:
            raise UserError(
                f"SLURM does not answer: {answer.words}", "nothing was submitted; try again when squeue works"
            )
        said[what] = answer.out
    return Cluster(limits.config(said["config"]), limits.partitions(said["partition"]), limits.nodes(said["node"]))


@dataclass(frozen=True)
class Cluster:
    """One cluster's configuration, partitions and nodes."""

    config: Mapping[str, str]
    partitions: Sequence[limits.Partition]
    nodes: Sequence[limits.Node]

    @property
    def array_size(self) -> int:
        """Most tasks of one array: indices from 0 stay below it."""
        return max(1, int(self.config.get("MaxArraySize", "1001")))


def _named(names: Iterable[str]) -> list[str]:
    listed = ",".join(sorted(set(names)))
    return [f"--name={listed}"] if len(listed) <= _MOST_NAMES else []
