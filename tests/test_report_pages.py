"""Tables for papers and browsers: every cell where it belongs, and no sign of a name that the page would swallow."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from smx.report.latex_html import Page, html, latex

ODD = "50 % & <b>_{x}\\ #1 ~ ^ | $"
PAGE = Page(
    title="vsibench · scorer official@1",
    about=f"scores × 100; {ODD}",
    rows=["model"],
    cols=["sampler", "frames"],
    stubs=[["tiny"], [ODD]],
    heads=[["no frames", ""], ["mergeaware_sa", "8"], ["mergeaware_sa", "16"], ["sa", "8"]],
    body=[["", "48.1", "50.2† ± 0.3", "—"], ["28.5", "", "", "failed"]],
    notes=["—: no such run yet"],
)


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
