"""Videos below a folder, by the paths that benches name them with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smx.errors import UserError

_ENDINGS = {".mp4", ".mkv", ".avi", ".mov", ".webm"}


def videos_below(bench: str, root: Path | None) -> list[str]:
    """`folder/name` of every video below `root`, sorted: the scenes of the dataset `videos`."""
    if root is None or not root.is_dir():
        where = f"{root} is not a folder" if root else "no root is given"
        raise UserError(f"bench {bench}: {where}", "--root FOLDER: the one that holds its questions and videos")
    found = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in _ENDINGS)
    return sorted({path.with_suffix("").as_posix() for path in found if not any(p.startswith(".") for p in path.parts)})


def ids_of(videos: Iterable[str]) -> dict[str, str]:
    """Every end of a path that is one video's alone -> that video: `b`, `a/b` for `videos/a/b`."""
    ends: dict[str, str | None] = {}
    for video in videos:
        parts = video.split("/")
        for at in range(len(parts)):
            end = "/".join(parts[at:])
            ends[end] = None if end in ends and at else video
    return {end: video for end, video in ends.items() if video is not None}
