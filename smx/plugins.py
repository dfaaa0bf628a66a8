"""Find plugins by name: `smx/<kind>/<name>.py` holds one class, and its file name is its name.

A workspace may add its own in `experiments/plugins/<kind>/<name>.py`, and an installed package by an entry point
`<name> = "package.module"` of the group `smx.<kind>`. Listing reads files with `ast` and imports nothing, so
`smx list` stays instant. A file whose name starts with `_` is no plugin.

A name means one thing: where a second file has one that is taken, the name is refused with both files.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from smx.digests import file_digest
from smx.errors import Exited, UserError, unknown

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

_DIGEST = "__smx_digest__"  # attribute of a loaded module: its file may change while it is in memory
_WORKSPACE = "smx_workspace_"  # and the kind: the package that a workspace's plugins are imported in

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

    def digest(self) -> str:
        """12 hex digits of its file, of the files beside it that it imports, and of those it names in its text.

        The same wherever its folder is copied to. `FileNotFoundError` where there is no such file.
        """
        root = self.path.parent.parent
        hashed = hashlib.sha256()
        for path in sorted(_with_local(self.path, root)):
            hashed.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
        return hashed.hexdigest()[:12]


def file_of(plugin: object) -> str:
    """The file that an instance of a plugin's class is defined in."""
    return str(getattr(sys.modules.get(type(plugin).__module__), "__file__", type(plugin).__module__))


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


def builtin_names(kind: str) -> list[str]:
    """Names of smx's own plugins of `kind`, sorted."""
    return sorted(name for name, found in _by_name(kind).items() if found[0].builtin)


def describe(kind: str, name: str) -> str:
    """First line of the plugin file's docstring, read without importing it; what is wrong where it cannot be used."""
    found = _found(kind, name)
    if refusal := _refusal(kind, name, found):  # said here: it must not hide the others
        return f"[refused: {refusal.message}]"
    try:
        doc = ast.get_docstring(ast.parse(found[0].path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, ValueError) as error:
        return f"[{found[0].path} cannot be read: {_problem(error)}]"
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


def identity(kind: str, name: str) -> int | str:
    """What enters fingerprints: the version of smx's own, and with others' a digest of the code that was loaded.

    `1@597f1c2ab04e`, or `1@597f1c2ab04e their-samplers 1.2` of an installed package.
    """
    version: int = load(kind, name).version
    plugin = _found(kind, name)[0]
    if plugin.builtin:
        return version
    return f"{version}@{sys.modules[plugin.module].__dict__[_DIGEST]} {plugin.package}".rstrip()


def change(plugin: str, before: int | str, after: int | str) -> str:
    """`samplers/mine.py 4703→597f`, of two identities of `samplers/mine`; as many digits as tell them apart."""
    old, new = (str(each).partition("@")[2].split(" ")[0] or f"version {each}" for each in (before, after))
    if old == new or "version" in old + new:  # of another version, or recorded by an smx that knew no digests
        return f"{plugin}.py {before}→{after}"
    digits = next(n for n in range(4, 13) if old[:n] != new[:n])
    return f"{plugin}.py {old[:digits]}→{new[:digits]}"


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
            module = f"smx.{kind}.{path.stem}" if root == Path(__file__).parent else f"{_WORKSPACE}{kind}.{path.stem}"
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


def forget_edited() -> None:
    """Load a workspace's plugins anew if any file of theirs has been edited: a notebook lives longer than its code.

    Those of installed packages stay as they were imported.
    """
    for module in _of_workspaces():
        if (digest := vars(module).get(_DIGEST)) is not None and module.__file__ is not None:
            file = Path(module.__file__)
            if not file.is_file() or Plugin(file, module.__name__, "").digest() != digest:
                _forget()
                return


def _of_workspaces() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.startswith(_WORKSPACE)]


def _forget() -> None:
    """All of them: they may have imported each other."""
    for module in _of_workspaces():
        del sys.modules[module.__name__]


def _foreign(plugin: Plugin) -> Any:
    """The module of a plugin that is not smx's own. `UserError` for whatever it raises: it is not a bug in smx."""
    module = sys.modules.get(plugin.module)
    if module is not None and _DIGEST in vars(module):
        if plugin.package or module.__file__ == str(plugin.path):
            return module
        _forget()  # of another workspace that this process has opened
    try:
        digest = plugin.digest() if plugin.path.is_file() else ""
        module = importlib.import_module(plugin.module) if plugin.package else _from_file(plugin)
    except (Exception, SystemExit) as error:
        words = _with_files(str(Exited(error) if isinstance(error, SystemExit) else error), plugin.path.parent)
        problem = f"{plugin} cannot be loaded: {type(error).__name__}: {words}"
        shows = f"python -c 'import {plugin.module}'" if plugin.package else f"python {plugin.path}"
        raise UserError(problem, f"{shows} shows where") from error
    setattr(module, _DIGEST, digest)
    return module


def _problem(error: Exception) -> str:
    """What is wrong with a file, less its name, which Python knows or does not."""
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}"
    return str((isinstance(error, OSError) and error.strerror) or error)


def _with_files(words: str, folder: Path) -> str:
    """Modules of a workspace by their files: the names that they are imported under are nobody's but ours."""
    return re.sub(rf"{_WORKSPACE}\w+\.([\w.]*\w)", lambda m: f"{folder / m[1].replace('.', '/')}.py", words)


def _from_file(plugin: Plugin) -> ModuleType:
    package, _, _ = plugin.module.rpartition(".")
    _package(package, plugin.path.parent)
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


def _package(name: str, folder: Path) -> None:
    """A package of the files in `folder`, so that a plugin reaches what lies beside it: `from ._shared import …`."""
    package = sys.modules.setdefault(name, ModuleType(name))
    if str(folder) not in (places := package.__dict__.setdefault("__path__", [])):
        places.append(str(folder))


def _with_local(path: Path, root: Path) -> set[Path]:
    """`path`, and the files below `root` that it imports or names, and those that these do."""
    reached: set[Path] = set()
    left = [path]
    while left:
        file = left.pop()
        if file in reached:
            continue
        reached.add(file)
        if file.suffix == ".py":
            left += [other for name in _mentioned(file) for other in _local(name, file.parent, root)]
    return reached


def _mentioned(path: Path) -> Iterator[str]:
    """Files and folders that a module may mean, relative to its own or its root: of its imports and its strings."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # whoever loads it says so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.replace(".", "/") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "../" * max(0, node.level - 1) + (node.module or "").replace(".", "/")
            yield from (base, *(f"{base}/{alias.name}".lstrip("/") for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w./-]+", node.value):
            yield node.value


def _local(name: str, beside: Path, root: Path) -> Iterator[Path]:
    """The files below `root` that `name` may mean in a module in the folder `beside`."""
    if not name or name.startswith("/"):
        return
    for folder in dict.fromkeys((beside, root)):
        for place in (folder / f"{name}.py", folder / name / "__init__.py", folder / name):
            with contextlib.suppress(OSError):  # a string may be longer than a name can be
                file = Path(os.path.normpath(place))
                if file.is_file() and file.is_relative_to(root):
                    yield file
