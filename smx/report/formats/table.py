"""Text for a terminal. Notes that several tables share stand once, below all of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from smx.report.page import Style, page_of
from smx.report.table import Table
from smx.report.text_table import lay_out

ENDINGS = ("", ".txt")
_PROSE = 100  # characters of prose a line, where nothing says how wide the page is


def write(tables: Sequence[Table], style: Style) -> str:
    """Blocks that fit the width, an empty line between them."""
    pages = [page_of(table, style) for table in tables]
    prose = style.width or _PROSE
    parts = []
    for page in pages:
        grid = lay_out(page.rows, page.stubs, page.cols, page.heads, page.body, style.width)
        parts.append("\n".join([page.title, textwrap.fill(page.about, prose), "", *grid]))
    said = dict.fromkeys(note for page in pages for note in page.notes)
    below = "\n".join(textwrap.fill(note, prose, subsequent_indent="   ") for note in said)
    parts += [below] if below else []
    return "\n\n".join(parts) + "\n" if parts else ""
