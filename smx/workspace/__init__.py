"""Find the workspace: the folder that holds `experiments/`, `registry.db`, `runs/` and `samples/`.

In order: `--workspace`, `SMX_WORKSPACE`, the nearest folder above the current one that is a workspace, else
the current folder with the built-in defaults (and a line that says so).
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from smx import plugins
from smx.atomic_io import expanded
from smx.errors import UserError, nearest, unknown

if TYPE_CHECKING:
    from smx.workspace.site import Site


@dataclass(frozen=True)
class Workspace:
    """Where everything of one lab is. Paths only; nothing is created by looking."""

    root: Path
    how: str  # how it was found: "--workspace", "SMX_WORKSPACE", "found above", "default"

    @property
    def experiments(self) -> Path:
        """What the lab writes: site file, variants, matrices, history."""
        return self.root / "experiments"

    @property
    def registry(self) -> Path:
        """The ledger, one SQLite file."""
        return self.root / "registry.db"

    @cached_property
    def site(self) -> Site | None:
        """`experiments/site.yaml`, or None where there is none."""
        from smx.workspace.site import read

        path = self.experiments / "site.yaml"
        return read(path, self.root) if path.exists() else None

    @cached_property
    def runs(self) -> Path:
        """Run folders; `storage.runs` of the site file, else `runs/` in the workspace."""
        return self._stored("runs")

    @property
    def trash(self) -> Path:
        """Run folders that somebody removed."""
        return self.runs / ".trash"

    @cached_property
    def samples(self) -> Path:
        """Sample sets; `storage.samples` of the site file, else `samples/` in the workspace."""
        return self._stored("samples")

    @property
    def cache(self) -> Path:
        """What can be computed again (voxels per scene). Safe to delete."""
        return self.samples.parent / "cache"

    @property
    def shared(self) -> bool:
        """Whether its folder's group works in it too: setgid, so that all in it is that group's, and writable by it."""
        wanted = stat.S_ISGID | stat.S_IWGRP
        return self.root.stat().st_mode & wanted == wanted

    def variant_files(self) -> dict[str, Path]:
        """Name -> YAML of every model variant; the workspace's own come before the built-in ones."""
        found: dict[str, Path] = {}
        for folder in (self.experiments / "models", builtin("experiments") / "models"):
            for path in sorted(folder.glob("*.yaml")):
                found.setdefault(path.stem, path)
        return dict(sorted(found.items()))

    def experiment_files(self) -> dict[str, Path]:
        """Name -> YAML of every matrix in `experiments/`."""
        found = {p.stem: p for p in sorted(self.experiments.glob("*.yaml")) if p.stem.partition(".")[0] != "site"}
        return dict(sorted(found.items()))

    def require_writable(self, *others: Path) -> None:
        """`UserError` before any work starts in a workspace, or in `others`, that cannot keep its results."""
        for folder in (self.root, self.runs, self.samples, *others):
            place = next(p for p in (folder, *folder.parents) if p.exists())
            if not place.is_dir():
                raise UserError(f"{place} is a file, not a folder", "choose another folder with --workspace")
            if not os.access(place, os.W_OK | os.X_OK):
                raise UserError(
                    f"cannot write to {place}", "choose another folder with --workspace, or mend its rights"
                )

    def require_known_executors(self) -> None:
        """`UserError` where the site file names an executor there is none of: its options would go unread."""
        known, place = plugins.names("executors"), self.experiments / "site.yaml"
        for name in self.site.executors if self.site else ():
            if name not in known:
                raise UserError(f"{place}: unknown key 'executors.{name}'", nearest(name, known, "valid keys"))
        if self.site and self.site.executor not in known:
            raise UserError(f"{place}: unknown executor {self.site.executor!r}", nearest(self.site.executor, known))

    def follow_group(self) -> None:
        """In a shared workspace: what this process and those it starts make is open to whom the folder is open to."""
        if self.shared:
            os.umask(~self.root.stat().st_mode & 0o077)

    def share(self) -> None:
        """Make the places that things are kept in, and open them to the folder's group, where it is to work here.

        That is so when the site file says it, or the folder is shared already. What somebody else owns is left to
        them; `smx doctor` names it.
        """
        if not (self.shared or (self.site is not None and self.site.shared)):
            return
        group = self.root.stat().st_gid
        _open_to(group, self.root)
        self.follow_group()
        for folder in (self.runs, self.samples, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        for path in (self.experiments, self.registry, self.runs, self.samples, self.cache):
            if path.exists():
                _open_to(group, path)

    def _stored(self, kind: str) -> Path:
        place = getattr(self.site.storage, kind) if self.site else None
        return self.root / expanded(os.path.expandvars(place)) if place else self.root / kind


def _open_to(group: int, path: Path) -> None:
    """Let `group` read and write, and have all that is made in a folder be its own; only an owner may."""
    with contextlib.suppress(PermissionError):
        if path.stat().st_gid != group:
            os.chown(path, -1, group)
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | (0o2070 if path.is_dir() else 0o060)
        if mode != wanted:
            path.chmod(wanted)


def open_weights(folder: Path) -> None:
    """Open the weights right in `folder` to whom the folder is: safetensors (0.8) keeps what it writes to its owner."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)


def find(explicit: Path | None = None) -> Workspace:
    """The workspace to use. `UserError` when one is named that does not exist."""
    named = explicit or (Path(expanded(os.environ["SMX_WORKSPACE"])) if os.environ.get("SMX_WORKSPACE") else None)
    if named is not None:
        how = "--workspace" if explicit else "SMX_WORKSPACE"
        if not named.is_dir():
            raise UserError(f"workspace {str(named)!r} ({how}) is not a folder", f"smx init {named}")
        return _opened(named.resolve(), how)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if is_workspace(folder):
            return _opened(folder, "found above")
    return _opened(here, "default")


def is_workspace(folder: Path) -> bool:
    """A folder with a registry, or with variants or a site file of its own under `experiments/`."""
    return (
        (folder / "registry.db").is_file()
        or (folder / "experiments" / "models").is_dir()
        or (folder / "experiments" / "site.yaml").is_file()
    )


def builtin(part: str) -> Path:
    """`experiments` or `templates` as shipped: inside the wheel, else beside the package in a checkout."""
    package = Path(__file__).parent.parent
    packed = package / "_builtin" / part
    return packed if packed.is_dir() else package.parent / part


def experiment_file(workspace: Workspace, given: str) -> Path:
    """A matrix by path or by its name in `experiments/`."""
    path = Path(expanded(given))
    if path.is_file():
        return path
    known = workspace.experiment_files()
    if given in known:
        return known[given]
    raise unknown("experiment", given, known, "smx new NAME copies a template; smx list experiments shows yours")


def _opened(root: Path, how: str) -> Workspace:
    workspace = Workspace(root, how)
    plugins.add_folder(workspace.experiments / "plugins")
    return workspace
