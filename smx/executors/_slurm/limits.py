"""What a job asks against what the cluster has, before anything is handed over."""

from __future__ import annotations

from smx.errors import UserError, unknown
from smx.executors._slurm.commands import Cluster
from smx.executors._slurm.options import Resources
from smx.slurm.limits import Node, Partition, clock, hosts, seconds
from smx.slurm.records import size


def check(cluster: Cluster, ask: Resources, kind: str) -> None:
    """`UserError` with the valid choices for what the cluster would refuse, or queue for ever."""
    partitions = _partitions(cluster, ask)
    left_out = {name for text in ask.exclude for name in hosts(text)}
    here = [n for n in cluster.nodes if any(p.name in n.partitions for p in partitions)]
    nodes = [n for n in here if n.name not in left_out]
    place = f"partition {', '.join(p.name for p in partitions)}"
    if here and not nodes:
        raise UserError(f"{kind}: every node of {place} is excluded", f"its nodes: {', '.join(n.name for n in here)}")
    if ask.time and all(p.limit is not None and (seconds(ask.time) or 0) > p.limit for p in partitions):
        longest = max((p.limit or 0) for p in partitions)
        others = ", ".join(f"{p.name} {clock(p.limit) if p.limit else 'no limit'}" for p in cluster.partitions)
        raise UserError(
            f"{kind}: {ask.time} is over the limit of {place}: {clock(longest)}",
            f"limits: {others}\na longer run goes on by itself after each limit (requeue)",
        )
    _gpus(ask, nodes, kind, place)
    if nodes and (most := max(n.cpus for n in nodes)) < (wanted := (ask.cpus or 1) * ask.tasks):
        raise UserError(f"{kind}: {wanted} CPUs per node, but no node of {place} has more than {most}")
    asked = size(ask.memory or "") or 0
    if nodes and (most := max(n.memory for n in nodes)) and asked > most << 20:
        raise UserError(f"{kind}: {ask.memory} per node, but no node of {place} has more than {most}M")
    if ask.tasks > 1 and kind != "train":
        raise UserError(f"{kind}: several tasks per node are ranks of training; {kind} runs take --shards instead")


def _partitions(cluster: Cluster, ask: Resources) -> list[Partition]:
    known = {p.name: p for p in cluster.partitions}
    if ask.partition is None:
        found = [p for p in known.values() if p.default]
        if not found and known:
            raise UserError("this cluster has no default partition", f"set partition; valid: {', '.join(known)}")
        return found
    for name in ask.partition.split(","):
        if name not in known:
            raise unknown("partition", name, known, "scontrol show partition")
        if known[name].state in ("DRAIN", "INACTIVE"):
            takes = ", ".join(p.name for p in known.values() if p.state not in ("DRAIN", "INACTIVE"))
            raise UserError(f"partition {name} takes no jobs now ({known[name].state})", f"these do: {takes or 'none'}")
    return [known[name] for name in ask.partition.split(",")]


def _gpus(ask: Resources, nodes: list[Node], kind: str, place: str) -> None:
    if not ask.gpus:
        return
    if ask.gpus_as == "gpus-per-task" and ask.gpus % ask.tasks:
        raise UserError(
            f"{kind}: {ask.tasks} tasks per node cannot share {ask.gpus} GPUs by --gpus-per-task",
            f"gpus: a multiple of {ask.tasks}, or gpus_as: gres",
        )
    types = sorted({t for n in nodes for t in n.gpus if t})
    if ask.gpu_type and ask.gpu_type not in types:
        raise unknown("GPU type", ask.gpu_type, types, f"the GPUs of {place}")
    most = max((n.gpus.get(ask.gpu_type, 0) if ask.gpu_type else sum(n.gpus.values()) for n in nodes), default=0)
    if ask.gpus > most:
        what = f" of type {ask.gpu_type}" if ask.gpu_type else ""
        raise UserError(
            f"{kind}: {ask.gpus} GPUs per node, but no node of {place} has more than {most}{what}",
            f"gpus: 0 to {most}, and nodes for more",
        )
