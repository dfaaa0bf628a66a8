"""Space-aware: the frames that together see most of the scene, in time order.

Definition: greedy maximum coverage of the scene's voxels by the candidates; each round takes the frame that
adds most, ties to the lowest. Short of n (nothing left to gain) it is filled with the candidate farthest in
time from those chosen, flagged.
Source: space-aware frame sampling of Spatial-MLLM v1.1 (arXiv 2505.23747), which returns fewer than n instead.
"""

from __future__ import annotations

from typing import ClassVar

from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import cover, in_time_order


class Sampler(BaseSampler):
    """`sa` has no options; candidates and voxels are set by `geometry`."""

    needs: ClassVar[frozenset[str]] = frozenset({"cameras", "voxels"})

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """The same frames for every seed."""
        candidates = view.candidates
        return Choice(*in_time_order(*cover(view, candidates, view.voxels(candidates.tolist()), n)))
