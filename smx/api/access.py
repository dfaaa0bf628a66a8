"""What every part of the door needs of a workspace: its registry, up to date, and somebody to say things to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from smx.control.plan import Decision
from smx.control.progress import Listener
from smx.control.sync import refresh
from smx.registry.reading import registry_as_it_is
from smx.registry.store import Registry
from smx.workspace import Workspace


class Speaker(Listener):
    """Says on stderr what the command line would say: a notebook shows it, and stdout stays data."""

    def say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Only what a table would mark: a notebook shows runs anyway."""
        for run in (decision.run for decision in decisions if decision.asked and decision.run.labels.get("untrained")):
            self.say(f"{run.title}: its weights are random (untrained)")


class Access:
    """One workspace, looked at as it is at each moment."""

    def __init__(self, workspace: Workspace) -> None:
        workspace.require_known_executors()
        workspace.follow_group()
        self.workspace = workspace
        self.listener = Speaker()

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """The registry, after every live attempt has been looked at."""
        with registry_as_it_is(self.workspace, self.listener.say) as registry:
            refresh(self.workspace, registry, self.listener.say)
            yield registry
