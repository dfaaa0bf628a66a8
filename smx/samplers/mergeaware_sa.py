"""Space-aware over pairs: pairs of overlapping frames close in time that together see most of the scene.

Definition: greedy over disjoint pairs (a < b) of candidates with b - a <= `window` raw frame ids and
overlap(a, b) >= `min_overlap`; each round takes the pair that adds most uncovered voxels, ties to the lowest
(a, b), n/2 rounds. Pairs come by first id. When nothing is gained or no pair is left, the rest is filled by
the rule of `mergeaware_uniform` (random partner) on the remaining frames, flagged. Where candidates are
spaced wider than `window`, their spacing is used instead and recorded.
Source: the lab's notes; the greedy is that of `sa` with pairs in place of frames.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from smx.geometry.voxels import VoxelSets
from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import generator
from smx.samplers._partners import Pair, pairs_around_anchors, random_partner, raw_step, widened


class Sampler(BaseSampler):
    """Options of `mergeaware_sa`."""

    needs: ClassVar[frozenset[str]] = frozenset({"cameras", "voxels"})
    seeded: ClassVar[bool] = True  # what is filled is drawn

    window: int = Field(default=30, ge=1)  # raw frame ids
    min_overlap: float = Field(default=0.5, ge=0, le=1)

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """The seed matters only where frames are filled."""
        candidates = view.candidates
        window = widened(self.window, _spacing(view))
        sets = view.voxels(candidates.tolist())
        allowed = self._pairs(candidates, sets, window)
        taken = candidates[allowed[sets.greedy(n // 2, allowed)]]
        pairs = [Pair((int(a), int(b)), (False, False)) for a, b in taken]
        if len(pairs) < n // 2:
            rest = np.setdiff1d(view.frame_ids, taken)
            near = widened(self.window, raw_step(view.frame_ids))
            pick = random_partner(generator(view.scene, n, seed), near)
            fill = pairs_around_anchors(rest, n // 2 - len(pairs), near, pick)
            pairs += [Pair(pair.ids, (True, True)) for pair in fill]
        pairs.sort()
        return Choice([i for p in pairs for i in p.ids], [f for p in pairs for f in p.fill], {"window": window})

    def _pairs(self, candidates: np.ndarray, sets: VoxelSets, window: int) -> np.ndarray:
        """[M, 2] rows of the pairs that may be merged, in lexicographic order."""
        first, second = np.triu_indices(len(candidates), k=1)
        near = candidates[second] - candidates[first] <= window
        first, second = first[near], second[near]
        enough = sets.overlap(first, second) >= self.min_overlap
        return np.stack([first[enough], second[enough]], axis=1)


def _spacing(view: View) -> float:
    """Raw frame ids from one candidate to the next."""
    steps = max(1, len(view.candidates) - 1)
    return float(np.ceil((len(view.frame_ids) - 1) / steps)) * raw_step(view.frame_ids)
