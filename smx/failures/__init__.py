"""How a job failed: a kind, one line, where in our own code, and the lines that show it.

Order of trust: the job's own exit.json and the scheduler's record, then the log. A log is searched from its
first error, because later ones are usually consequences (CANCELLED after an out-of-memory, a shell error
after NCCL). Carriage returns of progress bars and interleaved ranks are normal there.
"""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from smx.failures.groups import FailureGroup, group, headline
from smx.failures.kinds import (
    KINDS,
    MOST_EVIDENCE,
    SET_UP,
    TOGETHER,
    Failure,
    Kind,
    clipped,
    group_key,
    kept,
    kind_of_exception,
    kind_of_state,
    masked,
)
from smx.failures.logs import read_log
from smx.failures.streaks import Streak, streak
from smx.states import ShardState

__all__ = [
    "KINDS",
    "MOST_EVIDENCE",
    "SET_UP",
    "TOGETHER",
    "Failure",
    "FailureGroup",
    "Kind",
    "Streak",
    "classify",
    "clipped",
    "group",
    "group_key",
    "headline",
    "kind_of_exception",
    "masked",
    "read_log",
    "refused",
    "streak",
]


_SAYS_LITTLE = ("lost", "killed")  # kinds that any error of a log explains
_WORDS = 3  # lines of a log that are shown where nothing in it is known
_SIGNALS = {"6": "aborted", "7": "bus error", "11": "segmentation fault", "4": "illegal instruction"}


def classify(
    *,
    exit: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    log: str = "",
    reason: str = "",
    where: str = "",
    began: bool = True,
) -> Failure:
    """Why a shard that did not end well failed.

    `exit`: its exit.json. `record`: the scheduler's words on the ended job: `state` ("CANCELLED by 1000"), `exit`
    ("0:125"), `steps` (a list of the same), `node`, `reason`. `log`: text of its logs. `reason`, `where`: what the
    executor says. `began`: whether it wrote a heartbeat.
    """
    told = _of_exit(exit, where) if exit else None
    booked = _of_record(record, where) if record else None
    if told and booked and told.kind in ("cancelled", "lost") and booked.kind not in ("cancelled", *_SAYS_LITTLE):
        return replace(booked, evidence=kept((*booked.evidence, told.line)))  # a signal says less than its cause
    if told and told.kind in ("cancelled", "preempted") and booked and booked.kind not in _SAYS_LITTLE:
        return booked
    if told:
        return told
    found = read_log(log)
    if booked and booked.kind not in _SAYS_LITTLE:
        if found and found.kind != booked.kind:
            return replace(booked, evidence=kept((*booked.evidence, f"before that: {found.line}")))
        return (
            booked
            if not found
            else replace(booked, node=booked.node or found.node, evidence=kept((*booked.evidence, *found.evidence)))
        )
    if found and not (booked and booked.kind == "killed" and KINDS[found.kind].weak):
        return replace(found, evidence=kept((*found.evidence, *(booked.evidence if booked else ()))))
    words = _last_words(log)
    if not began and booked and booked.kind != "killed":
        line = f"it ended before smx began ({booked.line})"
        return Failure("never-started", line, where, evidence=kept((*booked.evidence, *words)))
    if booked:
        return replace(booked, evidence=kept((*booked.evidence, *words)))
    line = reason or "its process ended without a word: killed, or out of memory"
    return Failure("lost", line, where, evidence=words)


def _last_words(log: str) -> tuple[str, ...]:
    """The end of a log in which nothing is known: people may know it."""
    lines = [line.split("\r")[-1].strip() for line in log.replace("\r\n", "\n").splitlines()]
    return kept(f"last words: {line}" for line in [line for line in lines if line][-_WORDS:])


def refused(words: str) -> Failure:
    """A submission the scheduler rejected, in the scheduler's own words."""
    lines = tuple(line for line in words.splitlines() if line.strip())
    return Failure("submit", lines[0].strip() if lines else "refused without a reason", evidence=kept(lines))


def _of_exit(end: Mapping[str, Any], where: str) -> Failure:
    how = str(end["how"])
    if how == ShardState.preempted:
        return Failure("preempted", str(end.get("reason") or "asked to stop before its node was taken back"), where)
    if how == ShardState.cancelled:
        reason = str(end.get("reason") or "asked to stop")
        return Failure("dependency" if reason.startswith("dependency ") else "cancelled", reason, where)
    kind, line, type_ = str(end.get("kind", "python")), str(end.get("line", "")), str(end.get("type", ""))
    if kind == "python":
        kind = kind_of_exception(type_, line)
    trace = [row for row in str(end.get("traceback", "")).splitlines() if row.strip()]
    return Failure(kind, line, str(end.get("where", "")), type_, evidence=kept(trace[-3:]))


def _of_record(record: Mapping[str, Any], where: str) -> Failure:
    steps = [record, *record.get("steps", ())]
    state = str(record.get("state", "")).rstrip("+")
    word = state.split(" ")[0]
    node = str(record.get("node", ""))
    said = tuple(f"{s.get('name', 'job')}: {s.get('state', '')} {s.get('exit', '')}".strip() for s in steps)
    if any(str(s.get("state", "")).startswith("OUT_OF_ME") or s.get("exit") == "0:125" for s in steps):
        return Failure("oom-host", "the job used more memory than it had asked for", where, evidence=kept(said))
    if "Dependency" in str(record.get("reason", "")):
        return Failure("dependency", "a run it waits for did not succeed", evidence=kept(said))
    if word == "CANCELLED":
        return Failure("cancelled", f"cancelled{_by(state)}", where, evidence=kept(said))
    kind, line = kind_of_state(word)
    if kind == "node-fail":
        return Failure(kind, line + (f" ({node})" if node else ""), where, node=node, evidence=kept(said))
    if kind == "lost":
        code, _, signal = str(record.get("exit", "")).partition(":")
        if code.isdigit() and signal in ("", "0") and 128 < int(code) < 193:  # as a shell tells a signal
            signal = str(int(code) - 128)
        if signal == "9":
            return Failure("killed", f"{state}: killed (SIGKILL), often for memory", where, evidence=kept(said))
        if signal == "53":
            line = f"{state}: SLURM could not write the job's output (0:53); is its folder there, and may be written?"
            return Failure("never-started", line, where, evidence=kept(said))
        if code in ("126", "127"):
            line = f"its command could not be started (exit code {code})"
            return Failure("never-started", line, where, evidence=kept(said))
        ended = _SIGNALS.get(signal) or (f"signal {signal}" if signal not in ("", "0") else "")
        return Failure(
            kind,
            f"{state or 'ended'}: {ended or f'exit code {code}'}" if code else state,
            where,
            evidence=kept(said),
        )
    return Failure(kind, line, where, evidence=kept(said))


def _by(state: str) -> str:
    user = state.partition(" by ")[2].strip()
    if not user.isdigit():
        return f" by {user}" if user else ""
    try:
        return f" by {pwd.getpwuid(int(user)).pw_name}"
    except KeyError:
        return f" by user {user}"
