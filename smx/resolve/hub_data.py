"""Benches and datasets that other tools have downloaded to this machine: into the Hugging Face cache, or beside it.

VLMEvalKit and EASI unpack VSI-Bench's zips in the snapshot itself, lmms-eval in a folder of `$HF_HOME`; `hf download`
leaves them as they are. All three are read where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smx import plugins
from smx.errors import UserError
from smx.resolve.hub_cache import download as command
from smx.resolve.hub_cache import snapshot_folder

Half = Literal["questions", "videos"]


@dataclass(frozen=True)
class Published:
    """What a download has left."""

    folder: Path
    name: str  # repo@revision, or the folder


def published(name: str, half: Half) -> Published | None:
    """The questions of a bench, or the scenes of a dataset, as a download left them; None where none did.

    Of several places that hold scenes, the one with most of them. `UserError` where the only one is damaged.
    """
    kind = "benches" if half == "questions" else "datasets"
    if name not in plugins.names(kind):
        return None
    cls = plugins.load(kind, name)
    snapshot = _snapshot(cls.hub) if cls.hub else None
    if half == "questions":
        return snapshot
    places = [snapshot, _beside(cls.below_hf_home) if cls.below_hf_home else None]
    counts, problems = [], []
    for place in filter(None, places):
        try:
            counts.append((len(cls().scenes(place.folder)), place))
        except UserError as error:
            problems.append((place, error))
    if counts:
        return max(counts, key=lambda each: each[0])[1]
    damaged = next((error for place, error in problems if any(place.folder.glob("*.zip"))), None)
    if damaged:
        raise UserError(damaged.message, f"{download(name)} brings it again")
    return None


def download(name: str) -> str:
    """The command that brings a bench or dataset; "" where none is known."""
    for kind in ("benches", "datasets"):
        if name in plugins.names(kind) and (hub := plugins.load(kind, name).hub):
            return command(hub, "dataset")
    return ""


def _snapshot(hub: str) -> Published | None:
    try:
        folder = snapshot_folder(hub, "dataset")
    except UserError:  # begun, and nothing of it is here
        return None
    return Published(folder, f"{hub}@{folder.name}, from the Hugging Face cache") if folder else None


def _beside(part: str) -> Published | None:
    from huggingface_hub import constants

    folder = Path(constants.HF_HOME) / part
    return Published(folder, str(folder)) if folder.is_dir() else None
