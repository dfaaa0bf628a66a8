"""Help, lists and the ledger answer at once: they load no library that takes seconds.

Each command is run as its own process that afterwards says which heavy libraries it has loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smx

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


def probe(command: str, source: Path, workspace: Path) -> dict[str, object]:
    """Exit code of `smx <command>` from the package in `source`, and the heavy libraries it loaded."""
    environment = {**os.environ, "PYTHONPATH": str(source), "SMX_WORKSPACE": str(workspace)}
    words = [sys.executable, "-c", PROBE, json.dumps(HEAVY), *command.split()]
    done = subprocess.run(words, env=environment, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer
