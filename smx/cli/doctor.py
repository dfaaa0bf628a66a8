"""`smx doctor`: what this machine and site can do."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    site: Annotated[bool, typer.Option("--write-site", help="First write this SLURM cluster's site file.")] = False,
) -> None:
    """Check python, torch, GPU, workspace, disks, site file and cluster: each line says how to mend what is wrong.

    Exit code 1 where there is a problem. Nothing is changed or submitted; only with --write-site, and where there is
    none yet, experiments/site.yaml is written from what scontrol and sacctmgr say.

    Example: smx doctor
    """
    import dataclasses

    from smx.cli._common import counted, out, out_json, say, workspace
    from smx.doctor import examine

    space = workspace(forgiving=True)
    if site:
        from smx.cli.init import write_site

        write_site(space.experiments / "site.yaml")
        space = workspace(forgiving=True)
    found = []
    for finding in examine(space):
        found.append(finding)
        if not as_json:
            out(f"{finding.level:<8} {finding.about:<12} {finding.text}")
            for line in finding.hint.splitlines() if finding.level != "ok" else ():
                out(f"{'':<8} {'':<12} -> {line}")
    problems = sum(finding.level == "problem" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    if as_json:
        out_json([dataclasses.asdict(finding) for finding in found])
    elif problems or warnings:
        say(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
    else:
        say("all is well")
    if problems:
        raise typer.Exit(1)
