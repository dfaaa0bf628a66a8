"""`smx init`, `smx new`, `smx schema`: a workspace, a file to edit in it, and what may stand in such files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

NAMES = "letters, digits, '.', '_' and '-'; no experiment is called 'site'"
EXPERIMENT = "samplers-x-frames"  # the template of `smx new` where none is named


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new workspace.")] = Path(),
    slurm: Annotated[bool, typer.Option("--slurm", help="Write the site file of this SLURM cluster, too.")] = False,
) -> None:
    """Make a workspace: experiments/ with site files to fill in (this machine's, a cluster's), and an empty registry.

    What is there already is left as it is. Variants that come with smx are found without a copy. With --slurm, on a
    login node, experiments/site.yaml is written from what scontrol and sacctmgr say of partitions, GPUs and accounts.

    Example: smx init ~/lab; smx init --slurm ~/lab
    """
    from smx.cli._common import out

    text = _site_file(folder / "experiments" / "site.yaml") if slurm else ""
    make_workspace(folder)
    out(f"workspace {folder.resolve()}")
    if slurm:
        write_site(folder / "experiments" / "site.yaml", text)
        out(f"next: smx -w {folder} doctor, and say in that file where your data is")
        return
    out(f"next: copy site.example.yaml or, for a cluster, site.slurm.yaml to site.yaml in {folder / 'experiments'}")
    out(f"and say where your data is; or try it as it is: smx -w {folder} gen")


def new(
    name: Annotated[
        str | None, typer.Argument(help="Name of the experiment or, with --model, variant.", show_default="MODEL")
    ] = None,
    template: Annotated[str | None, typer.Option(help="Which experiment to copy.", show_default=EXPERIMENT)] = None,
    model: Annotated[
        str | None, typer.Option(help="Copy this model variant instead, to experiments/models/NAME.yaml.")
    ] = None,
) -> None:
    """Copy an experiment template to experiments/NAME.yaml or, with --model, a variant to experiments/models/.

    Example: smx new my-ablation
    """
    from smx.cli._common import out, workspace
    from smx.errors import UserError, unknown
    from smx.workspace import builtin

    if model is not None and template is not None:
        raise UserError("--model copies a variant, --template an experiment", "give one of them")
    space = workspace(quiet=model is not None)
    if model is not None:
        sources, what, name = space.variant_files(), "model", name or model
        folder, then = space.experiments / "models", f"edit it, then: smx list models {name}"
    elif name is None:
        raise UserError("the new experiment has no name", "smx new NAME, or smx new --model MODEL for a variant")
    else:
        sources = {path.stem: path for path in sorted((builtin("templates") / "experiments").glob("*.yaml"))}
        what, folder, then = "template", space.experiments, f"edit it, then: smx run {name} --dry-run"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or (model is None and name.partition(".")[0] == "site"):
        raise UserError(f"{name!r} cannot be the name of {'a variant' if model else 'an experiment'}", NAMES)
    source = model or template or EXPERIMENT
    if source not in sources:
        raise unknown(what, source, sources)
    target = folder / f"{name}.yaml"
    if target.exists():
        raise UserError(f"{target} is there already", "choose another name, or edit that file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources[source], target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}", "mend its rights, or --workspace") from None
    out(f"{target}\n{then}")


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


def write_site(path: Path, text: str = "") -> None:
    """Write the site file of the cluster that this is. `UserError` where there is none, or a site file already."""
    from smx.cli._common import out
    from smx.errors import UserError

    text = text or _site_file(path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", "mend its rights, or --workspace") from None
    out(f"site file {path}: read it once, it says what was found")


def _site_file(path: Path) -> str:
    """Its text; asked for before anything is written."""
    from smx import plugins
    from smx.errors import UserError
    from smx.executors import BaseExecutor

    if path.exists():
        raise UserError(f"{path} is there already", "move it away first: it is yours, and is not written over")
    executor: BaseExecutor = plugins.load("executors", "slurm").parse({}, "executor slurm")
    return executor.site_file()


def make_workspace(folder: Path) -> None:
    """Everything a workspace needs; existing files stay. `UserError` where it cannot be written."""
    from smx.errors import UserError
    from smx.registry.store import Registry
    from smx.workspace import builtin

    experiments = folder / "experiments"
    try:
        (experiments / "models").mkdir(parents=True, exist_ok=True)  # the lab's own variants, none yet
        for template in sorted((builtin("templates") / "sites").glob("*.yaml")):
            if not (experiments / template.name).exists():
                shutil.copyfile(template, experiments / template.name)
    except OSError as error:
        raise UserError(f"cannot make a workspace in {folder}: {error.strerror}", "choose another folder") from None
    Registry.open(folder / "registry.db").close()
