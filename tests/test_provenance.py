"""Where a run's code came from: a commit that is not its own would make a result untraceable."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from smx.workspace.provenance import git_state


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout with a package `smx`."""
    package = tmp_path / "smx"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text(".venv/\n")
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first")):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", tmp_path, *identity, *command], check=True)
    return tmp_path


def test_an_installed_smx_does_not_claim_the_commit_of_the_repository_around_it(checkout: Path) -> None:
    """Lost otherwise: runs of a pip-installed smx carry the commit of the lab's own repository as smx's."""
    installed = checkout / ".venv" / "lib" / "smx"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_state(installed) is None
    assert git_state(checkout / "smx") is not None


def test_a_file_git_does_not_know_makes_another_code_version(checkout: Path) -> None:
    """Lost otherwise: results of a sampler that was never committed look like those of the clean commit."""
    clean = git_state(checkout / "smx")
    assert clean is not None
    assert not clean["dirty"]
    (checkout / "smx" / "sampler.py").write_text("a = 1\n")
    one = git_state(checkout / "smx")
    (checkout / "smx" / "sampler.py").write_text("a = 2\n")
    two = git_state(checkout / "smx")
    assert one is not None
    assert two is not None
    assert one["dirty"]
    assert one["commit"] == two["commit"] == clean["commit"]
    assert one["diff"] != two["diff"]
