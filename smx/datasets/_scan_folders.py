"""Scenes of a published dataset below a root, and the identity of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from smx.digests import file_digest
from smx.errors import UserError, unknown


def children(places: Iterable[Path]) -> Iterable[Path]:
    """What lies in those folders that are there, hidden names left out, in order."""
    for place in places:
        if place.is_dir():
            yield from sorted(child for child in place.iterdir() if not child.name.startswith("."))


def need_root(root: Path | None, dataset: str, looked_for: str) -> Path:
    """`root`, or `UserError` where none is given or it is no folder."""
    if root is None or not root.is_dir():
        where = "no root is given" if root is None else f"{root} is not a folder"
        raise UserError(f"dataset {dataset}: {where}", f"--root FOLDER; {looked_for}")
    return root


def need_scenes(found: dict[str, Path], root: Path, dataset: str, looked_for: str) -> dict[str, Path]:
    """`found`, or `UserError` where it is empty."""
    if not found:
        raise UserError(f"dataset {dataset}: no scene under {root}", looked_for)
    return found


def the_one(found: dict[str, Path], scene_id: str, looked_for: str) -> Path:
    """Place of one scene. `UserError` with the closest names where it is not there."""
    if scene_id not in found:
        raise unknown("scene", scene_id, found, looked_for)
    return found[scene_id]


def digest_of(
    found: dict[str, Path], files: Callable[[Path], tuple[list[Path], list[Path]]], scenes: Sequence[str] | None
) -> str:
    """SHA-256 over the scenes' files, hex. `files` gives (files whose heads and tails count, whose sizes do)."""
    hashed = hashlib.sha256()
    for scene in sorted(found if scenes is None else set(scenes) & found.keys()):
        whole, sized = files(found[scene])
        listed = [(file, file_digest(file)) for file in whole if file.is_file()]
        listed += [(file, str(file.stat().st_size)) for file in sized]
        for file, identity in sorted(listed):
            inside = file.relative_to(found[scene]).as_posix() if found[scene].is_dir() else file.suffix
            hashed.update(f"{scene}\0{inside}\0{identity}\n".encode())
    return hashed.hexdigest()
