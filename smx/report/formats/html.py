"""HTML for a browser: all tables on a page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence

from smx.report.page import Style, page_of
from smx.report.table import Table
from smx.report.templates import rendered

ENDINGS = (".html",)


def write(tables: Sequence[Table], style: Style) -> str:
    """By the template `report.html.j2`."""
    return rendered("report.html.j2", [page_of(table, style) for table in tables], style.templates)
