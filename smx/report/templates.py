"""Reports by Jinja templates: those of `templates/reports/`, which a lab restyles in a folder of its own.

A template sees `pages`, the tables in words. One of the lab's may start from the shipped one of any name:
`{% extends "shipped/report.html.j2" %}`. In `*.html.j2` everything is escaped; in `*.tex.j2` commands stand in
`<% … %>`, values in `<< … >>`, comments in `<# … #>`, and the filter `tex` escapes. Templates come from people
who share a workspace, so they run in Jinja's sandbox.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smx.errors import UserError
from smx.report.page import Page
from smx.workspace import builtin

if TYPE_CHECKING:
    from jinja2 import Environment

_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "†": r"$^\dagger$", "±": r"$\pm$"},
    **{"×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "—": "---", "…": r"\dots{}"},
}
# Braces are LaTeX's own: {{{ n }}} is no Jinja, and {% begins a comment to whoever edits the file.
_TEX_SIGNS = {
    **{"block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<"},
    **{"variable_end_string": ">>", "comment_start_string": "<#", "comment_end_string": "#>"},
}


def rendered(name: str, pages: Sequence[Page], folder: Path | None, **filters: Callable[[Page], str]) -> str:
    """`pages` by the template `name`, of `folder` where that has one; empty where there are no pages.

    Raises `UserError` naming file and line of a template that cannot be rendered, or jinja2 where it is missing.
    """
    if not pages:
        return ""
    shipped = builtin("templates") / "reports"
    environment = _environment(name, [folder, shipped] if folder else [shipped], shipped)
    environment.filters |= {"tex": tex, **filters}
    try:
        return environment.get_template(name).render(pages=pages)
    except Exception as error:  # whatever a lab's own template does wrong, it is no bug of smx
        path, line = _place(error, folder / name) if folder else (None, 0)
        if path is None:
            raise
        where = f"{path}, line {line}" if line else str(path)
        hint = f"without that file smx writes as it ships, by {shipped / name}"
        raise UserError(f"{where}: {type(error).__name__}: {error}", hint) from error


def tex(text: object) -> str:
    """`text` with every sign that means something to LaTeX said as it is."""
    return "".join(_TEX.get(sign, sign) for sign in str(text))


def _environment(name: str, folders: Sequence[Path], shipped: Path) -> Environment:
    try:
        from jinja2 import ChoiceLoader, FileSystemLoader, PrefixLoader, StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment
    except ImportError:
        raise UserError(
            "jinja2 is not installed, and templates of reports are written in it",
            "pip install jinja2; or --format table, csv or json, which need nothing",
        ) from None
    loader = ChoiceLoader([*map(FileSystemLoader, folders), PrefixLoader({"shipped": FileSystemLoader(shipped)})])
    return SandboxedEnvironment(
        loader=loader,
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,  # a misspelt name is an error, and not an empty place
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(_TEX_SIGNS if name.endswith(".tex.j2") else {}),
    )


def _place(error: Exception, own: Path) -> tuple[Path | None, int]:
    """Template in the folder of `own`, and its innermost line, that `error` came from; line 0: it cannot be read."""
    if (file := getattr(error, "filename", None)) and (line := getattr(error, "lineno", None)):
        return (Path(file), int(line)) if Path(file).parent == own.parent else (None, 0)  # it cannot be parsed
    frames = [(Path(frame.filename), frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    places = [(path, line) for path, line in frames if path.parent == own.parent]
    if not places and isinstance(error, (PermissionError, UnicodeDecodeError)):
        return own, 0
    return places[-1] if places else (None, 0)
