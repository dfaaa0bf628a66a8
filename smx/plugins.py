"""Find plugins by name: `smx/<kind>/<name>.py` holds one class, and its file name is its name.

A workspace may add its own in `experiments/plugins/<kind>/<name>.py`, and an installed package by an entry point
`<name> = "package.module"` of the group `smx.<kind>`. Listing reads files with `ast` and imports nothing, so
`smx list` stays instant. A file whose name starts with `_` is no plugin.

A name means one thing: where a second file has one that is taken, the name is refused with both files.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from smx.errors import UserError, unknown

# kind -> the class every plugin file of that kind defines, and the word for one of them
CLASS = {
    "samplers": "Sampler",
    "models": "Model",
    "benches": "Bench",
    "datasets": "Dataset",
    "executors": "Executor",
}
WORD = {
    "samplers": "sampler",
    "models": "base model",
    "benches": "bench",
    "datasets": "dataset",
    "executors": "executor",
}

_extra_folders: list[Path] = []


@dataclass(frozen=True)
class Plugin:
    """Where one plugin is. `package`: `name version` of the installed distribution that brings it, if one does."""

    path: Path
    module: str  # it is imported as
    attribute: str  # the class in it
    package: str = ""

    @property
    def builtin(self) -> bool:
        """Whether it is smx's own."""
        return self.path.parent.parent == Path(__file__).parent

    def __str__(self) -> str:
        return f"{self.path} ({self.package})" if self.package else str(self.path)


def add_folder(folder: Path) -> None:
    """Also look in `folder/<kind>/` (a workspace's `experiments/plugins`)."""
    if folder not in _extra_folders:
        _extra_folders.append(folder)


def folders() -> list[Path]:
    """The folders added so far: what another process needs to find the same plugins."""
    return list(_extra_folders)


def files(kind: str) -> dict[str, Path]:
    """Name -> file of every plugin of `kind`, sorted by name."""
    return {name: found[0].path for name, found in sorted(_by_name(kind).items())}


def names(kind: str) -> list[str]:
    """Names of every plugin of `kind`, sorted."""
    return list(files(kind))


def describe(kind: str, name: str) -> str:
    """First line of the plugin file's docstring, read without importing it; what is wrong where it cannot be used."""
    found = _found(kind, name)
    if refusal := _refusal(kind, name, found):  # said here: it must not hide the others
        return f"[refused: {refusal.message}]"
    try:
        doc = ast.get_docstring(ast.parse(found[0].path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, ValueError) as error:
        return f"[cannot be read: {error}]"
    return doc.splitlines()[0] if doc else ""


def load(kind: str, name: str) -> Any:
    """The plugin's class. Raises `UserError` naming the closest valid choice."""
    found = _found(kind, name)
    if refusal := _refusal(kind, name, found):
        raise refusal
    plugin = found[0]
    module = importlib.import_module(plugin.module) if plugin.builtin else _foreign(plugin)
    try:
        return getattr(module, plugin.attribute)
    except AttributeError:
        raise UserError(
            f"{plugin} defines no class {plugin.attribute}",
            f"a {WORD[kind]} is one file with `class {CLASS[kind]}`; see docs/plugins.md",
        ) from None


@cache
def installed(kind: str) -> tuple[tuple[str, Plugin], ...]:
    """(name, plugin) of every entry point `smx.<kind>` of the installed packages. Nothing of them is imported."""
    from importlib.metadata import entry_points  # pydantic has it loaded, the ground itself need not

    found = []
    for point in entry_points(group=f"smx.{kind}"):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package without a name"
        plugin = Plugin(_file_of(point.module), point.module, point.attr or CLASS[kind], package)
        found.append((point.name, plugin))
    return tuple(sorted(found, key=lambda each: (each[0], each[1].package)))


def _by_name(kind: str) -> dict[str, list[Plugin]]:
    """Name -> what has that name: smx's own first, then the workspace's, then those of installed packages."""
    found: dict[str, list[Plugin]] = {}
    for root in (Path(__file__).parent, *_extra_folders):
        for path in sorted((root / kind).glob("[!_]*.py")):
            module = f"smx.{kind}.{path.stem}" if root == Path(__file__).parent else f"smx_workspace_{kind}_{path.stem}"
            found.setdefault(path.stem, []).append(Plugin(path, module, CLASS[kind]))
    for name, plugin in installed(kind):
        found.setdefault(name, []).append(plugin)
    return {name: _different(plugins) for name, plugins in found.items()}


def _found(kind: str, name: str) -> list[Plugin]:
    found = _by_name(kind)
    if name not in found:
        raise unknown(WORD[kind], name, found, f"smx list {kind}")
    return found[name]


def _different(plugins: list[Plugin]) -> list[Plugin]:
    """Without copies of one before, as a job's copy of the workspace's plugins is; smx's own have none."""
    kept: list[Plugin] = []
    for plugin in plugins:
        if not any(_same(other.path, plugin.path) for other in kept if not other.builtin):
            kept.append(plugin)
    return kept


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()


def _refusal(kind: str, name: str, found: list[Plugin]) -> UserError | None:
    """Why this name cannot be used, where it cannot."""
    first, *others = found
    if not re.fullmatch(r"[\w.-]+", name) or name[0] in ".-":
        return UserError(
            f"{name!r} cannot be the name of a {WORD[kind]}: {first}", "letters, digits, '_' and '-', no '/'"
        )
    if not others:
        return None
    whose = "smx's own " if first.builtin else ""
    return UserError(
        f"the {WORD[kind]} {name!r} of {', '.join(map(str, others))} has the name of {whose}{first}",
        "give it another name: what a name means must not depend on where it is typed",
    )


def _file_of(module: str) -> Path:
    """The file of an installed module, found without running any of its package; as it would be where it is not."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and not rest and spec.origin:
        return Path(spec.origin)
    roots = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    candidates = [path for root in roots for path in (root.joinpath(*rest, "__init__.py"), _module(root, rest))]
    return next((path for path in candidates if path.is_file()), _module(Path(top), rest))


def _module(root: Path, rest: list[str]) -> Path:
    return root.joinpath(*rest[:-1], f"{rest[-1]}.py") if rest else root.with_suffix(".py")


def _foreign(plugin: Plugin) -> Any:
    """The module of a plugin that is not smx's own. `UserError` for whatever it raises: it is not a bug in smx."""
    if plugin.module in sys.modules:
        return sys.modules[plugin.module]
    try:
        return importlib.import_module(plugin.module) if plugin.package else _from_file(plugin)
    except Exception as error:
        problem = f"{plugin} cannot be loaded: {type(error).__name__}: {error}"
        shows = f"python -c 'import {plugin.module}'" if plugin.package else f"python {plugin.path}"
        raise UserError(problem, f"{shows} shows where") from error


def _from_file(plugin: Plugin) -> Any:
    spec = importlib.util.spec_from_file_location(plugin.module, plugin.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[plugin.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[plugin.module]
        raise
    return module
