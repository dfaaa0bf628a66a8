"""Find plugins by file name: `smx/<kind>/<name>.py` holds one class, and its file name is its name.

Listing reads files with `ast` and imports nothing, so `smx list` stays instant. A workspace may add its
own in `experiments/plugins/<kind>/<name>.py`. A file whose name starts with `_` is no plugin.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
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


def add_folder(folder: Path) -> None:
    """Also look in `folder/<kind>/` (a workspace's `experiments/plugins`). Built-in names win."""
    if folder not in _extra_folders:
        _extra_folders.append(folder)


def folders() -> list[Path]:
    """The folders added so far: what another process needs to find the same plugins."""
    return list(_extra_folders)


def files(kind: str) -> dict[str, Path]:
    """Name -> file of every plugin of `kind`, sorted by name."""
    found: dict[str, Path] = {}
    for root in (Path(__file__).parent, *_extra_folders):
        for path in sorted((root / kind).glob("[!_]*.py")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """Names of every plugin of `kind`, sorted."""
    return list(files(kind))


def describe(kind: str, name: str) -> str:
    """First line of the plugin file's docstring, read without importing it."""
    try:
        doc = ast.get_docstring(ast.parse(_file(kind, name).read_text(encoding="utf-8"))) or ""
    except (SyntaxError, ValueError) as error:  # a file of the workspace must not hide the others
        return f"[cannot be read: {error}]"
    return doc.splitlines()[0] if doc else ""


def load(kind: str, name: str) -> Any:
    """The plugin's class. Raises `UserError` naming the closest valid choice."""
    path = _file(kind, name)
    if path.parent.parent == Path(__file__).parent:
        module = importlib.import_module(f"smx.{kind}.{name}")
    else:
        module = _load_from(path, f"smx_workspace_{kind}_{name}")
    try:
        return getattr(module, CLASS[kind])
    except AttributeError:
        raise UserError(
            f"{path} defines no class {CLASS[kind]}",
            f"a {WORD[kind]} is one file with `class {CLASS[kind]}`; see docs/plugins.md",
        ) from None


def _file(kind: str, name: str) -> Path:
    found = files(kind)
    if name not in found:
        raise unknown(WORD[kind], name, found, f"smx list {kind}")
    return found[name]


def _load_from(path: Path, module_name: str) -> Any:
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if isinstance(error, Exception):  # the workspace's own file, not a bug in smx
            problem = f"{path} cannot be loaded: {type(error).__name__}: {error}"
            raise UserError(problem, f"python {path} shows where") from error
        raise
    return module
