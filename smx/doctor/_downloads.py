"""What of weights and data other tools have brought to this machine, and what of it is not whole."""

from __future__ import annotations

from collections.abc import Iterator

from smx import plugins
from smx.errors import UserError
from smx.finding import Finding, ok, problem, warning
from smx.resolve import hub_cache, hub_data
from smx.spec import Variant
from smx.workspace import Workspace
from smx.yamlfile import read_yaml


def downloads(workspace: Workspace) -> Iterator[Finding]:
    """A line for each repository that variants, benches and datasets name and that is here, whole or in part."""
    yield from _weights(workspace)
    names = dict.fromkeys([*plugins.names("benches"), *plugins.names("datasets")])
    for name in names:
        if name in plugins.names("benches") and _hub("benches", name):
            yield from _data(name, "questions")
        if name in plugins.names("datasets") and _hub("datasets", name):
            yield from _data(name, "videos")


def _hub(kind: str, name: str) -> str:
    try:
        return str(plugins.load(kind, name).hub)
    except UserError:  # a plugin that cannot be loaded is named by whatever uses it
        return ""


def _weights(workspace: Workspace) -> Iterator[Finding]:
    wanted: dict[str, list[str]] = {}
    for name, file in workspace.variant_files().items():
        try:
            repo = Variant.parse(read_yaml(file), str(file)).checkpoint
        except UserError:
            continue
        if repo and hub_cache.is_hub_id(repo):
            wanted.setdefault(repo, []).append(name)
    for repo, names in wanted.items():
        try:
            snapshot = hub_cache.cached(repo)
        except UserError as error:
            yield problem("weights", error.message, error.hint)
            continue
        if snapshot:
            yield ok("weights", f"{snapshot.name} in the Hugging Face cache, for {', '.join(names)}")


def _data(name: str, half: hub_data.Half) -> Iterator[Finding]:
    try:
        place = hub_data.published(name, half)
    except UserError as error:
        yield problem("data", error.message, error.hint)
        return
    if place is None:
        if half == "videos" and hub_data.published(name, "questions"):
            yield warning("data", f"{name}: its questions are here, its videos are not", hub_data.download(name))
        return
    count = f"{len(plugins.load('datasets', name)().scenes(place.folder))} " if half == "videos" else ""
    yield ok("data", f"{name}: {count}{half} in {place.name}")
