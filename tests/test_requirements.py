"""What pyproject.toml promises of smx's requirements: ends that `make test-lowest` and `make test-newest` can reach."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from support import bounds

import smx

PACKAGE = Path(smx.__file__).parent
MODULES = {"pyyaml": "yaml", "pillow": "PIL"}


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


@pytest.mark.parametrize(("name", "floor", "cap"), bounds.declared(), ids=lambda value: str(value))
def test_the_pinned_version_is_within_what_is_promised(name: str, floor: str, cap: str) -> None:
    """Lost otherwise: a version that was never tried is installed, or the tested one is refused."""
    assert floor, f"{name} has no floor"
    assert cap, f"{name} has no cap"
    assert parts(floor) <= parts(bounds.pinned()[name])
    assert parts(bounds.pinned()[name]) < parts(cap)


def test_every_requirement_is_imported() -> None:
    """Lost otherwise: everyone installs what nobody uses."""
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            imported |= {name.partition(".")[0] for name in names}
    declared = {name for name, _, _ in bounds.declared()}
    unused = {name for name in declared if MODULES.get(name, name.replace("-", "_")) not in imported}
    assert unused == set()


def test_lowest_is_every_floor_and_newest_leaves_them_open() -> None:
    """torch and the tools stay: what is tried is smx's own requirements."""
    lowest, newest = (dict(line.split("==") for line in bounds.constraints(end)) for end in bounds.ENDS)
    floors = {name: floor for name, floor, _ in bounds.declared()}
    assert lowest.keys() >= floors.keys()
    assert all(lowest[name] == floor for name, floor in floors.items() if name != "torch")
    assert lowest["torch"] == newest["torch"] == bounds.pinned()["torch"]
    assert newest.keys() & floors.keys() == {"torch"}


def test_links_of_an_index_page_are_absolute_and_lead_somewhere() -> None:
    """Lost otherwise: the README on a package index has dead links, and nobody finds the source."""
    content = tomllib.loads((bounds.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    urls = content["project"]["urls"]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= urls.keys()
    assert all(url.startswith(urls["Homepage"]) for url in urls.values())
    (rule,) = content["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    page = re.sub(rule["pattern"], rule["replacement"], (bounds.REPOSITORY / "README.md").read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", re.sub(r"```.*?```|`[^`\n]*`", "", page, flags=re.DOTALL))
    assert len(links) > 10
    files = [link.removeprefix(f"{urls['Homepage']}/blob/main/") for link in links]
    assert [name for name in files if not (bounds.REPOSITORY / name).exists()] == []


def test_what_git_ignores_is_no_part_of_smx() -> None:
    """Lost otherwise: a folder `samples` of the package is left out of the wheel, as the lab's is of the repository."""
    files = [path.as_posix() for path in PACKAGE.rglob("*") if path.suffix in (".py", ".json", ".typed")]
    asked = ["git", "-C", str(bounds.REPOSITORY), "check-ignore", "--no-index", "--stdin"]
    answer = subprocess.run(asked, input="\n".join(files), capture_output=True, text=True, check=False)
    if answer.returncode == 128:
        pytest.skip("no git checkout")
    assert answer.stdout.splitlines() == []


def test_every_folder_with_modules_is_a_package() -> None:
    """Lost otherwise: a namespace that any other installed package may add to, and no line that says its job."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
