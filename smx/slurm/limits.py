"""What a cluster allows, from `scontrol show`: partitions, their time limits, the GPUs of their nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Partition:
    """One partition. `limit` in seconds, None without one."""

    name: str
    default: bool = False
    up: bool = True
    limit: int | None = None
    nodes: tuple[str, ...] = ()
    state: str = "UP"


@dataclass(frozen=True)
class Node:
    """One node, with its GPUs by type ("" where the cluster names none). `memory` in MB."""

    name: str
    cpus: int = 0
    memory: int = 0
    gpus: dict[str, int] = field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def config(text: str) -> dict[str, str]:
    """`scontrol show config` as keys and values."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def partitions(text: str) -> list[Partition]:
    """`scontrol --oneliner show partition`."""
    return [
        Partition(
            name=row["PartitionName"],
            default=row.get("Default") == "YES",
            up=row.get("State", "UP") == "UP",
            limit=seconds(row.get("MaxTime", "")),
            nodes=tuple(hosts(row.get("Nodes", ""))),
            state=row.get("State", "UP"),
        )
        for row in map(_pairs, text.splitlines())
        if "PartitionName" in row
    ]


def nodes(text: str) -> list[Node]:
    """`scontrol --oneliner show node`."""
    return [
        Node(
            name=row["NodeName"],
            cpus=int(row.get("CPUTot", "0")),
            memory=int(row.get("RealMemory", "0")),
            gpus=gres(row.get("Gres", "")),
            partitions=tuple(filter(None, row.get("Partitions", "").split(","))),
            features=tuple(f for f in row.get("AvailableFeatures", "").split(",") if f and f != "(null)"),
        )
        for row in map(_pairs, text.splitlines())
        if "NodeName" in row
    ]


def gres(text: str) -> dict[str, int]:
    """`gpu:a100:4(S:0-1),mps:400` -> {"a100": 4}; `gpu:2` -> {"": 2}."""
    found: dict[str, int] = {}
    for piece in re.sub(r"\([^)]*\)", "", text).split(","):
        match = re.fullmatch(r"gpu(?::(?P<type>[^:]*[^:\d][^:]*))?(?::(?P<count>\d+))?", piece.strip())
        if match:
            found[match["type"] or ""] = found.get(match["type"] or "", 0) + int(match["count"] or 1)
    return found


def hosts(text: str) -> list[str]:
    """`n[1-3,05-06],login` -> n1 n2 n3 n05 n06 login. Several brackets in one name are all expanded."""
    found: list[str] = []
    for piece in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", "" if text == "(null)" else text):
        names = [""]
        for plain, listed in re.findall(r"([^\[]+)|\[([^\]]*)\]", piece):
            names = [name + end for name in names for end in ([plain] if plain else _expanded(listed))]
        found += names
    return found


def seconds(text: str) -> int | None:
    """SLURM's times: `90` (minutes), `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM[:SS]`; None for no limit or no time."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return None
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1] is not None:  # D-HH[:MM[:SS]]
        return days * 86400 + first * 3600 + second * 60 + third
    if match[4] is not None:
        return first * 3600 + second * 60 + third
    return first * 60 + second


def clock(total: int) -> str:
    """Seconds as SLURM writes them: `D-HH:MM:SS`."""
    days, rest = divmod(total, 86400)
    text = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def _expanded(listed: str) -> list[str]:
    found = []
    for piece in listed.split(","):
        first, dash, last = piece.partition("-")
        if dash and first.isdigit() and last.isdigit():
            found += [f"{k:0{len(first)}d}" for k in range(int(first), int(last) + 1)]
        else:
            found.append(piece)
    return found


def _pairs(line: str) -> dict[str, str]:
    return {key: value.strip() for key, value in re.findall(r"(\w[\w/:]*)=(.*?)(?=\s+\w[\w/:]*=|\s*$)", line)}
