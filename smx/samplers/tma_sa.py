"""Space-aware, reordered for temporal merging: the frames of `sa`, each beside the one it shares most with.

Definition: `sa` picks n frames (filled and flagged as there); of all ways to pair them, the one whose overlaps
add up to most (weights round(10^6 x overlap); ties: the least sum of |difference of ids|, then the
lexicographically first list of pairs). Each pair by time, pairs by their first frame.
Source: ours, on the frames of Spatial-MLLM's space-aware sampling; matching by Edmonds' blossoms.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import cover, in_time_order
from smx.samplers._matching import best_pairs


class Sampler(BaseSampler):
    """`tma_sa` has no options; candidates and voxels are set by `geometry`."""

    needs: ClassVar[frozenset[str]] = frozenset({"cameras", "voxels"})

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """The same frames for every seed."""
        candidates = view.candidates
        ids, fill = in_time_order(*cover(view, candidates, view.voxels(candidates.tolist()), n))
        rows = np.arange(n)
        overlap = view.voxels(ids).overlap(rows[:, None], rows[None, :])
        flagged = dict(zip(ids, fill, strict=True))
        order = [frame for pair in best_pairs(ids, overlap) for frame in pair]
        return Choice(order, [flagged[frame] for frame in order])
