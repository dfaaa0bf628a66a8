"""What the walk shows: how much of each frame every piece of furniture covers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from smx.rooms.entities import Piece
from smx.rooms.render import visible
from smx.rooms.scene import RoomScene

SMALL = (80, 60)  # visibility is judged at this resolution
KNOWN = 0.006  # a piece is known if it covers this share of some frame
GLIMPSE = 0.0015  # below this nobody notices it


@dataclass(frozen=True)
class Visible:
    """Visibility of the pieces of one scene. `share` [N, P]: part of frame n that piece p covers."""

    scene: RoomScene
    share: np.ndarray

    @cached_property
    def by_category(self) -> dict[str, list[int]]:
        """Category -> numbers of its pieces."""
        found: dict[str, list[int]] = {}
        for number, piece in enumerate(self.scene.pieces):
            found.setdefault(piece.category, []).append(number)
        return found

    @cached_property
    def single(self) -> list[Piece]:
        """Pieces that are known and the only ones of their category: "the sofa" means one thing."""
        known = self.share.max(axis=0) >= KNOWN
        return [self.scene.pieces[n[0]] for n in self.by_category.values() if len(n) == 1 and known[n[0]]]

    @cached_property
    def counted(self) -> dict[str, int]:
        """Categories with two pieces or more, all of them known, and how many there are."""
        known = self.share.max(axis=0) >= KNOWN
        return {name: len(n) for name, n in self.by_category.items() if len(n) > 1 and known[n].all()}

    @cached_property
    def first(self) -> dict[str, tuple[int, int]]:
        """Category -> (frame of the first glimpse, frame where a piece of it is first plain to see)."""
        found = {}
        for name, numbers in self.by_category.items():
            best = self.share[:, numbers].max(axis=1)
            if best.max() >= KNOWN:
                found[name] = (int(np.argmax(best >= GLIMPSE)), int(np.argmax(best >= KNOWN)))
        return found


def look_through(scene: RoomScene) -> Visible:
    """Visibility over all frames of the walk."""
    small = scene.resized(*SMALL)
    count = len(scene.pieces)
    share = [
        np.bincount(pieces.ravel() + 1, minlength=count + 1)[1:] for pieces in visible(small, range(len(scene.w2c)))
    ]
    return Visible(scene, np.array(share).reshape(-1, count) / (SMALL[0] * SMALL[1]))
