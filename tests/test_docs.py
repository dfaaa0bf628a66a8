"""The pages a user reads are true: commands, help texts, examples, links."""

from __future__ import annotations

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import typer

from smx.cli._commands import COMMANDS

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND_PAGES = REPOSITORY / "docs" / "commands"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", REPOSITORY / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
PAGES = {str(page.relative_to(REPOSITORY)): page for page in generate.pages()}


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    """Lost otherwise: a command nobody finds, or a page about one that is gone."""
    assert {page.stem for page in COMMAND_PAGES.glob("*.md")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_shows_the_help_of_its_command_and_all_below_it(name: str) -> None:
    """Lost otherwise: options that exist and are written down nowhere."""
    module, attribute = COMMANDS[name]
    found = getattr(importlib.import_module(f"smx.cli.{module}"), attribute)
    below = typer.main.get_group(found).commands if isinstance(found, typer.Typer) else {}
    page = (COMMAND_PAGES / f"{name}.md").read_text(encoding="utf-8")
    for path in (name, *(f"{name} {sub}" for sub in below)):
        assert f"<!-- help: smx {path} -->\n" in page, f"docs/commands/{name}.md lacks the help of smx {path}"
    assert page.startswith(f"# smx {name}\n")


@pytest.mark.parametrize("name", PAGES)
def test_help_and_examples_are_what_smx_prints_today(name: str) -> None:
    """Lost otherwise: a reader types what a page shows and gets something else."""
    text = PAGES[name].read_text(encoding="utf-8")
    assert generate.refreshed(text) == text, f"{name} is out of date: make docs, then read what changed"


def test_marks_in_pages_are_understood() -> None:
    """Lost otherwise: a block with a misspelt mark is never checked again."""
    for name, page in PAGES.items():
        text = page.read_text(encoding="utf-8")
        marks = re.findall(r"^<!-- (?:help|file|run|python)\b", text, re.MULTILINE)
        assert len(marks) == len(list(generate.BLOCK.finditer(text))), f"{name}: a mark without a fenced block below it"
        assert len(marks) == text.count("<!--"), f"{name}: a comment that is no mark"


def test_a_changed_output_is_noticed_and_an_ellipsis_stands_for_anything() -> None:
    """Lost otherwise: the comparison above passes whatever smx prints."""
    block = "<!-- run -->\n```console\n$ smx --version\n{}\n```\n"
    stale, open_ended = block.format("smx 0.0.0"), block.format("smx …")
    assert generate.refreshed(stale) != stale
    assert generate.refreshed(open_ended) == open_ended
    assert "Usage: smx gen" in generate.refreshed("<!-- help: smx gen -->\n```text\n```\n")


def test_the_picture_of_imports_is_of_the_code_as_it_is() -> None:
    """Lost otherwise: who comes after trusts arrows of a house that has been rebuilt."""
    assert generate.IMPORTS.read_text(encoding="utf-8") == generate.import_graph(), "make docs"


def test_links_lead_somewhere() -> None:
    """Lost otherwise: a click that ends nowhere. Files and headings within the repository."""
    broken = []
    for name, page in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in _anchors(file)):
                broken.append(f"{name}: {target}")
    assert not broken


def test_pages_name_no_ones_machine() -> None:
    """Lost otherwise: a path or a host that exists for the author only."""
    foreign = re.compile(
        r"(?<![\w.~])/(?:home|root|Users|work|tmp|mnt|scratch)/\w|\b(?:localhost|\d+\.\d+\.\d+\.\d+)\b"
    )
    hosts = {"semver.org", "arxiv.org", "github.com", "huggingface.co"}
    for name, page in PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert not foreign.findall(text), name
        assert set(re.findall(r"https?://([^/\s)>\"']+)", text)) <= hosts, name


def test_the_site_file_in_the_docs_is_the_template() -> None:
    """Lost otherwise: keys that the page shows and the template lacks, or the other way round."""
    template = (REPOSITORY / "templates" / "sites" / "site.example.yaml").read_text(encoding="utf-8")
    page = (REPOSITORY / "docs" / "experiments.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- file: experiments/site.yaml -->\n```yaml\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    assert template.endswith(shown[1])


def test_changelog_lines_are_short_outcomes() -> None:
    """Lost otherwise: a list nobody reads. At most 25 words each."""
    lines = re.findall(r"^- (.*)$", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    assert [line for line in lines if len(line.split()) > 25] == []


def _prose(page: Path) -> str:
    """The page without fenced blocks and code spans."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@cache
def _anchors(page: Path) -> frozenset[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles)
