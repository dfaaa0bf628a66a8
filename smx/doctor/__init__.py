"""What this machine and site can do, line by line, each with what to do about it. Looks; changes nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from smx import plugins
from smx.control import hooks
from smx.doctor._downloads import downloads
from smx.doctor._software import software
from smx.errors import UserError, nearest
from smx.finding import Finding, ok, problem, warning
from smx.workspace import Workspace, storage
from smx.workspace.site import Site

_LOOKED_AT = 2000  # run folders whose rights are looked at: a look costs a call to the file server


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Software first, then the workspace and its disks, then what the site file promises."""
    yield from software()
    yield from _registry(workspace)
    try:
        site = workspace.site
    except UserError as error:
        yield problem("site file", error.message, error.hint)
        return  # where runs and samples are, and what executors are given, stands in it
    yield ok("site file", str(workspace.experiments / "site.yaml") if site else "none: the built-in defaults are used")
    yield from _writable(workspace)
    yield from _rights(workspace)
    yield from storage.examine(workspace)
    if site:
        yield from _promised(site)
        yield from _hooks(workspace, site)
    yield from downloads(workspace)
    yield from _executors(workspace)


def _registry(workspace: Workspace) -> Iterator[Finding]:
    from smx.registry.export import quick_check
    from smx.registry.store import Registry

    if not workspace.registry.exists():
        yield ok("registry", "none yet: the first run makes it")
        return
    try:
        with Registry.open(workspace.registry, create=False) as registry:
            damage = quick_check(registry)
            counts = registry.counts()
    except UserError as error:
        yield problem("registry", error.message, error.hint)
        return
    if damage:
        yield problem("registry", f"{workspace.registry} is damaged: {damage[0]}", "smx db rebuild makes it again")
    else:
        yield ok("registry", f"{workspace.registry}, {sum(counts.values())} runs")


def _writable(workspace: Workspace) -> Iterator[Finding]:
    """Tried, not asked: network file systems answer questions about rights in their own way."""
    for place in dict.fromkeys((workspace.root, *_existing(workspace))):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            yield problem("workspace", f"cannot write to {place}: {error.strerror}", "mend its rights, or --workspace")
            return
    how = {"--workspace": "named by --workspace", "SMX_WORKSPACE": "named by SMX_WORKSPACE"}.get(
        workspace.how, workspace.how
    )
    yield ok("workspace", f"{workspace.root}, writable ({how})")


def _existing(workspace: Workspace) -> list[Path]:
    """Where runs and samples are, or will be made."""
    return [next(p for p in (f, *f.parents) if p.exists()) for f in (workspace.runs, workspace.samples)]


def _rights(workspace: Workspace) -> Iterator[Finding]:
    """In a shared workspace: whether its group can go on with what is there."""
    wanted = workspace.site is not None and workspace.site.shared
    if not workspace.shared:
        if wanted:
            owner = f"chmod g+rwxs {workspace.root}"
            yield problem("shared", "the site file shares the workspace, but its folder is not its group's yet", owner)
        return
    closed = [path for path in _looked_at(workspace) if not _open_to_group(path)]
    if closed:
        hint = f"their owners: chmod -R g+rwX {workspace.runs} {workspace.samples}"
        yield warning("shared", f"{len(closed)} places are closed to the group, first {closed[0]}", hint)
    else:
        yield ok("shared", f"with group {_group(workspace.root)}")


def _looked_at(workspace: Workspace) -> list[Path]:
    fixed = [workspace.registry, workspace.experiments, workspace.runs, workspace.samples, workspace.cache]
    runs = sorted(workspace.runs.glob("*/*"))[:_LOOKED_AT]
    return [path for path in (*fixed, *runs) if path.exists()]


def _open_to_group(path: Path) -> bool:
    wanted = 0o070 if path.is_dir() else 0o060
    return path.stat().st_mode & wanted == wanted


def _group(path: Path) -> str:
    try:
        return path.group()
    except KeyError:  # a number without a name
        return str(path.stat().st_gid)


def _promised(site: Site) -> Iterator[Finding]:
    """Folders the site file names."""
    known = {*plugins.names("datasets"), *plugins.names("benches")}
    for name, places in site.data.items():
        if name not in known:
            yield warning("data", f"the site file has a root for {name!r}, which is no dataset or bench here", "")
        halves = {"": places} if isinstance(places, str) else {f" {half}": p for half, p in places if p is not None}
        for half, place in halves.items():
            yield _folder("data", f"{name}{half}", place, "mend `data:` in experiments/site.yaml")
    for name, place in site.checkpoints.items():
        yield _folder("checkpoint", name, place, "mend `checkpoints:` in experiments/site.yaml")


def _hooks(workspace: Workspace, site: Site) -> Iterator[Finding]:
    if site.hooks.on_finished or site.hooks.on_first_failure:
        wrong = hooks.gone_wrong(workspace)
        for line in wrong:
            yield warning("hook", line, "mend `hooks` in experiments/site.yaml")
        if not wrong:
            yield ok("hook", "those that ran did their work")


def _folder(about: str, name: str, place: str, hint: str) -> Finding:
    path = Path(os.path.expandvars(place)).expanduser()
    if not path.exists():
        return problem(about, f"{name}: there is no {path}", hint)
    if not os.access(path, os.R_OK):
        return problem(about, f"{name}: {path} cannot be read", "mend its rights")
    return ok(about, f"{name}: {path}")


def _executors(workspace: Workspace) -> Iterator[Finding]:
    from smx.control.reservations import executor_for

    site = workspace.site
    default = site.executor if site else "inline"
    named = {default, *(site.executors if site else ())}
    names = plugins.names("executors")
    for name in sorted(named - set(names)):
        yield problem("site file", f"unknown executor {name!r}", nearest(name, names))
    for name in names:
        try:
            yield from executor_for(workspace, name)[1].examine(asked=name in named)
        except UserError as error:
            yield problem(name, error.message, error.hint)
    if default in names:
        yield ok("executor", f"{default} where none is named")
