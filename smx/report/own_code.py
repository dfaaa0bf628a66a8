"""With which code of a lab's own plugins runs were made, and whether it is the code that is there today.

A run whose plugin has been edited since stays in every table; it is marked, and in no mean with runs of other code.
Only run folders of runs that name such a plugin are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from smx import plugins
from smx.atomic_io import read_whole
from smx.errors import UserError
from smx.registry.rows import RunRow

_KINDS = ("samplers", "models", "benches", "datasets")


@dataclass(frozen=True)
class OwnCode:
    """`recorded`: `samplers/mine` -> identity as the run has it. `changes`: of those that were edited, in words."""

    recorded: Mapping[str, str]
    changes: Mapping[str, str]

    def changed(self, kind: str) -> bool:
        """Whether a plugin of this kind was edited."""
        return any(name.startswith(f"{kind}/") for name in self.changes)


NOTHING = OwnCode({}, {})


def own_code(rows: Iterable[RunRow], runs: Path) -> dict[str, OwnCode]:
    """Fingerprint -> code of the plugins that are not smx's own, for runs that name any."""
    smx_own = {kind: set(plugins.builtin_names(kind)) for kind in _KINDS}
    today = cache(_today)
    known = {}
    for row in rows:
        benches = [row.bench] if row.bench else json.loads(row.spec).get("data", [])
        named = {"samplers": [row.sampler], "models": [row.base], "benches": benches}
        if all(name in (None, "", "none") or name in smx_own[kind] for kind, names in named.items() for name in names):
            continue
        record = read_whole(runs / row.folder / "spec.json") or {}  # gone or damaged: others say so
        recorded = {name: code for name, code in record.get("plugins", {}).items() if isinstance(code, str)}
        changes = {
            name: plugins.change(name, code, now)
            for name, code in recorded.items()
            if (now := today(name)) is not None and now != code
        }
        if recorded:
            known[row.fingerprint] = OwnCode(recorded, changes)
    return known


def _today(plugin: str) -> str | None:
    """Identity of a plugin now; None where it is gone, or cannot be loaded."""
    kind, _, name = plugin.partition("/")
    try:
        return str(plugins.identity(kind, name))
    except UserError:
        return None
