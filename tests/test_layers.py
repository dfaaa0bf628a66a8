"""The house stays in order: every import points down, plugins know nothing of each other, heavy libraries wait.

The import graph is read with `ast` from every file of the package, imports inside functions and for type
checking included, so a shortcut cannot hide anywhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

import smx

PACKAGE = Path(smx.__file__).parent

# Lowest first. A unit (a module or a package directly in smx/) imports units of earlier lines only.
LAYERS: list[tuple[str, ...]] = [
    ("errors",),
    ("zipped",),
    ("digests",),
    ("options", "plugins", "yamlfile", "finding", "atomic_io", "processes", "states", "dotted", "_numba"),
    ("geometry", "rooms", "video", "tokens", "failures", "slurm", "sampleset", "runfolder", "workspace"),
    ("samplers", "models", "benches", "datasets", "executors", "external_frames"),
    ("spec", "registry"),
    ("run", "results"),
    ("node", "resolve", "verify"),
    ("report", "monitor"),
    ("control", "samples"),
    ("doctor", "gc"),
    ("cli", "api"),
    ("__main__",),
]
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}
PLUGIN_KINDS = ("samplers", "models", "benches", "datasets", "executors")

# Lower, and yet not for them.
NEVER = {"node": "registry"}  # a job knows only its run folder
LOGIN_SIDE = {"cli", "control", "report", "monitor", "samples", "registry", "spec", "run", "resolve"}
HEAVY = {"torch", "transformers", "pandas", "submitit", "sqlite_utils", "matplotlib", "numba", "scipy", "av", "pyarrow"}


@dataclass(frozen=True)
class Import:
    """One import statement: `file:line` of module `source` names module `target`."""

    source: str
    target: str
    file: str
    line: int
    at_load: bool  # runs when the module is imported (not in a function, not for type checking)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.source} imports {self.target}"


def test_imports_point_down() -> None:
    """Lost otherwise: a change in one layer could break any other, and jobs could need the login node."""
    assert not (wrong := broken_layers(imports_of(PACKAGE))), "\n".join(wrong)


def test_every_module_has_its_place() -> None:
    """Lost otherwise: a module outside the layers is held to no rule."""
    assert not (strangers := set(modules(PACKAGE)) - known(PACKAGE)), (
        f"in no layer: {sorted(strangers)}; give each a line in LAYERS and in docs/architecture.md"
    )


def test_no_modules_import_each_other() -> None:
    """Lost otherwise: two files that can only be read, moved and tested together, for a type's sake as well."""
    assert not (rings := cycles(imports_of(PACKAGE))), "\n".join(rings)


def test_heavy_libraries_wait_for_the_work_that_needs_them() -> None:
    """Lost otherwise: listing plugins or asking for help takes the seconds that torch or pandas take."""
    assert not (wrong := heavy_at_load(imports_of(PACKAGE))), "\n".join(wrong)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (
            "spec.py",
            "from smx import control",
            "smx.spec imports smx.control: spec may import only from lower layers",
        ),
        ("spec.py", "def f(): import smx.cli.app", "smx.spec imports smx.cli.app"),
        ("digests.py", "from .registry import store", "smx.digests imports smx.registry.store"),
        ("node/eval.py", "from ..registry.store import Registry", "node never imports registry"),
        ("node/eval.py", "if TYPE_CHECKING:\n    from smx.registry import store", "node never imports registry"),
        ("control/submit.py", "def f(): from torch import nn", "the login side never imports torch"),
        ("samplers/two.py", "from smx.samplers.one import Sampler", "plugins never import each other"),
        ("samplers/_shared.py", "from smx.samplers import one", "plugins never import each other"),
        ("samplers/__init__.py", "from . import one", "plugins never import each other"),
    ],
)
def test_a_wrong_import_is_named_with_its_line(tmp_path: Path, file: str, line: str, message: str) -> None:
    """The rules above bite: each kind of violation is found, wherever it stands."""
    package = synthetic(tmp_path, {file: f'"""Doc."""\n{line}\n'})
    wrong = broken_layers(imports_of(package))
    assert len(wrong) == 1
    assert f"smx/{file}:" in wrong[0]
    assert message in wrong[0]


def test_right_imports_pass(tmp_path: Path) -> None:
    """The rules do not cry wolf: shared code of plugins, own package and lower layers are all allowed."""
    package = synthetic(
        tmp_path,
        {
            "samplers/two.py": "import smx\nfrom smx.samplers import Base, _shared\nfrom ..errors import UserError\n",
            "node/eval.py": "from smx import __version__, spec\nfrom . import gen\nimport torch.nn\n",
            "cli/app.py": "def f():\n    from smx.control import submit\n",
        },
    )
    assert broken_layers(imports_of(package)) == []


def test_a_module_outside_the_layers_is_noticed(tmp_path: Path) -> None:
    """`smx/utils.py` is in no layer, so it needs a decision before it exists."""
    package = synthetic(tmp_path, {"utils.py": "", "helpers/deep.py": ""})
    assert set(modules(package)) - known(package) == {"smx.utils", "smx.helpers.deep"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"samplers/one.py": "import torch"}, ["smx/samplers/one.py:1: smx.samplers.one imports torch"]),
        ({"samplers/one.py": "class A:\n    import scipy.spatial"}, ["smx/samplers/one.py:2"]),
        ({"samplers/one.py": "try:\n    import av\nexcept ImportError: ..."}, ["smx/samplers/one.py:2"]),
        (
            {"geometry/_fast.py": "import numba", "geometry/cover.py": "from smx.geometry import _fast"},
            ["smx/geometry/cover.py:1: smx.geometry.cover imports smx.geometry._fast"],
        ),
        (
            {
                "geometry/_fast.py": "import numba",
                "geometry/_more.py": "from ._fast import x",
                "rooms/__init__.py": "import smx.geometry._more",
            },
            ["smx/rooms/__init__.py:1"],
        ),
        ({"geometry/_fast.py": "import numba", "geometry/cover.py": "def f(): from smx.geometry import _fast"}, []),
        ({"samplers/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"}, []),
    ],
)
def test_a_heavy_import_on_top_is_noticed(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    """The rule bites, also through private modules, and leaves lazy and type-only imports alone."""
    wrong = heavy_at_load(imports_of(synthetic(tmp_path, files)))
    assert len(wrong) == len(found)
    for message, start in zip(wrong, found, strict=True):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("files", "ring"),
    [
        ({"rooms/a.py": "from smx.rooms import b", "rooms/b.py": "def f(): import smx.rooms.a"}, ["a", "b"]),
        (
            {"rooms/a.py": "from .b import x", "rooms/b.py": "if TYPE_CHECKING:\n    from smx.rooms.a import X"},
            ["a", "b"],
        ),
        (
            {"rooms/a.py": "from . import b", "rooms/b.py": "from . import c", "rooms/c.py": "from . import a"},
            ["a", "b", "c"],
        ),
        ({"rooms/a.py": "from . import b", "rooms/b.py": "", "rooms/c.py": "from . import a, b"}, []),
    ],
)
def test_modules_that_import_each_other_are_noticed(tmp_path: Path, files: dict[str, str], ring: list[str]) -> None:
    """The rule bites: imports in functions and for types close a ring as well as any, and a fork is none."""
    found = cycles(imports_of(synthetic(tmp_path, {"rooms/__init__.py": "", **files})))
    assert len(found) == bool(ring)
    for module in ring:
        assert f"smx.rooms.{module} imports smx.rooms." in found[0]


# The rules


def broken_layers(imports: list[Import]) -> list[str]:
    """One message for each import that points up, sideways, or where it never may."""
    messages = []
    for found in imports:
        ours, theirs = unit(found.source), unit(found.target)
        if theirs in HEAVY:
            if theirs == "torch" and ours in LOGIN_SIDE:
                messages.append(f"{found}: the login side never imports torch; only jobs need it")
        elif NEVER.get(ours) == theirs:
            messages.append(f"{found}: {ours} never imports {theirs}")
        elif ours == theirs:
            if ours in PLUGIN_KINDS and is_plugin(found.target):
                messages.append(f"{found}: plugins never import each other; share code in smx/{ours}/_name.py")
        elif ours in RANK and theirs in RANK and RANK[theirs] >= RANK[ours]:
            allowed = ", ".join(u for layer in LAYERS[: RANK[ours]] for u in layer)
            messages.append(f"{found}: {ours} may import only from lower layers ({allowed or 'none'})")
    return messages


def cycles(imports: list[Import]) -> list[str]:
    """One message for each ring of modules that import each other, with the imports that close it."""
    # The package itself is asked for its version by modules below, and opens its door (smx.api) only when asked.
    pairs = ((found.source, found.target) for found in imports if found.target != "smx")
    graph = nx.DiGraph((source, target) for source, target in pairs if source != target)
    rings = [ring for ring in nx.strongly_connected_components(graph) if len(ring) > 1]
    return ["\n".join(str(f) for f in imports if f.source in ring and f.target in ring) for ring in rings]


def heavy_at_load(imports: list[Import]) -> list[str]:
    """Imports that make a public module load a heavy library: directly, or through private modules that do."""
    at_load = [found for found in imports if found.at_load]
    heavy: set[str] = set()
    while more := {f.source for f in at_load if is_private(f.source) and _is_heavy(f.target, heavy)} - heavy:
        heavy |= more
    return [
        f"{found}: heavy when imported; import it in the function that needs it, or in a private module"
        for found in at_load
        if not is_private(found.source) and _is_heavy(found.target, heavy)
    ]


def _is_heavy(target: str, heavy_modules: set[str]) -> bool:
    return unit(target) in HEAVY or target in heavy_modules


def unit(module: str) -> str:
    """`smx.registry.store` -> `registry`; `torch.nn` -> `torch`; the package itself -> ``."""
    parts = module.split(".")
    return (parts[1] if len(parts) > 1 else "") if parts[0] == "smx" else parts[0]


def is_private(module: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in module.split("."))


def is_plugin(module: str) -> bool:
    return module.count(".") >= 2 and not is_private(module)


def known(package: Path) -> set[str]:
    """Modules whose unit stands in a layer, and the package itself."""
    return {module for module in modules(package) if unit(module) in RANK or module == "smx"}


# The graph


def modules(package: Path) -> dict[str, Path]:
    """Module name -> file, for every Python file of the package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = ["smx", *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(package: Path) -> list[Import]:
    """Every import of our own modules and of heavy libraries, in file and line order."""
    files = modules(package)
    found = []
    for module, path in files.items():
        base = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        for node, at_load in _import_nodes(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            for target in _targets(node, base, files):
                if target.split(".")[0] in {"smx", *HEAVY}:
                    file = f"smx/{path.relative_to(package).as_posix()}"
                    found.append(Import(module, target, file, node.lineno, at_load))
    return found


def _import_nodes(tree: ast.AST, at_load: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_load
        else:
            yield from _import_nodes(node, at_load and not _is_skipped_at_load(node))


def _is_skipped_at_load(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _targets(node: ast.Import | ast.ImportFrom, base: list[str], files: dict[str, Path]) -> list[str]:
    """Modules a statement names; `from smx.geometry import voxels` names the module, not the package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = base[: len(base) - node.level + 1] if node.level else []
    start = ".".join([*package, *([node.module] if node.module else [])])
    submodules = [f"{start}.{alias.name}" for alias in node.names]
    known_units = {f"smx.{name}" for name in RANK}
    return list(dict.fromkeys(sub if sub in files or sub in known_units else start for sub in submodules))


def synthetic(folder: Path, files: dict[str, str]) -> Path:
    """A package that obeys the rules, with `files` laid over it."""
    base = dict.fromkeys(
        [
            *("__init__.py", "errors.py", "spec.py", "registry/__init__.py", "registry/store.py"),
            *("control/__init__.py", "control/submit.py"),
            *("samplers/__init__.py", "samplers/one.py", "samplers/_shared.py", "node/__init__.py", "node/gen.py"),
        ],
        "",
    )
    package = folder / "smx"
    for name, text in {**base, **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package
