"""A table for a paper (LaTeX with booktabs) and for a browser (HTML that needs nothing beside it)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "†": r"$^\dagger$", "±": r"$\pm$"},
    **{"×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "—": "---", "…": r"\dots{}"},
}

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2530; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 0 0 .6rem; font-variant-numeric: tabular-nums }
section { margin-bottom: 2.4rem } h2 { font-size: 1rem; margin: 0 } p { color: #6b7785; margin: 0 0 .5rem }
th, td { padding: .2rem .7rem; white-space: nowrap } td { text-align: right } th { text-align: left; font-weight: 600 }
thead th[colspan] { text-align: center; border-bottom: 1px solid #c6ccd3 } thead th.last { text-align: right }
thead tr:last-child th { border-bottom: 2px solid #1c2530 } ul { color: #6b7785; margin: 0; padding-left: 1rem }
""".strip()


class Page(NamedTuple):
    """One table in words."""

    title: str
    about: str  # in a line: what its numbers are
    rows: Sequence[str]  # names of the row axes
    cols: Sequence[str]  # names of the column axes
    stubs: Sequence[Sequence[str]]  # of each row: its values of the row axes
    heads: Sequence[Sequence[str]]  # of each column: its values of the column axes, outermost first
    body: Sequence[Sequence[str]]  # cells by row and column
    notes: Sequence[str]  # what its signs mean

    def levels(self) -> Iterator[list[tuple[str, int]]]:
        """Of each level of headings: (heading, columns it stands over), from left to right. Innermost last."""
        for level in range(len(self.cols) - 1):
            spans = [list(columns) for _, columns in groupby(self.heads, key=lambda head: tuple(head[: level + 1]))]
            yield [(columns[0][level], len(columns)) for columns in spans]
        yield [(head[-1] if head else "score", 1) for head in self.heads]


def latex(page: Page) -> str:
    r"""A `table` environment. It takes \usepackage{booktabs}."""
    first = len(page.rows)
    lines = [r"\begin{table}[t]", r"\centering", rf"\caption{{{_tex(page.title)}: {_tex(page.about)}.}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * first}{'r' * len(page.heads)}}}", r"\toprule"]
    *upper, last = page.levels()
    for level in upper:
        spans = [rf"\multicolumn{{{size}}}{{c}}{{{_tex(text)}}}" for text, size in level]
        lines.append(_row([*[""] * first, *spans]))
        begin, rules = first + 1, []
        for text, size in level:
            if text:
                rules.append(rf"\cmidrule(lr){{{begin}-{begin + size - 1}}}")
            begin += size
        lines.append("".join(rules))
    lines += [_row([*map(_tex, page.rows), *(_tex(text) for text, _ in last)]), r"\midrule"]
    for stub, cells in zip(page.stubs, page.body, strict=True):
        lines.append(_row(map(_tex, [*stub, *cells])))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\footnotesize {_tex(note)}}}" for note in page.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def html(pages: Sequence[Page]) -> str:
    """A whole document."""
    title = escape(pages[0].title if len(pages) == 1 else "smx report")
    top = f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
    inside = "\n".join(line for page in pages for line in _html(page))
    return f"{top}\n<style>\n{_STYLE}\n</style></head>\n<body>\n{inside}\n</body>\n</html>\n"


def _html(page: Page) -> Iterator[str]:
    yield f"<section>\n<h2>{escape(page.title)}</h2>\n<p>{escape(page.about)}</p>\n<table>\n<thead>"
    *upper, last = page.levels()
    corner = "<th></th>" * len(page.rows)
    for level in upper:
        spans = "".join(f'<th colspan="{size}">{escape(text)}</th>' for text, size in level)
        yield f"<tr>{corner}{spans}</tr>"
    named = "".join(f"<th>{escape(name)}</th>" for name in page.rows)
    heads = "".join(f'<th class="last">{escape(text)}</th>' for text, _ in last)
    yield f"<tr>{named}{heads}</tr>\n</thead>\n<tbody>"
    for stub, cells in zip(page.stubs, page.body, strict=True):
        names = "".join(f'<th scope="row">{escape(name)}</th>' for name in stub)
        yield f"<tr>{names}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    yield "</tbody>\n</table>"
    if page.notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in page.notes)}</ul>"
    yield "</section>"


def _row(cells: Iterator[str] | Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
