"""Tables for papers and browsers: every cell where it belongs, and no sign of a name that the page would swallow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from smx.errors import UserError
from smx.report import formats
from smx.report.page import Page
from smx.report.templates import rendered

ODD = "50 % & <b>_{x}\\ #1 ~ ^ | $"
PAGE = Page(
    title="vsibench · scorer official@1",
    about=f"scores × 100; {ODD}",
    rows=["model"],
    cols=["sampler", "frames"],
    stubs=[["tiny"], [ODD]],
    heads=[["no frames", ""], ["mergeaware_sa", "8"], ["mergeaware_sa", "16"], ["sa", "8"]],
    names=["no frames", "mergeaware_sa, 8 frames", "mergeaware_sa, 16 frames", "sa, 8 frames"],
    body=[["", "48.1", "50.2† ± 0.3", "—"], ["28.5", "", "", "failed"]],
    notes=["—: no such run yet"],
)


def latex(page: Page) -> str:
    return rendered("report.tex.j2", [page], None)


def html(pages: list[Page], templates: Path | None = None) -> str:
    return rendered("report.html.j2", pages, templates)


def test_a_latex_table_has_every_cell_in_its_column() -> None:
    """A row with one column too many does not compile; a heading over the wrong columns is a wrong paper."""
    text = latex(PAGE)
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1
    assert r"\begin{tabular}{lrrrr}" in text
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in text.splitlines() if line.endswith(r"\\")]
    wide = [sum(int(m[1]) if (m := re.search(r"\\multicolumn\{(\d+)\}", cell)) else 1 for cell in row) for row in rows]
    assert wide == [5, 5, 5, 5]
    assert r"\multicolumn{2}{c}{mergeaware\_sa}" in text
    assert r"\cmidrule(lr){2-2}\cmidrule(lr){3-4}\cmidrule(lr){5-5}" in text
    assert [cell.strip() for cell in rows[2]] == ["tiny", "", "48.1", r"50.2$^\dagger$ $\pm$ 0.3", "---"]


def test_what_means_something_to_latex_is_said_as_it_is() -> None:
    """A variant named `a_b` or a note with `%` must not break the paper, or vanish from it."""
    text = latex(PAGE)
    bare = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[&%$#_{}]|\$[^$]*\$", "", text)
    assert not re.search(r"[%#_~^|<>]", bare)
    assert r"50 \% \& \textless{}b\textgreater{}\_\{x\}\textbackslash{} \#1" in text


def test_an_html_page_says_what_the_table_says() -> None:
    """Cells and headings are those of the table, and nothing in a name is markup."""
    told = _Cells()
    told.feed(html([PAGE, PAGE]))
    assert told.rows[:4] == [
        ["", "no frames", "mergeaware_sa", "sa"],
        ["model", "", "8", "16", "8"],
        ["tiny", "", "48.1", "50.2† ± 0.3", "—"],
        [ODD, "28.5", "", "", "failed"],
    ]
    assert told.rows[:4] == told.rows[4:]
    assert told.spans[:4] == [1, 1, 2, 1]
    assert "b" not in told.tags


def test_a_lab_restyles_a_report_by_a_template_of_its_own(tmp_path: Path) -> None:
    """Lost otherwise: every table for the lab's paper edited by hand, each time anew."""
    style = '{% extends "shipped/report.html.j2" %}{% block style %}body { color: teal }{% endblock %}'
    (tmp_path / "report.html.j2").write_text(style, encoding="utf-8")
    page = html([PAGE], tmp_path)
    assert "teal" in page
    assert "#1c2530" not in page
    assert page.count("<td>") == 8
    (tmp_path / "report.tex.j2").write_text("<< pages[0].title|tex >> by the lab\n", encoding="utf-8")
    assert rendered("report.tex.j2", [PAGE], tmp_path) == "vsibench $\\cdot$ scorer official@1 by the lab\n"


@pytest.mark.parametrize(
    ("template", "line", "what"),
    [
        ("<p>\n{% for page in pages %}\n{{ page.titel }}\n{% endfor %}\n", 3, "no attribute 'titel'"),
        ("<p>\n{% for page in pages %}\n{{ page.title }\n", 3, "unexpected '}'"),
        ("{% block style %}\n\n\n", 2, "Unexpected end of template"),
        ("{{ pages[0].title.__class__.__mro__ }}", 1, "unsafe"),
        ("\n{{ 1 / 0 }}", 2, "division by zero"),
        ('\n{% include "other.j2" %}', 2, "other.j2"),
    ],
)
def test_a_broken_template_is_named_with_its_line(tmp_path: Path, template: str, line: int, what: str) -> None:
    """Lost otherwise: a traceback through a library, for a slip in a file of the lab's own."""
    path = tmp_path / "report.html.j2"
    path.write_text(template, encoding="utf-8")
    with pytest.raises(UserError) as error:
        html([PAGE], tmp_path)
    assert f"{path}, line {line}: " in error.value.message
    assert what in error.value.message
    assert "report.html.j2" in error.value.hint


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.html.j2").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"report\.html\.j2: UnicodeDecodeError"):
        html([PAGE], tmp_path)


def test_a_format_is_one_file(tmp_path: Path) -> None:
    """Lost otherwise: a new format that the command line refuses, or that no ending of a file finds."""
    shutil.copytree(Path(formats.__file__).parents[2], tmp_path / "smx", ignore=shutil.ignore_patterns("__pycache__"))
    new = tmp_path / "smx" / "report" / "formats" / "titles.py"
    new.write_text('"""Titles."""\nENDINGS = (".titles",)\ndef write(tables, style): return "no titles\\n"\n')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SMX_WORKSPACE": str(tmp_path)}
    for words in (["--format", "titles"], ["-o", "all.titles"]):
        command = [sys.executable, "-m", "smx", "report", *words]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    assert (tmp_path / "all.titles").read_text(encoding="utf-8") == "no titles\n"


def test_every_format_has_an_ending_and_the_default_comes_first() -> None:
    assert formats.names()[0] == "table" == formats.endings()[""]
    assert set(formats.endings().values()) == set(formats.names())


LIGHT = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}")
MISSING = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Missing())
from smx.cli import run
sys.exit(run(sys.argv[2:]))
"""
MISSING = (
    *("torch", "transformers", "accelerate", "safetensors", "tokenizers", "submitit", "sqlite_utils", "pandas"),
    *("numpy", "numba", "scipy", "networkx", "av", "PIL", "pyarrow", "jinja2"),
)


def test_a_light_install_writes_tables_and_says_what_pages_need(tmp_path: Path) -> None:
    """Lost otherwise: `smx report` on a laptop that has typer, rich, pydantic and pyyaml and nothing else."""
    environment = {**os.environ, "SMX_WORKSPACE": str(tmp_path), "PYTHONPATH": str(Path(formats.__file__).parents[3])}
    words = ["report", "--bench", "sqa3d", "--with-published"]

    def light(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIGHT, ",".join(MISSING), *words, *more]
        return subprocess.run(command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True)

    for name in ("table", "csv", "json"):
        assert light("--format", name).returncode == 0, name
    for name in ("html", "latex", "md"):
        refused = light("--format", name)
        assert (refused.returncode, "pip install jinja2" in refused.stderr) == (2, True), refused.stderr


class _Cells(HTMLParser):
    """Rows of a page's tables as texts."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.spans: list[int] = []
        self.tags: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.spans.append(int(dict(attrs).get("colspan") or 1))
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data
