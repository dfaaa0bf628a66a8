"""What every part of resolving shares: the workspace, whether stand-ins may serve, and what the user is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smx.resolve.requests import Roots
from smx.workspace import Workspace


@dataclass(frozen=True)
class Context:
    """One workspace, and the lines said about what is resolved in it."""

    workspace: Workspace
    stand_ins: bool = True  # False on SLURM
    gpu: bool = False  # whether evaluations get one
    said: list[str] = field(default_factory=list)

    @property
    def data(self) -> Mapping[str, str]:
        """Dataset or bench -> its folder, as the site file has them."""
        return self.workspace.site.data if self.workspace.site else {}

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
