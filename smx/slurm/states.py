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


# Reasons of squeue for a job that waits, as a person would say them (after the manual's list of job reason codes).
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
    "Cleaning": "was started before, and its node is still being cleaned up",
    "Prolog": "its node is being prepared",
    "SchedDefer": "waits for the scheduler's next look",
    "Licenses": "waits for a licence",
    "BadConstraints": "no node has what it asks for",
    "Reservation": "waits for its reservation",
    "ReservationDeleted": "the reservation it asks for was deleted",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PartitionConfig": "it asks for something its partition does not allow",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its QOS may not be used in this partition or account",
    "InvalidAccount": "its account is not known",
    "InvalidQOS": "its QOS is not known",
    "AssociationJobLimit": "the account runs as many jobs as it may",
    "AssociationResourceLimit": "the account uses as much as it may",
    "AssociationTimeLimit": "the account has used up its time",
    "AssocGrpGRES": "the account uses all GPUs it may",
    "AssocGrpGRESMinutes": "the account has used up its GPU time",
    "AssocMaxJobsLimit": "the account runs as many jobs as it may",
    "QOSJobLimit": "this QOS runs as many jobs as it may",
    "QOSResourceLimit": "this QOS uses as much as it may",
    "QOSTimeLimit": "this QOS has used up its time",
    "QOSUsageThreshold": "the account has used more than this QOS asks for",
    "QOSMaxGRESPerUser": "you use as many GPUs as this QOS allows",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as this QOS allows",
    "QOSGrpGRES": "this QOS uses all GPUs it may",
    "ReqNodeNotAvail": "nodes it needs are down or reserved",
    "Nodes required for job are DOWN": "nodes it needs are down or reserved",
    "NodeDown": "a node it needs is down",
    "FrontEndDown": "no front end is there to start it",
    "DeadLine": "it cannot end before its deadline",
    "NonZeroExitCode": "it ended with an error",
    "RaisedSignal": "a signal ended it",
    "TimeLimit": "its time limit ended it",
    "InactiveLimit": "it was idle for longer than it may",
    "OutOfMemory": "it used more memory than it had asked for",
    "JobLaunchFailure": "its node could not start it",
    "launch failed requeued held": "its node could not start it (often a failing prolog); held (scontrol release)",
    "job requeued in held state": "it was put back and held (scontrol release)",
    "JobHoldMaxRequeue": "it was started as often as the site allows, and is held",
    "SystemFailure": "SLURM itself failed",
    "BurstBufferResources": "waits for room in the burst buffer",
    "BurstBufferStageIn": "its data are being brought in",
    "BurstBufferOperation": "the burst buffer failed",
    "FedJobLock": "waits for the other clusters of its federation",
    "PowerNotAvail": "there is not enough power to start it",
    "PowerReserved": "power is kept for others",
}
_FAMILY = re.compile(r"(Assoc|QOS|Max)(Grp|Max|Min)?(\w+?)(?:Limit)?(?:Per(User|Account|Job|Node)(?:Limit)?)?")
_WHOSE = {"Assoc": "the account", "QOS": "this QOS", "Max": "the site"}
_OF = {"User": "for a user", "Account": "for an account", "Job": "for a job", "Node": "for a node", None: "at once"}
_WHAT = {
    **{"GRES": "GPUs", "GRESMinutes": "GPU time", "GRESRunMinutes": "GPU time of running jobs", "Cpu": "CPUs"},
    **{"CPU": "CPUs", "CPUMinutes": "CPU time", "CPURunMinutes": "CPU time of running jobs", "Jobs": "running jobs"},
    **{"SubmitJobs": "jobs", "SubmitJob": "jobs", "Mem": "memory", "MemMinutes": "memory time", "Memory": "memory"},
    **{"Node": "nodes", "Nodes": "nodes", "Wall": "time", "WallDuration": "time", "WallMinutes": "time"},
    **{"Billing": "billing units", "BillingMinutes": "billing units", "BillingRunMinutes": "billing units"},
    **{
        "BB": "burst buffer",
        "Energy": "energy",
        "License": "licences",
        "CpuMinutes": "CPU time",
        "Job": "running jobs",
    },
}


def reason(text: str) -> str:
    """Why a job waits, in words, with SLURM's own behind; one that is not known is quoted as SLURM's.

    `(ReqNodeNotAvail, UnavailableNodes:n[1-2])` keeps what follows the comma.
    """
    plain = text.strip()
    while plain.startswith("(") and plain.endswith(")"):
        plain = plain[1:-1]
    code, comma, rest = plain.partition(",")
    words = REASONS.get(code.strip()) or _of_a_limit(code.strip())
    if words is None:
        return f'SLURM says "{plain}"' if plain else ""
    return f"{words} ({code.strip()}{comma}{rest})"


def _of_a_limit(code: str) -> str | None:
    """`QOSMaxCpuPerUserLimit` and its hundred relatives."""
    found = _FAMILY.fullmatch(code)
    if found is None or found[3] not in _WHAT:
        return None
    if found[2] == "Min":
        return f"it asks for fewer {_WHAT[found[3]]} than {_WHOSE[found[1]]} wants {_OF[found[4]]}".removesuffix(
            " at once"
        )
    bound = "in all" if found[2] == "Grp" else _OF[found[4]]
    return f"it would take more {_WHAT[found[3]]} than {_WHOSE[found[1]]} allows {bound}"
