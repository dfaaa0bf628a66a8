"""What a notebook shows: text as it is, tables and samples as HTML."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from smx.api.frames import frame
from smx.report.formats import render
from smx.report.page import Style
from smx.report.table import Table
from smx.states import BAD, LIVE

if TYPE_CHECKING:
    import pandas as pd

    from smx.sampleset import Sample
    from smx.workspace import Workspace

_STYLE = """
.smx-view { font: 14px/1.45 system-ui, sans-serif; margin: .3rem 0 }
.smx-view table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: auto }
.smx-view caption { text-align: left; font-weight: 600; padding-bottom: .3rem }
.smx-view th, .smx-view td { padding: .15rem .7rem; text-align: left; border-bottom: 1px solid #8884 }
.smx-view .good { color: #1a7f4b } .smx-view .bad { color: #c2372e } .smx-view .live { color: #1f6feb }
.smx-view .muted { opacity: .65 }
"""


class Text(str):
    """Words for people: a prompt and a notebook show them as they are, not as a quoted string."""

    def __repr__(self) -> str:
        return str(self)


class Html(str):
    """Markup that is escaped already."""


class ScoreTable:
    """What `smx report` shows, in whichever form it is wanted."""

    def __init__(self, tables: Sequence[Table], workspace: Workspace) -> None:
        self.tables = tables
        self._style = Style(templates=workspace.root / "templates" / "reports")

    def to_latex(self) -> str:
        """As `smx report --format latex`: needs booktabs."""
        return render(self.tables, "latex", self._style)

    def to_markdown(self) -> str:
        """As `smx report --format md`."""
        return render(self.tables, "md", self._style)

    def to_html(self) -> str:
        """As `smx report --format html`: a page that needs nothing beside it."""
        return render(self.tables, "html", self._style)

    def to_frame(self) -> pd.DataFrame:
        """A row a cell, scores in 0..1, unrounded: as `smx report --format json`. `UserError` without pandas."""
        tables = json.loads(render(self.tables, "json", self._style))["tables"]
        shared = [{k: v for k, v in table.items() if k not in ("rows", "cols", "cells", "sources")} for table in tables]
        return frame([{**own, **cell} for own, t in zip(shared, tables, strict=True) for cell in t["cells"]])

    def __str__(self) -> str:
        return render(self.tables, "table", self._style) or "no scores yet"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        page = self.to_html()
        if not page:
            return html_table([], [], "no scores yet")
        style, body = (re.search(f"<{tag}>(.*)</{tag}>", page, re.DOTALL) for tag in ("style", "body"))
        assert style is not None
        assert body is not None
        # Nested, so that the page's rules hold for the table alone and not for the notebook around it.
        return f'<div class="smx-report"><style>.smx-report {{ {style[1]} }}</style>{body[1]}</div>'


class SampleView:
    """One scene's sample: `record` is its sample.json; a notebook shows its sheet of frames, pairs and map."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    @property
    def record(self) -> dict[str, Any]:
        """What `sample.json` holds."""
        return self.sample.record

    def __repr__(self) -> str:
        record = self.record
        return f"{record['sampler']}, {len(record['ids'])} frames of {record['dataset']}/{record['scene']}"

    def _repr_png_(self) -> bytes:
        from smx.samples.contact_sheet import as_png, sheet_of

        return as_png(sheet_of(self.sample))

    def _repr_html_(self) -> str:
        import base64

        from PIL import Image

        png = self._repr_png_()
        # The sheet is made for a projector: half of its size is what a notebook has room for.
        with Image.open(io.BytesIO(png)) as sheet:
            width = sheet.width // 2
        data = base64.b64encode(png).decode()
        return f'<img alt="{escape(repr(self))}" width="{width}" src="data:image/png;base64,{data}">'


def state_text(state: str) -> Html:
    """A state in its colour."""
    kind = "good" if state == "done" else "live" if state in LIVE else "bad" if state in BAD else "muted"
    return Html(f'<span class="{kind}">{escape(state)}</span>')


def html_table(head: Sequence[Any], body: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A small table; whatever is not `Html` is escaped."""
    top = f"<caption>{escape(caption)}</caption>" if caption else ""
    heads = f"<thead><tr>{''.join(f'<th>{_cell(c)}</th>' for c in head)}</tr></thead>" if head else ""
    rows = "".join(f"<tr>{''.join(f'<td>{_cell(c)}</td>' for c in row)}</tr>" for row in body)
    return f'<div class="smx-view"><style>{_STYLE}</style><table>{top}{heads}<tbody>{rows}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, Html) else escape(str(value))
