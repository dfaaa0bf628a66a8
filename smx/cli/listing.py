"""`smx list`: what there is, with one line each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from smx.errors import UserError, unknown

KINDS = ("samplers", "models", "benches", "datasets", "executors", "experiments")


def listing(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.", show_default=False)],
    name: Annotated[str | None, typer.Argument(help="Show the options of this one.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List samplers, models, benches, datasets, executors or experiments; with a name, its options.

    Example: smx list samplers mergeaware_sa
    """
    if kind not in KINDS:
        raise unknown("kind of thing", kind, KINDS)
    if name is not None:
        _details(kind, name, as_json)
        return
    from smx.cli._common import out, out_json, workspace

    space = workspace(quiet=True)
    if kind == "models":
        found = {n: _readable(_model_line, path) for n, path in space.variant_files().items()}
    elif kind == "experiments":
        found = {n: _readable(_described, path) for n, path in space.experiment_files().items()}
    else:
        from smx import plugins

        found = {n: plugins.describe(kind, n) for n in plugins.names(kind)}
    if as_json:
        out_json(found)
        return
    width = max(map(len, found), default=0)
    for key, line in found.items():
        out(f"{key:<{width}}  {line}")
    if not found:
        out("no experiments yet: smx new NAME")


def _readable(line: Callable[[Path], str], path: Path) -> str:
    """`line` of the file, or what is wrong with it and where: one broken file must not hide the others."""
    try:
        return line(path)
    except UserError as error:
        return f"[cannot be read: {error.message}]"


def _draw(stages: list[tuple[str, str]]) -> None:
    """A line per stage from frames to answer, an arrow between them."""
    from smx.cli._common import out

    width = max((len(stage) for stage, _ in stages), default=0)
    for number, (stage, words) in enumerate(stages):
        out(f"  {'' if number == 0 else '-> ':>3}{stage:<{width}}  {words}")
    if stages:
        out("options")


def _model_line(path: Path) -> str:
    from smx import plugins
    from smx.yamlfile import read_yaml

    content = read_yaml(path)
    base = content.get("base", "?")
    own = _instead_of_ours(path)
    if base not in plugins.names("models"):
        spare = f"; {content['stand_in']} stands in where nothing is configured" if content.get("stand_in") else ""
        return f"{content.get('description', '')} [base {base}: not in this version{spare}]{own}"
    return f"{content.get('description') or plugins.describe('models', base)} [base {base}]{own}"


def _instead_of_ours(path: Path) -> str:
    """What tells the lab's own file from the variant of that name that comes with smx, where they differ."""
    from smx.workspace import builtin

    ours = builtin("experiments") / "models" / path.name
    differs = ours.is_file() and ours.read_bytes() != path.read_bytes()
    return f" [yours: {path}; smx's own {path.stem} differs]" if differs else ""


def _described(path: Path) -> str:
    from smx.yamlfile import read_yaml

    return str(read_yaml(path).get("description", ""))


def _details(kind: str, name: str, as_json: bool) -> None:
    from smx import plugins
    from smx.cli._common import out, out_json, workspace
    from smx.spec import Variant
    from smx.workspace import experiment_file
    from smx.yamlfile import read_yaml

    space = workspace(quiet=True)
    if kind == "experiments":
        from smx.resolve.matrix import read, requests

        experiment = read(experiment_file(space, name))
        rows = [request for _, request in requests(experiment)]
        if as_json:
            out_json(rows)
            return
        out(f"{experiment.description}\n{len(rows)} runs in groups {', '.join(experiment.groups)}")
        for row in rows:
            out("  " + ", ".join(f"{k}={v}" for k, v in row.items()))
        return
    if kind == "models":
        files = space.variant_files()
        if name not in files:
            raise unknown("model", name, files, "smx list models")
        content = Variant.parse(read_yaml(files[name]), str(files[name]))
        known = content.base in plugins.names("models")
        resolved = content.resolved() if known else {"base": content.base, **(content.model_extra or {})}
        stages = content.options().pipeline() if known else []
        if as_json:
            out_json({**resolved, **({"pipeline": [{"stage": s, "words": w} for s, w in stages]} if stages else {})})
            return
        out(_model_line(files[name]))
        _draw(stages)
        for key, value in resolved.items():
            out(f"  {key}: {value}")
        return
    cls = plugins.load(kind, name)
    fields = {
        key: {
            "type": str(field.annotation).replace("typing.", ""),
            "default": field.get_default(call_default_factory=True),
        }
        for key, field in cls.model_fields.items()
    }
    if as_json:
        out_json(fields)
        return
    out(plugins.describe(kind, name))
    for key, field in cls.model_fields.items():
        out(f"  {key} = {fields[key]['default']!r}  {field.description or ''}".rstrip())
    if not fields:
        out("  no options")
