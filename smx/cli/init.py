"""`smx init`, `smx new`, `smx schema`: a workspace, an experiment file, and what may stand in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new workspace.")] = Path(),
) -> None:
    """Make a workspace: experiments/ with the variants and a site file to fill in, and an empty registry.

    What is there already is left as it is.

    Example: smx init ~/lab
    """
    from smx.cli._common import out

    make_workspace(folder)
    site = folder / "experiments" / "site.example.yaml"
    out(f"workspace {folder.resolve()}")
    out(f"next: copy {site} to site.yaml and say where your data is; or try it as it is: smx -w {folder} gen")


def new(
    name: Annotated[str, typer.Argument(help="Name of the experiment.", show_default=False)],
    template: Annotated[str, typer.Option(help="Which template to copy.")] = "samplers-x-frames",
) -> None:
    """Copy an experiment template to experiments/NAME.yaml.

    Example: smx new my-ablation
    """
    from smx.cli._common import out, workspace
    from smx.errors import UserError, unknown
    from smx.workspace import builtin

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == "site":
        raise UserError(
            f"{name!r} cannot be the name of an experiment", "letters, digits, '.', '_' and '-'; not 'site'"
        )
    templates = {path.stem: path for path in sorted((builtin("templates") / "experiments").glob("*.yaml"))}
    if template not in templates:
        raise unknown("template", template, templates)
    target = workspace().experiments / f"{name}.yaml"
    if target.exists():
        raise UserError(f"{target} is there already", "choose another name, or edit that file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(templates[template], target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}", "mend its rights, or --workspace") from None
    out(f"{target}\nedit it, then: smx run {name} --dry-run")


def schema(
    what: Annotated[
        str | None, typer.Argument(help="experiment, variant, site, gen, train or eval.", show_default="all")
    ] = None,
) -> None:
    """Print the JSON Schema of the YAML files, for editors.

    Example: smx schema experiment > experiment.schema.json
    """
    from smx.cli._common import out_json
    from smx.errors import unknown
    from smx.resolve.matrix import schema as schemas

    found = schemas()
    if what is not None and what not in found:
        raise unknown("kind of file", what, found)
    out_json(found if what is None else found[what])


def make_workspace(folder: Path) -> None:
    """Everything a workspace needs; existing files stay. `UserError` where it cannot be written."""
    from smx.errors import UserError
    from smx.registry.store import Registry
    from smx.workspace import builtin

    models = folder / "experiments" / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        for source in sorted((builtin("experiments") / "models").glob("*.yaml")):
            if not (models / source.name).exists():
                shutil.copyfile(source, models / source.name)
        example = builtin("templates") / "sites" / "site.example.yaml"
        if not (folder / "experiments" / example.name).exists():
            shutil.copyfile(example, folder / "experiments" / example.name)
    except OSError as error:
        raise UserError(f"cannot make a workspace in {folder}: {error.strerror}", "choose another folder") from None
    Registry.open(folder / "registry.db").close()
