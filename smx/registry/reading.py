"""The registry for whoever may only want to look at it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from smx.registry.store import Registry
from smx.workspace import Workspace


@contextlib.contextmanager
def registry_as_it_is(workspace: Workspace, say: Callable[[str], None]) -> Iterator[Registry]:
    """The registry, or an empty one that is gone afterwards where there is none: looking makes no file."""
    with tempfile.TemporaryDirectory() as nowhere:
        path = workspace.registry if workspace.registry.exists() else Path(nowhere) / "registry.db"
        with Registry.open(path) as registry:
            yield registry
    if not workspace.registry.exists() and any(workspace.runs.glob("*/*/spec.json")):
        say(f"no registry at {workspace.registry}, though there are runs: smx db rebuild makes it from their folders")
