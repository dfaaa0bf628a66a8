"""`smx mark`: say which attempts count."""

from __future__ import annotations

from typing import Annotated, Any

import typer

MARKS: dict[str, Any] = {"doubtful": "doubtful", "excluded": "excluded", "none": None}


def mark(
    run: Annotated[
        str, typer.Argument(metavar="RUN[#ATTEMPT]", help="A run; its attempt that counts.", show_default=False)
    ],
    as_what: Annotated[str, typer.Argument(metavar="doubtful|excluded|none", show_default=False)],
) -> None:
    """Mark an attempt: doubtful shows as ? in tables; excluded counts in none; none takes the mark off.

    Example: smx mark prope-vsibench-sa-16f-1a2b3c4d#2 excluded
    """
    from smx.cli._common import out, workspace
    from smx.cli._filters import attempt_of
    from smx.control.mark import mark as mark_attempt
    from smx.errors import unknown

    if as_what not in MARKS:
        raise unknown("mark", as_what, MARKS)
    name, number = attempt_of(run)
    now, attempt = mark_attempt(workspace(), name, MARKS[as_what], attempt=number)
    text = f"is {as_what}" if MARKS[as_what] else "has no mark"
    out(f"{now.title}: attempt {attempt} {text}; {now.done}/{now.items or '?'} items count")
