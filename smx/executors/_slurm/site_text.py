"""A site file for this cluster, from what its own commands say: nothing is asked that can be found out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from smx.errors import UserError
from smx.executors._slurm.commands import Cluster
from smx.executors._slurm.limits import check
from smx.executors._slurm.options import Resources
from smx.slurm.limits import Node, Partition, clock

AUTO = "auto"  # the name of no partition: the one that fits
_HOURS = {"gen": 4, "train": 24, "eval": 12}  # asked for, where the partition allows as much
_GEN_MEMORY = 8192  # MB
_PLACES = ("SCRATCH", "WORK", "PROJECT")  # variables in which sites name big file systems


def pick(cluster: Cluster, ask: Resources, kind: str) -> tuple[Partition, str]:
    """The partition that such a job fits in best, and why. `UserError` names what each lacks.

    Without a GPU asked for, one without GPUs; then the cluster's default; then the shortest limit that is enough, since
    short queues are quick; then the most nodes.
    """
    fitting: list[Partition] = []
    lacking: list[str] = []
    for partition in cluster.partitions:
        try:
            check(cluster, ask.model_copy(update={"partition": partition.name}), kind)
        except UserError as error:
            lacking.append(error.message.removeprefix(f"{kind}: "))
        else:
            fitting += [partition] if partition.up and _nodes(cluster, partition) else []
    if not fitting:
        raise UserError(f"{kind}: no partition fits", "\n".join(lacking) or "scontrol show partition lists none")

    def order(partition: Partition) -> tuple[bool, bool, float, int, str]:
        spare = not ask.gpus and _gpus(_nodes(cluster, partition)) != ""
        limit = float("inf") if partition.limit is None else partition.limit
        return spare, not partition.default, limit, -len(_nodes(cluster, partition)), partition.name

    best = min(fitting, key=order)
    return best, _described(cluster, best)


def site_text(cluster: Cluster, accounts: Sequence[str], qos: Sequence[str]) -> str:
    """The file. `accounts`, `qos`: those this user may name; empty where there is no accounting."""
    lines = [f"# Cluster {cluster.config.get('ClusterName', '?')}, as its commands describe it. Change what you like:"]
    lines += ["# smx list executors slurm says what each key means, smx doctor whether SLURM would take it."]
    lines += ["executor: slurm", "executors:", "  slurm:", "    # Partitions (* is the cluster's default):"]
    lines += [f"    #   {p.name}{'*' if p.default else ''}: {_described(cluster, p)}" for p in cluster.partitions]
    if len(accounts) > 1:
        lines += [f"    account: {json.dumps(accounts[0])}  # or {', '.join(accounts[1:])}"]
    elif accounts:
        lines += [f"    # account: {json.dumps(accounts[0])}  # your only one: SLURM takes it by itself"]
    lines += [f"    # qos: {json.dumps(qos[0])}  # yours: {', '.join(qos)}"] if qos else []
    lines += ["    # throttle: 16  # tasks of one command that run at once", "    kinds:"]
    for kind in _HOURS:
        lines += [f"      {line}" for line in _kind(cluster, kind)]
    return "\n".join([*lines, *_storage(), *_cache(), ""])


def _kind(cluster: Cluster, kind: str) -> Iterator[str]:
    gpus = int(kind != "gen" and any(node.gpus for node in cluster.nodes))
    try:
        partition, why = pick(cluster, Resources(gpus=gpus), kind)
    except UserError as error:
        yield f"# {kind}: {error.message} now"
        return
    limit = _HOURS[kind] * 3600
    yield f"{kind}:"
    yield f"  partition: {json.dumps(partition.name)}  # {why}"
    yield f'  time: "{clock(min(limit, partition.limit or limit))}"  # longer runs go on after it'
    nodes = [node for node in _nodes(cluster, partition) if node.gpus or not gpus]
    share = max([sum(node.gpus.values()) for node in nodes if gpus], default=1)
    yield f"  gpus: {gpus}"
    yield f"  cpus: {max(1, min(node.cpus for node in nodes) // share) if gpus else 1}"
    least = min(node.memory for node in nodes)
    if least > 1:  # 1 MB is what SLURM says where nobody told it
        yield f"  memory: {int(least * 0.95) // share if gpus else min(_GEN_MEMORY, int(least * 0.95))}M"


def _storage() -> Iterator[str]:
    found = [name for name in _PLACES if (path := os.environ.get(name)) and Path(path).is_dir()]
    found = [name for name in found if os.access(os.environ[name], os.W_OK)]
    if found:
        yield f"# Big file systems you may write to: ${', $'.join(found)}"
        yield f"# storage: {{runs: ${found[0]}/smx/runs, samples: ${found[0]}/smx/samples}}"


def _cache() -> Iterator[str]:
    place = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME")
    cache = Path(place) if place else Path.home() / ".cache" / "huggingface"
    if cache.is_dir():
        yield f"# Weights in the Hugging Face cache {json.dumps(str(cache))} are found as they are."


def _nodes(cluster: Cluster, partition: Partition) -> list[Node]:
    return [node for node in cluster.nodes if partition.name in node.partitions]


def _gpus(nodes: Sequence[Node]) -> str:
    """`4 GPUs a100`, of the best node of each type; "" without any."""
    most: dict[str, int] = {}
    for node in nodes:
        for kind, count in node.gpus.items():
            most[kind] = max(most.get(kind, 0), count)
    return " or ".join(f"{count} GPUs {kind}".strip() for kind, count in sorted(most.items()))


def _described(cluster: Cluster, partition: Partition) -> str:
    nodes = _nodes(cluster, partition)
    limit = f"at most {clock(partition.limit)}" if partition.limit else "no time limit"
    each = f"{max((n.cpus for n in nodes), default=0)} CPUs, {max((n.memory for n in nodes), default=0)}M"
    state = "" if partition.up else f", {partition.state}"
    return f"{limit}, {len(nodes)} nodes of {each}, {_gpus(nodes) or 'no GPUs'}{state}"
