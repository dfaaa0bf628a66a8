"""Words for the state of a job, and what they mean. A word never seen before means nothing: not failed, unknown."""

from __future__ import annotations

import re
from functools import cache

WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
RUNNING = frozenset(
    {"CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
)
ENDED = frozenset({"COMPLETED", "FAILED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"})
# After these the scheduler may start the same job again by itself.
STOPPED = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "LAUNCH_FAILED", "RECONFIG_FAIL"})
CANCELLED = frozenset({"CANCELLED"})
KNOWN = WAITING | RUNNING | ENDED | STOPPED | CANCELLED


@cache
def word(text: str) -> tuple[str, str]:
    """State and who cancelled: `CANCELLED by 1000` -> ("CANCELLED", "1000"), `OUT_OF_ME+` -> ("OUT_OF_MEMORY", "")."""
    found = re.fullmatch(r"(\S+?)(\+?)(?:\s+by\s+(\S+))?\s*", text.strip())
    if found is None:
        return text.strip().upper(), ""
    state = found[1].upper()
    if found[2] and state not in KNOWN:
        full = [known for known in KNOWN if known.startswith(state)]
        state = full[0] if len(full) == 1 else state
    return state, found[3] or ""


# Reasons of squeue for a job that waits, as a person would say them; others are shown as they are.
REASONS = {
    "None": "not looked at yet",
    "Priority": "others are before it in the queue",
    "Resources": "waits for nodes to become free",
    "Dependency": "waits for other jobs to end well",
    "DependencyNeverSatisfied": "a job it waits for did not end well",
    "JobArrayTaskLimit": "as many tasks of its array run as may at once",
    "JobHeldUser": "held by its owner (scontrol release)",
    "JobHeldAdmin": "held by an administrator",
    "BeginTime": "its earliest start has not come yet",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "AssocGrpGRES": "the account uses all GPUs it may",
    "AssocGrpGRESMinutes": "the account has used up its GPU time",
    "AssocGrpCPUMinutesLimit": "the account has used up its CPU time",
    "AssocMaxJobsLimit": "the account runs as many jobs as it may",
    "QOSMaxGRESPerUser": "you use as many GPUs as this QOS allows",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as this QOS allows",
    "QOSMaxCpuPerUserLimit": "you use as many CPUs as this QOS allows",
    "QOSGrpGRES": "this QOS uses all GPUs it may",
    "ReqNodeNotAvail": "nodes it needs are down or reserved",
}


def reason(text: str) -> str:
    """Why a job waits, in words. `(ReqNodeNotAvail, UnavailableNodes:n[1-2])` keeps what follows the comma."""
    plain = text.strip()
    while plain.startswith("(") and plain.endswith(")"):
        plain = plain[1:-1]
    code, comma, rest = plain.partition(",")
    words = REASONS.get(code.strip())
    if words is None:
        return plain
    return f"{words} ({code.strip()}{comma}{rest})"
