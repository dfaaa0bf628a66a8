"""Weights that lie in the Hugging Face cache of this machine. Nothing is downloaded, and nobody is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from smx.errors import UserError


@dataclass(frozen=True)
class Snapshot:
    """A repository as it was downloaded."""

    folder: Path
    name: str  # repo@revision


def cached(repo: str) -> Snapshot | None:
    """The snapshot of `repo` (a hub id) that its `main` names, or else the newest; None where the cache has none of it.

    `UserError` where one was begun and is not whole: other weights must not serve in its place.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    if not place.is_dir():
        return None
    try:
        folder = Path(snapshot_download(repo, local_files_only=True, cache_dir=place.parent))
    except HFValidationError:
        return None
    except LocalEntryNotFoundError:
        there = sorted(place.glob("snapshots/*"), key=lambda each: each.stat().st_mtime)
        if not there:
            raise _not_whole(repo, place, "no snapshot of it is complete") from None
        folder = there[-1]
    if missing := _missing(folder):
        raise _not_whole(repo, folder, f"{missing} is missing")
    return Snapshot(folder, f"{repo}@{folder.name}")


def _missing(folder: Path) -> str:
    """The first file of a checkpoint that is not there, or whose content is not; "" where all are."""
    listed = {path.name for path in folder.iterdir()} | {"config.json"}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            listed |= set(json.loads(index.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            return index.name
    else:
        listed.add("model.safetensors")
    return next((name for name in sorted(listed) if not (folder / name).exists()), "")


def _not_whole(repo: str, place: Path, why: str) -> UserError:
    hint = f"download it again: hf download {repo}; or give a folder: --checkpoint DIR"
    return UserError(f"{repo} is in the Hugging Face cache only in part: {why} ({place})", hint)
