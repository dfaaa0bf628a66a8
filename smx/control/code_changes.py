"""Runs whose plugins have been edited since: other code is another run, and the one that ran before is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smx import plugins
from smx.errors import UserError
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.run import Run
from smx.runfolder import RunFolder
from smx.spec import canonical, named_plugins

Identities = Mapping[str, int | str]


@dataclass(frozen=True)
class Before:
    """A run that is as another was asked for, but for the code of its plugins."""

    row: RunRow
    folder: RunFolder
    change: str  # in words: samplers/mine.py 4703→597f


def before(run: Run, registry: Registry) -> Iterator[Before]:
    """What ran as `run` would with other code of the same plugins, newest first; nothing where all are smx's own."""
    if not any(isinstance(identity, str) for identity in run.plugins.values()):
        return
    spec = canonical(run.spec.model_dump(mode="json"))
    for row in registry.runs(kind=run.kind, sampler=run.spec.sampler, frames=run.spec.frames):
        if row.spec != spec or row.fingerprint == run.fingerprint:
            continue
        folder = RunFolder(run.folder.parents[1] / row.folder)
        record = folder.spec
        if _data(record["inputs"]) == _data(run.inputs) and (change := _change(record["plugins"], run.plugins)):
            yield Before(row, folder, change)


def require_same_code(run: Run) -> None:
    """`UserError` where a plugin of a run has been edited since it was asked for: two codes never share a run."""
    if change := _change(run.plugins, named_plugins(run.spec)):
        raise UserError(
            f"{run.title} cannot go on: {change} since it ran",
            "the command that made it makes a run of the code as it is now, and keeps this one",
        )


def _change(old: Identities, new: Identities) -> str:
    """What of others' plugins differs, in words; "" where nothing does, or anything else differs too."""
    differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if any(not isinstance(new.get(name), str) or name not in old for name in differing):
        return ""
    return ", ".join(plugins.change(name, old[name], new[name]) for name in differing)


def _data(inputs: Mapping[str, str]) -> dict[str, str]:
    """Digests of what was looked at; a sample set's is that of its rule, which plugins are part of."""
    return {role: digest for role, digest in inputs.items() if role != "sample_set"}
