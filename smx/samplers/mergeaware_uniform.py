"""Evenly spaced anchors, each paired with a frame close in time, so that merged frames look alike.

Definition: n/2 anchors by the uniform rule, reserved first; each takes a partner within ±`window` raw frame
ids: `random` (offsets drawn from numpy PCG64, seeded by scene, n and seed) or `least` (the least overlap that
is still >= `min_overlap`, ties to the lowest id; needs depth and cameras). Without a partner the nearest
unused frame is taken, flagged. Each pair ascending, pairs by first id. Where raw ids are spaced wider than
`window`, their spacing is used instead and recorded.
Source: the lab's notes (`rnd_fidss30`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import generator
from smx.samplers._partners import Pick, pairs_around_anchors, random_partner, raw_step, widened


class Sampler(BaseSampler):
    """Options of `mergeaware_uniform`."""

    seeded: ClassVar[bool] = True

    window: int = Field(default=30, ge=1)  # raw frame ids
    partner: Literal["random", "least"] = "random"
    min_overlap: float = Field(default=0.5, ge=0, le=1)  # used by `least`

    def requires(self) -> frozenset[str]:
        """Overlap, where the partner is chosen by it."""
        return frozenset({"cameras", "voxels"}) if self.partner == "least" else self.needs

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """`random` differs with the seed, `least` does not."""
        window = widened(self.window, raw_step(view.frame_ids))
        rng = generator(view.scene, n, seed)
        pick = random_partner(rng, window) if self.partner == "random" else self._least(view)
        pairs = pairs_around_anchors(view.frame_ids, n // 2, window, pick)
        return Choice([i for p in pairs for i in p.ids], [f for p in pairs for f in p.fill], {"window": window})

    def _least(self, view: View) -> Pick:
        def pick(anchor: int, near: np.ndarray) -> int | None:
            overlap = view.voxels([anchor, *near.tolist()]).overlap(0, np.arange(1, len(near) + 1))
            allowed = np.flatnonzero(overlap >= self.min_overlap)
            return int(near[allowed[np.argmin(overlap[allowed])]]) if len(allowed) else None

        return pick
