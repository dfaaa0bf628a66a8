"""Where a run's code came from: git commit, uncommitted changes, package versions, who, where, which command."""

from __future__ import annotations

import getpass
import hashlib
import os
import shlex
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import smx
from smx import plugins

# The registry is written by every command; it says nothing about the code.
_NOT_CODE = [":!registry.db"]
_PACKAGES = ["torch", "transformers", "tokenizers", "numpy", "numba", "av", "pillow", "submitit"]


def provenance() -> dict[str, Any]:
    """Plain JSON for an attempt's plan."""
    return {
        **software(),
        "plugins": plugin_digests(),
        "git": git_state(Path(__file__).parent.parent),
        "command": shlex.join(["smx", *sys.argv[1:]]),
        "user": user(),
        "host": socket.gethostname(),
    }


def software() -> dict[str, Any]:
    """Versions of smx, Python and the packages that matter, in this very environment."""
    return {
        "smx": smx.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def plugin_digests() -> dict[str, str]:
    """`samplers/mine.py` -> digest, of the workspace's own plugins and what they share; smx's own are in `git`.

    An installed package's: `samplers/theirs (package 1.2)` -> digest of its file.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in plugins.folders()
        for kind in plugins.CLASS
        for path in (folder / kind).glob("*.py")
    }
    files |= {
        f"{kind}/{name} ({plugin.package})": plugin.path
        for kind in plugins.CLASS
        for name, plugin in plugins.installed(kind)
        if plugin.path.is_file()
    }
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in sorted(files.items())}


def git_state(folder: Path) -> dict[str, Any] | None:
    """`{commit, dirty, diff}` of the checkout smx runs from; None when it is an installed package.

    `diff`: digest of what differs from the commit, files git does not know yet included.
    """
    # An environment may lie inside somebody else's checkout: its commit says nothing about this code.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD", "--", ".", *_NOT_CODE) or ""
    for name in sorted((_git(folder, "ls-files", "--others", "--exclude-standard", "-z") or "").split("\0")):
        if (folder / name).is_file():
            diff += f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"
    return {
        "commit": commit.strip(),
        "dirty": bool(diff),
        "diff": hashlib.sha256(diff.encode()).hexdigest()[:12] if diff else None,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    # GIT_OPTIONAL_LOCKS: asking must not write the index another command is using
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, env=environment, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def user() -> str:
    """Who runs this, as the system names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a uid without a name
        return str(os.getuid())
