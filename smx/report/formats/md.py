"""Markdown: a caption, a pipe table whose column headings say all their levels, the notes."""

from __future__ import annotations

from collections.abc import Sequence

from smx.report.page import Page, Style, page_of
from smx.report.table import Table
from smx.report.templates import rendered

ENDINGS = (".md",)


def write(tables: Sequence[Table], style: Style) -> str:
    """By the template `report.md.j2`."""
    return rendered("report.md.j2", [page_of(table, style) for table in tables], style.templates, pipes=pipes)


def pipes(page: Page) -> str:
    """The lines of a pipe table, its columns padded to one width."""
    body = [[*stub, *cells] for stub, cells in zip(page.stubs, page.body, strict=True)]
    lines = [[text.replace("|", "\\|") for text in line] for line in [[*page.rows, *page.names], *body]]
    sizes = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    words = len(page.rows)  # columns of words stand to the left, numbers to the right
    rules = ["-" * size if i < words else "-" * (size - 1) + ":" for i, size in enumerate(sizes)]
    padded = [
        [text.ljust(sizes[i]) if i < words else text.rjust(sizes[i]) for i, text in enumerate(line)] for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (padded[0], rules, *padded[1:]))
