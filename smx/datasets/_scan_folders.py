"""Scenes of a published dataset below a root, and the identity of their files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smx.digests import file_digest, pictures_digest, whole_digest
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


class ReadFiles(NamedTuple):
    """What opening a scene may read, by how much of it counts; files that are not there are left out."""

    ends: Sequence[Path] = ()  # videos, streams of depth: both ends
    whole: Sequence[Path] = ()  # cameras, poses, intrinsics: every byte
    many: Sequence[Path] = ()  # pictures, depth maps, one pose a file: a folder at a time


def inputs_of(files: ReadFiles, base: Path) -> dict[str, str]:
    """File or folder, relative to `base` -> digest."""
    name = _name_below(base)
    inputs = {name(file): file_digest(file) for file in files.ends if file.is_file()}
    inputs |= {name(file): whole_digest(file) for file in files.whole if file.is_file()}
    folders: dict[Path, list[Path]] = {}
    for file in files.many:
        folders.setdefault(file.parent, []).append(file)
    return inputs | {f"{name(folder)}/": pictures_digest(held) for folder, held in folders.items()}


def folder_of(place: Path) -> Path:
    """The folder of a scene that is one, or of its file."""
    return place if place.is_dir() else place.parent


def digest_of(inputs: Mapping[str, Mapping[str, str]]) -> str:
    """SHA-256 over what `BaseDataset.inputs` names, hex."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _name_below(base: Path) -> Callable[[Path], str]:
    # a camera file may lie beside the scenes (KITTI's poses/, Replica's cam_params.json)
    return lambda path: Path(os.path.relpath(path, base)).as_posix()
