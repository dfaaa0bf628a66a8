"""The questions that a bench asks about the scenes of a sample set."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from smx import plugins
from smx.benches import BaseBench
from smx.errors import UserError
from smx.resolve.context import Context
from smx.resolve.data import Data, bench_of
from smx.samples.export import Asked
from smx.spec import dataset_label
from smx.workspace import Workspace


def questions_for(
    workspace: Workspace, scenes: Collection[str], bench: str | None, root: Path | None, options: Mapping[str, Any]
) -> Asked:
    """Those of `bench`, else of the one bench whose scenes are of the set's dataset. `scenes`: "<dataset>/<scene>".

    `UserError` where no bench, or several, are of that dataset.
    """
    labels = sorted({scene.partition("/")[0] for scene in scenes})
    names = [bench] if bench else plugins.names("benches")
    made = {name: bench_of(name, options if bench else {}) for name in names}
    able = {name: plugin for name, plugin in made.items() if any(_asks_about(plugin, label) for label in labels)}
    if bench is None and len(able) == 1 and options:
        able = {name: bench_of(name, options) for name in able}
    if len(able) != 1:
        which = (
            f"benches {', '.join(able)} ask"
            if able
            else f"{f'bench {bench} does not ask' if bench else 'no bench asks'}"
        )
        raise UserError(
            f"{which} about scenes of dataset {', '.join(labels)}",
            f"--bench NAME: {', '.join(able or plugins.names('benches'))}; its options with --set KEY=VALUE",
        )
    ((name, plugin),) = able.items()
    place = Data(Context(workspace)).root(name, plugin.needs_root, None if root is None else str(root))
    about = tuple(label for label in labels if _asks_about(plugin, label))
    return Asked(name, plugin, plugin.questions(place), about)


def _asks_about(bench: BaseBench, label: str) -> bool:
    """Whether samples of a dataset as records name it (`dataset_label`) are of the scenes that the bench asks about.

    Options of scenes on disk (poses, rates) change nothing of which they are; made scenes are others with others.
    """
    if label == dataset_label(bench.dataset, bench.dataset_options()):
        return True
    return bench.needs_root and re.fullmatch(rf"{re.escape(bench.dataset)}(-[0-9a-f]{{8}})?", label) is not None
