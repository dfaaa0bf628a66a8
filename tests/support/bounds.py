"""The ends of what pyproject.toml allows, as constraints for pip: `python tests/support/bounds.py lowest`.

lowest: each requirement at its floor; what these need in turn as new as it may be. newest: as pip resolves by itself.
In both, torch and what runs the tests are as constraints.txt pins them. tools: the names of the latter.
Standard library only: it is run by an environment in which nothing is installed yet.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENDS = ("lowest", "newest")
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "accelerate")


def main(end: str) -> None:
    """Print the lines."""
    sys.stdout.write("".join(f"{line}\n" for line in (TOOLS if end == "tools" else constraints(end))))


def constraints(end: str) -> list[str]:
    """`name==version` lines; `end` is one of ENDS."""
    pins = pinned()
    fixed = {name: pins[name] for name in ("torch", *TOOLS)}
    floors = {name: floor for name, floor, _ in declared()} if end == "lowest" else {}
    return [f"{name}=={version}" for name, version in (floors | fixed).items()]


def declared(extra: str = "") -> list[tuple[str, str, str]]:
    """(name, floor, cap) of every requirement of smx, or of one of its extras; "" for none."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [_parsed(line) for line in (project["optional-dependencies"][extra] if extra else project["dependencies"])]


def pinned() -> dict[str, str]:
    """Name -> version of constraints.txt."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _parsed(requirement: str) -> tuple[str, str, str]:
    name = re.split(r"[^\w.-]", requirement)[0]
    floor, cap = re.search(r">=([\w.]+)", requirement), re.search(r"<([\w.]+)", requirement)
    return name, floor[1] if floor else "", cap[1] if cap else ""


if __name__ == "__main__":
    if sys.argv[1:] not in [[end] for end in (*ENDS, "tools")]:
        sys.exit(f"usage: bounds.py {' | '.join(ENDS)} | tools")
    main(sys.argv[1])
