"""Pairing frames with neighbours in time: the rule of `mergeaware_uniform`, also used to fill `mergeaware_sa`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from smx.errors import SceneError
from smx.samplers._common import spread

_DRAWS = 10_000  # offsets drawn at most: frames may be numbered by the nanosecond, and hardly any number is one


class Pair(NamedTuple):
    """Two frames that will be merged, ascending, each with whether it only fills up."""

    ids: tuple[int, int]
    fill: tuple[bool, bool]


Pick = Callable[[int, np.ndarray], int | None]  # (anchor, free frames within the window) -> partner


def pairs_around_anchors(frame_ids: np.ndarray, count: int, window: int, pick: Pick) -> list[Pair]:
    """`count` disjoint pairs: anchors spread evenly over `frame_ids`, each with a partner within ±`window` ids.

    Anchors are reserved first. Where `pick` finds no partner, the nearest unused frame (ties to the lowest)
    is taken and flagged as fill. Pairs come by first id.
    """
    if len(frame_ids) < 2 * count:
        raise SceneError(f"{len(frame_ids)} frames cannot make {count} disjoint pairs")
    anchors = frame_ids[spread(len(frame_ids), count)]
    free = np.setdiff1d(frame_ids, anchors)
    pairs = []
    for anchor in map(int, anchors):
        near = free[np.abs(free - anchor) <= window]
        partner = pick(anchor, near) if len(near) else None
        filled = partner is None
        if partner is None:
            partner = int(free[np.argmin(np.abs(free - anchor))])
        free = free[free != partner]
        pairs.append(
            Pair((anchor, partner), (False, filled)) if anchor < partner else Pair((partner, anchor), (filled, False))
        )
    return sorted(pairs)


def random_partner(rng: np.random.Generator, window: int) -> Pick:
    """Offsets ±1..window drawn again until one hits a free frame; where none does, one of those is drawn, as likely."""

    def pick(anchor: int, near: np.ndarray) -> int:
        hits = set(near.tolist())
        for _ in range(_DRAWS):
            drawn = int(rng.integers(2 * window)) - window
            partner = anchor + drawn + (drawn >= 0)  # 0 is no offset
            if partner in hits:
                return partner
        return int(near[rng.integers(len(near))])

    return pick


def widened(window: int, spacing: float) -> int:
    """`window`, or the spacing of the frames when they lie farther apart than that."""
    return max(window, int(np.ceil(spacing)))


def raw_step(frame_ids: np.ndarray) -> float:
    """Usual distance of neighbouring frame ids (1 for a video, 10 when every tenth frame was kept)."""
    return float(np.median(np.diff(frame_ids))) if len(frame_ids) > 1 else 1.0
