"""What a shell completes: the value of each option and argument, by its name. Nothing heavy is imported."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from typer._click.core import Command, Context, Parameter

from smx.errors import UserError
from smx.workspace import Workspace, find

_SEVERAL = {"model", "sampler", "bench", "dataset", "state", "kind", "tag", "data"}
_LAST = ("last", "failed")


def complete_values(command: Command) -> Command:
    """`command`, whose parameters know their values while a shell asks."""
    for parameter in command.params:
        if (parameter.name in _VALUES) and not (command.name == "list" and parameter.name == "kind"):
            # Typer takes a function only where a parameter is declared, which is in thirty files.
            parameter._custom_shell_complete = _values
    return command


def _values(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    name = str(parameter.name)
    before, comma, last = incomplete.rpartition(",") if name in _SEVERAL else ("", "", incomplete)
    chosen = context.find_root().params.get("workspace")
    try:
        values = _VALUES[name](find(Path(chosen).expanduser() if chosen else None))
        return [f"{before}{comma}{value}" for value in dict.fromkeys(values) if str(value).startswith(last)]
    except (UserError, OSError, ValueError, sqlite3.Error):
        return []  # somebody is still typing: what is wrong here, the command says when it is run


def _query(space: Workspace, sql: str) -> Iterator[str]:
    if space.registry.exists():
        with contextlib.closing(sqlite3.connect(f"file:{space.registry}?mode=ro", uri=True)) as db:
            yield from (str(value) for (value,) in db.execute(sql))


def _runs(space: Workspace) -> Iterable[str]:
    titles = "select substr(folder, instr(folder, '/') + 1) from runs order by created desc"
    return [*_query(space, titles), *_LAST]


def _trained(space: Workspace) -> Iterable[str]:
    titles = "select substr(folder, instr(folder, '/') + 1) from runs where kind = 'train' order by created desc"
    return _query(space, titles)


def _plugins(kind: str) -> Callable[[Workspace], Iterable[str]]:
    def names(space: Workspace) -> list[str]:
        from smx import plugins

        return plugins.names(kind)

    return names


def _experiments(space: Workspace) -> Iterable[str]:
    return sorted(path.stem for path in space.experiments.glob("*.yaml") if path.stem != "site")


def _scenes(space: Workspace) -> Iterable[str]:
    return sorted({path.parent.name for path in space.samples.glob("*/*f-*/*/*/sample.json")})


def _formats(space: Workspace) -> Iterable[str]:
    return sorted(path.stem for path in (Path(__file__).parents[1] / "report" / "formats").glob("[!_]*.py"))


def _states(space: Workspace) -> Iterable[str]:
    from smx.states import RunState

    return [*RunState]


def _spec_keys(space: Workspace) -> Iterable[str]:
    """`recipe.lr=` and the like. Kept in the user's cache, since reading the specs takes longer than one waits."""
    source = Path(__file__).parents[1] / "spec.py"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smx" / "keys.json"
    of = [str(source), source.stat().st_mtime_ns]
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(cache.read_text())
        if kept["of"] == of:
            return [str(key) for key in kept["keys"]]
    from pydantic import BaseModel

    from smx.spec import SPECS

    def keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
        for name, field in model.model_fields.items():
            kind: Any = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys(kind, f"{before}{name}.")
            elif name != "kind":
                yield f"{before}{name}="

    found = sorted({key for spec in SPECS.values() for key in keys(spec)})
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps({"of": of, "keys": found}))
    return found


_VALUES: dict[str, Callable[[Workspace], Iterable[str]]] = {
    **dict.fromkeys(("run", "runs", "a", "b"), _runs),
    "model": lambda space: space.variant_files(),
    "sampler": _plugins("samplers"),
    "bench": _plugins("benches"),
    "data": _plugins("benches"),
    "dataset": _plugins("datasets"),
    "executor": _plugins("executors"),
    "kind": lambda space: ("gen", "train", "eval"),
    "state": _states,
    "tag": lambda space: _query(space, "select distinct tag from tags order by tag"),
    "scorer": lambda space: _query(space, "select distinct scorer from scores order by scorer"),
    "metric": lambda space: _query(space, "select distinct metric from scores order by metric"),
    "experiment": _experiments,
    "file": _experiments,
    "scenes": _scenes,
    "scene": _scenes,
    "checkpoint": _trained,
    "format": _formats,
    "set_": _spec_keys,
}
