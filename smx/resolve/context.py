"""What every part of resolving shares: the workspace, whether stand-ins may serve, and what the user is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smx.resolve.hub_data import Half
from smx.resolve.requests import Roots
from smx.workspace import Workspace


@dataclass(frozen=True)
class Context:
    """One workspace, and the lines said about what is resolved in it."""

    workspace: Workspace
    stand_ins: bool = True  # False on SLURM
    gpu: bool = False  # whether evaluations get one
    said: list[str] = field(default_factory=list)

    def configured(self, name: str, half: Half) -> str | None:
        """Folder of a dataset or of one half of a bench, as the site file has it."""
        place = self.workspace.site.data.get(name) if self.workspace.site else None
        return place if place is None or isinstance(place, str) else getattr(place, half)

    @property
    def checkpoints(self) -> Mapping[str, str]:
        """Variant or hub id -> folder of its weights, as the site file has them."""
        return self.workspace.site.checkpoints if self.workspace.site else {}

    def may_stand_in(self, places: Roots) -> bool:
        """Whether rooms and the tiny model may serve: nothing is configured, and the request names no place."""
        return self.stand_ins and self.workspace.site is None and not places.any

    def say(self, line: str) -> None:
        """Tell the user, once."""
        if line not in self.said:
            self.said.append(line)
