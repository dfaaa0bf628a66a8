"""`smx diff`: two runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from smx.cli._filters import Named


def diff(
    a: Named,
    b: Named,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What differs between two runs: spec, data, code, scores, and the items that came out differently.

    Example: smx diff prope-rooms-uniform-16f-1a2b3c4d tiny-rooms-uniform-16f-2b3c4d5e
    """
    from smx.cli._common import out, out_json, registry_as_it_is, workspace
    from smx.cli._following import refresh, width
    from smx.monitor import diff as compare
    from smx.registry.rows import excluded_attempts
    from smx.runfolder import RunFolder

    space = workspace()
    with registry_as_it_is(space) as registry:
        refresh(space, registry)
        rows = [registry.find(name) for name in (a, b)]
        excluded = [excluded_attempts(registry.attempts(row.fingerprint)) for row in rows]
    folders = [RunFolder(space.runs / row.folder) for row in rows]
    found = compare.compare(folders[0], folders[1], (excluded[0], excluded[1]))
    if as_json:
        out_json(found)
    else:
        out("\n".join(compare.lines(found, width())))
