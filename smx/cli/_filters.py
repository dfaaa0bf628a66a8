"""The options that choose runs, shared by every command that lists or acts on several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from smx.errors import UserError, unknown

Kind = Annotated[str | None, typer.Option(help="gen, train or eval; several with commas.")]
Model = Annotated[str | None, typer.Option(help="Variant.")]
Sampler = Annotated[str | None, typer.Option(help="Sampler.")]
Frames = Annotated[str | None, typer.Option(help="Frames per scene.")]
Bench = Annotated[str | None, typer.Option(help="Benchmark.")]
State = Annotated[str | None, typer.Option(help="State: done, failed, partial, running …")]
Since = Annotated[str | None, typer.Option(help="Made or tried again since: 2026-02-13, 7d or 24h.")]
Tag = Annotated[str | None, typer.Option(help="Tag.")]

_NAMES = "its name, the start of it or of its fingerprint, or last, last~1, failed."
Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN", help=f"Each by {_NAMES}")]
Named = Annotated[str, typer.Argument(metavar="RUN", help=f"By {_NAMES}", show_default=False)]


def filters(
    *,
    kind: str | None = None,
    model: str | None = None,
    sampler: str | None = None,
    frames: str | None = None,
    bench: str | None = None,
    state: str | None = None,
    since: str | None = None,
    tag: str | None = None,
) -> dict[str, Any]:
    """Those given, as `Registry.runs` takes them: lists of choices. `UserError` for what cannot be."""
    given = {"kind": kind, "variant": model, "sampler": sampler, "frames": frames, "bench": bench, "state": state}
    found: dict[str, Any] = {name: _choices(text) for name, text in {**given, "tag": tag}.items() if text is not None}
    for name, choices in {**found, "since": since is None or since.strip()}.items():
        if not choices:  # from an unset variable in a script: `smx cancel --all --tag "$TAG"` must not mean all runs
            option = f"--{'model' if name == 'variant' else name}"
            raise UserError(f"{option} is empty", f"name one, or leave {option} away for all")
    _check("kind", found.get("kind", ()), ("gen", "train", "eval"))
    if "state" in found:
        from smx.states import RunState

        _check("state", found["state"], tuple(RunState))
    if "frames" in found:
        from smx.cli._launch import integers

        found["frames"] = integers(frames or "", "frames")
    if since:
        from datetime import UTC, datetime

        from smx.registry.ledger import since_date

        # A day here, as the registry's stamps have it.
        found["since"] = datetime.fromisoformat(since_date(since)).astimezone(UTC).isoformat()[:19]
    return found


def attempt_of(text: str) -> tuple[str, int | None]:
    """`RUN#2` -> (RUN, 2); without `#`, None."""
    run, sign, number = text.rpartition("#")
    if not sign:
        return text, None
    if not number.isdigit():
        raise UserError(f"{text!r}: after # comes the number of an attempt", f"for example {run}#1")
    return run, int(number)


def _choices(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check(what: str, given: Iterable[str], valid: tuple[str, ...]) -> None:
    for name in given:
        if name not in valid:
            raise unknown(what, name, valid)
