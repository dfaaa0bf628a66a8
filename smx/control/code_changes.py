"""Runs whose plugins have been edited since: other code is another run, and the one that ran before is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from smx import plugins
from smx.errors import UserError
from smx.registry.rows import RunRow
from smx.registry.store import Registry
from smx.resolve.runs import make_run
from smx.run import Run
from smx.runfolder import RunFolder
from smx.spec import SampleSpec, canonical, kept, named_plugins, sample_set

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
    spec = canonical(kept(run.spec))
    for row in registry.runs(kind=run.kind, sampler=run.spec.sampler, frames=run.spec.frames):
        if row.spec != spec or row.fingerprint == run.fingerprint:
            continue
        folder = RunFolder(run.folder.parents[1] / row.folder)
        record = folder.spec
        if _data(record["inputs"]) == _data(run.inputs) and (change := _change(record["plugins"], run.plugins)):
            yield Before(row, folder, change)


def change_of(run: Run) -> str:
    """What of its plugins has been edited since it was asked for, in words; "" where nothing has."""
    return _change(run.plugins, named_plugins(run.spec))


def with_todays_code(run: Run, became: Sequence[tuple[Run, Run]], *, goes_on: bool) -> Run:
    """What asking for `run` again makes of it: another run, where a sampler or model that it names was edited.

    `became`: runs it may need, as they were, and what became of them. `UserError` where it `goes_on` from results that
    the code of today would go beside, and where the edit may have changed what its items are.
    """
    change = change_of(run)
    needed = [(old, new) for old, new in became if old.fingerprint in run.needs and new is not old]
    if not change and not needed:
        return run
    if (goes_on and RunFolder(run.folder).outcome().done) or any(
        f"{kind}/" in change for kind in ("benches", "datasets")
    ):
        raise UserError(
            f"{run.title} cannot go on: {change or 'what it needs has been edited'} since it ran",
            "the command that made it makes a run of the code as it is now, and keeps this one",
        )
    needs, inputs, paths = list(run.needs), dict(run.inputs), dict(run.paths)
    if "sample_set" in inputs:
        assert isinstance(run.spec, SampleSpec)
        inputs["sample_set"] = sample_set(run.spec)
    for old, new in needed:
        needs[needs.index(old.fingerprint)] = new.fingerprint
        inputs = {
            role: text.replace(f"train:{old.fingerprint}", f"train:{new.fingerprint}") for role, text in inputs.items()
        }
        places = {str(old.folder): str(new.folder), old.paths.get("output"): new.paths.get("output")}
        paths = {role: places.get(path, path) for role, path in paths.items()}
    return make_run(run.folder.parents[1], run.spec, run.name, run.items, inputs, paths, run.labels, tuple(needs))


def _change(old: Identities, new: Identities) -> str:
    """What of others' plugins differs, in words; "" where nothing does, or anything else differs too."""
    differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if any(not isinstance(new.get(name), str) or name not in old for name in differing):
        return ""
    return ", ".join(plugins.change(name, old[name], new[name]) for name in differing)


def _data(inputs: Mapping[str, str]) -> dict[str, str]:
    """Digests of what was looked at; a sample set's is that of its rule, which plugins are part of."""
    return {role: digest for role, digest in inputs.items() if role != "sample_set"}
