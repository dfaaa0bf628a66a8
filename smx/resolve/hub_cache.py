"""Snapshots that lie in the Hugging Face cache of this machine. Nothing is downloaded, and nobody is asked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smx.errors import UserError

Kind = Literal["model", "dataset"]
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_OPTION = {"model": "", "dataset": " --repo-type dataset"}


@dataclass(frozen=True)
class Snapshot:
    """A repository as it was downloaded."""

    folder: Path
    name: str  # repo@revision
    blobs: dict[str, str] = field(default_factory=dict)  # file of weights -> the digest that the hub gave it


def is_hub_id(text: str) -> bool:
    """Whether this is written as a hub id, `owner/name` or `owner/name@revision`."""
    return _ID.fullmatch(text) is not None


def cached(repo: str) -> Snapshot | None:
    """The snapshot of a model, `owner/name[@revision]`; None where the cache has none of that repository.

    Without a revision it is the one that `main` names, or else the newest. `UserError` where it was begun and is not
    whole, or the revision is not among those that are here: other weights must not serve in its place.
    """
    folder = snapshot_folder(repo)
    if folder is None:
        return None
    if missing := _missing(folder):
        raise _not_whole(repo, folder, f"{missing} is missing")
    return of_folder(folder)


def of_folder(folder: Path) -> Snapshot | None:
    """What a folder is a snapshot of, by where it lies; None where it is in no such cache."""
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    blobs = {
        file.name: file.resolve().name
        for file in sorted(folder.glob("*.safetensors"))
        if file.is_symlink() and file.resolve().parent.name == "blobs"
    }
    return Snapshot(folder, f"{repository.removeprefix('models--').replace('--', '/', 1)}@{folder.name}", blobs)


def snapshot_folder(repo: str, kind: Kind = "model") -> Path | None:
    """The folder of `owner/name[@revision]`, whole or not; None where the cache has nothing of that repository.

    A revision is a branch, a tag, or a commit or the beginning of one. `UserError` for one that is not here.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.file_download import repo_folder_name

    identity, _, revision = repo.partition("@")
    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=identity, repo_type=kind)
    if not place.is_dir():
        return None
    there = sorted(place.glob("snapshots/*"), key=lambda each: each.stat().st_mtime)
    if len(begun := [each for each in there if revision and each.name.startswith(revision)]) == 1:
        return begun[0]
    try:
        found = snapshot_download(
            identity, repo_type=kind, revision=revision or None, local_files_only=True, cache_dir=place.parent
        )
        return Path(found)
    except HFValidationError:
        return None
    except LocalEntryNotFoundError:
        if revision and there:
            known = sorted(ref.name for ref in place.glob("refs/*") if ref.is_file())
            names = ", ".join([*known, *(each.name[:12] for each in there)])
            raise UserError(
                f"{identity} is in the Hugging Face cache, but not at revision {revision!r}",
                f"here: {names}; {download(repo, kind)} brings the other",
            ) from None
        if not there:
            raise _not_whole(repo, place, "no snapshot of it is complete", kind) from None
        return there[-1]


def download(repo: str, kind: Kind = "model") -> str:
    """The one command that brings `owner/name[@revision]`."""
    identity, _, revision = repo.partition("@")
    return f"hf download {identity}{_OPTION[kind]}{f' --revision {revision}' if revision else ''}"


def absent(repo: str) -> UserError:
    """For a hub id that the cache has nothing of."""
    return UserError(
        f"{repo} is not on this machine: not in the Hugging Face cache, and no folder or train run is called so",
        f"{download(repo)}   (downloads it; smx does not), or in experiments/site.yaml:  checkpoints: {{{repo}: DIR}}",
    )


def _missing(folder: Path) -> str:
    """The first file of a checkpoint that is not there, or whose content is not; "" where all are."""
    listed = {path.name for path in folder.iterdir()}
    if "adapter_config.json" in listed and "config.json" not in listed:
        listed.add("adapter_model.safetensors")
    else:
        listed |= {"config.json", *_weights(folder)}
    return next((name for name in sorted(listed) if not (folder / name).exists()), "")


def _weights(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return {"model.safetensors"}
    try:
        return set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        return {f"a readable {index.name}"}


def _not_whole(repo: str, place: Path, why: str, kind: Kind = "model") -> UserError:
    hint = f"download it again: {download(repo, kind)}; or give a folder: --checkpoint DIR"
    return UserError(f"{repo} is in the Hugging Face cache only in part: {why} ({place})", hint)
