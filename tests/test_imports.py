"""Help, lists and the ledger answer at once: they load no library that takes seconds.

Each command is run as its own process that afterwards says which heavy libraries it has loaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import smx
from smx.cli import run
from smx.errors import missing_package

HEAVY = ["torch", "transformers", "pandas", "submitit", "sqlite_utils", "matplotlib", "numba", "scipy", "av", "pyarrow"]
COMMANDS = [
    "--help",
    "--version",
    "list samplers",
    "list models",
    "list benches",
    "list datasets",
    "list executors",
    "ledger",
    "status",
    "status --no-sync",
    "why --help",
    "retry --help",
    "ls",
    "report",
    "report --help",
    "gen --help",
    "eval --help",
]

PROBE = """
import contextlib, io, json, sys
from smx.cli import run
with contextlib.redirect_stdout(io.StringIO()):
    code = run(sys.argv[2:])
print(json.dumps({"code": code, "heavy": [name for name in json.loads(sys.argv[1]) if name in sys.modules]}))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_light_commands_load_nothing_heavy(tmp_path: Path, command: str) -> None:
    """Lost otherwise: seconds of waiting before every line of help, and shell completion nobody can use."""
    assert probe(command, Path(smx.__file__).parent.parent, tmp_path) == {"code": 0, "heavy": []}


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("__init__.py", "--help"),
        ("cli/__init__.py", "--help"),
        ("plugins.py", "list samplers"),
        ("samplers/uniform.py", "list samplers"),
    ],
)
def test_a_heavy_import_on_top_would_be_noticed(tmp_path: Path, file: str, command: str) -> None:
    """The test above bites: it sees `import torch` on top of a file (a plugin is not even loaded by listing)."""
    copy = tmp_path / "copy"
    shutil.copytree(Path(smx.__file__).parent, copy / "smx", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "torch.py").write_text("", encoding="utf-8")  # stands in for the real one: only its name matters
    spoiled = copy / "smx" / file
    text = spoiled.read_text(encoding="utf-8")
    future = "from __future__ import annotations\n"
    spoiled.write_text(
        text.replace(future, f"{future}import torch\n", 1) if future in text else f"{text}import torch\n"
    )
    found = probe(command, copy, tmp_path)
    assert found == {"code": 0, "heavy": [] if file.startswith("samplers/") else ["torch"]}


LIGHT = ("typer", "rich", "pydantic", "pyyaml")
SHOWN_LIGHT = [
    "--help",
    "report",
    "report --format csv",
    "ledger",
    "status",
    "status --no-sync",
    "ls",
    "show chance-rooms",
    "list samplers",
    "list models",
]
# `smx …` where only the light packages are installed, and what came with them.
BLOCKED = """
import sys
names = sys.argv.pop(1).split(",")
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from smx.cli import main
main()
"""


@pytest.fixture(scope="module")
def lab_with_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which something was evaluated."""
    folder = tmp_path_factory.mktemp("lab")
    scenes = ("--set", "bench_options.scenes=1", "--set", "bench_options.train_scenes=1")
    assert run(["-w", str(folder), "eval", "--model", "chance", "--bench", "rooms", *scenes]) == 0
    return folder


@pytest.mark.parametrize("command", SHOWN_LIGHT)
def test_a_light_install_shows_what_there_is(lab_with_a_run: Path, command: str) -> None:
    """Lost otherwise: gigabytes of torch on a laptop that is only to read the lab's table."""
    shown = light(lab_with_a_run, command)
    assert shown.returncode == 0, shown.stderr
    assert command.split()[0] in ("--help", "ledger", "status", "list") or "chance" in shown.stdout


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("gen --sampler uniform --frames 4", "numpy"),
        ("db export out", "sqlite-utils"),
    ],
)
def test_what_a_light_install_lacks_is_named(lab_with_a_run: Path, command: str, package: str) -> None:
    """Lost otherwise: a traceback that asks to be reported, for something that only has to be installed."""
    shown = light(lab_with_a_run, command)
    assert shown.returncode == 2, shown.stderr
    assert f"error: this needs {package}, which is not installed\n" in shown.stderr
    assert f"an install of smx without --no-deps brings it; or alone: pip install '{package}" in shown.stderr


def test_an_extra_is_named_where_it_brings_the_package() -> None:
    """flash-attn is in no ordinary install; and a module of nobody's requirements is a bug."""
    needed = missing_package(ModuleNotFoundError("No module named 'flash_attn.ops'", name="flash_attn.ops"))
    assert needed is not None
    assert needed.hint.startswith("the extra smx[flash] brings it; or alone: pip install 'flash-attn")
    assert missing_package(ModuleNotFoundError("No module named 'smx.nothing'", name="smx.nothing")) is None


def light(workspace: Path, command: str) -> subprocess.CompletedProcess[str]:
    """`smx COMMAND` where none of smx's requirements but the light ones can be imported."""
    project = tomllib.loads((Path(smx.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = [re.split(r"[^\w.-]", requirement)[0] for requirement in project["dependencies"]]
    modules = [{"pillow": "PIL"}.get(name, name.replace("-", "_")) for name in packages if name not in LIGHT]
    environment = {**os.environ, "SMX_WORKSPACE": str(workspace)}
    words = [sys.executable, "-c", BLOCKED, ",".join(modules), *command.split()]
    return subprocess.run(words, env=environment, cwd=workspace, capture_output=True, text=True, check=False)


def probe(command: str, source: Path, workspace: Path) -> dict[str, object]:
    """Exit code of `smx <command>` from the package in `source`, and the heavy libraries it loaded."""
    environment = {**os.environ, "PYTHONPATH": str(source), "SMX_WORKSPACE": str(workspace)}
    words = [sys.executable, "-c", PROBE, json.dumps(HEAVY), *command.split()]
    done = subprocess.run(words, env=environment, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer
