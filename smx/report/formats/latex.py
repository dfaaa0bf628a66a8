r"""LaTeX for a paper: a `table` environment for each table. It takes \usepackage{booktabs}."""

from __future__ import annotations

from collections.abc import Sequence

from smx.report.page import Style, page_of
from smx.report.table import Table
from smx.report.templates import rendered

ENDINGS = (".tex",)


def write(tables: Sequence[Table], style: Style) -> str:
    """By the template `report.tex.j2`."""
    return rendered("report.tex.j2", [page_of(table, style) for table in tables], style.templates)
