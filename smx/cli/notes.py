"""`smx note` and `smx tag`: remember why."""

from __future__ import annotations

from typing import Annotated

import typer


def note(
    run: Annotated[str, typer.Argument(help="Run: its name, or the start of its fingerprint.", show_default=False)],
    text: Annotated[str, typer.Argument(help="What to remember.", show_default=False)],
) -> None:
    """Keep a note on a run; it shows in the ledger and in `smx show`.

    Example: smx note tiny-rooms-uniform-16f-1a2b3c4d "baseline for the paper"
    """
    from smx.cli._common import out, workspace
    from smx.errors import UserError
    from smx.registry.export import append_note
    from smx.registry.store import Registry
    from smx.workspace.provenance import user

    if not text.strip():
        raise UserError("an empty note says nothing")
    space = workspace()
    with Registry.open(space.registry, create=False) as registry:
        row = registry.find(run)
        kept = registry.add_note(row.fingerprint, text, author=user())
        append_note(space.experiments, kept)
    out(f"noted on {row.folder.split('/', 1)[1]}")


def tag(
    run: Annotated[str, typer.Argument(help="Run: its name, or the start of its fingerprint.", show_default=False)],
    tags: Annotated[list[str], typer.Argument(help="Tags to add.", show_default=False)],
    remove: Annotated[bool, typer.Option("--remove", help="Take these tags off instead.")] = False,
) -> None:
    """Tag a run, to find it again with `smx ls --tag`.

    Example: smx tag tiny-rooms-uniform-16f-1a2b3c4d paper baseline
    """
    from smx.cli._common import out, workspace
    from smx.errors import UserError
    from smx.registry.export import append_tags
    from smx.registry.store import Registry

    if not all(tag.strip() for tag in tags):
        raise UserError("an empty tag finds nothing", f"for example smx tag {run} paper")
    space = workspace()
    with Registry.open(space.registry, create=False) as registry:
        row = registry.find(run)
        change = registry.remove_tag if remove else registry.add_tag
        change(row.fingerprint, *tags)
        append_tags(space.experiments, row.fingerprint, tags, remove=remove)
        left = registry.tags(row.fingerprint)
    out(f"{row.folder.split('/', 1)[1]}: {', '.join(left) or 'no tags'}")
