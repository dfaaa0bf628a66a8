"""Space-aware without depth: the frames whose cameras together look into most of the space around them.

Definition: space is cut into cells; a camera sees the cells whose centre lies in its frustum, between `near`
and `far`. Then the greedy of `sa` over cells in place of voxels, filled and ordered as there. far = 3 m where
cameras are metric, else 3 x the median distance between two candidates' centres (a zero one counts as 1);
near = far / 10; cell edge = far / 8. Walls hide nothing: a frame counts for what is behind them, too.
Source: ours. The lab's notes use the name without a definition, and none is published.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from smx.errors import SceneError
from smx.geometry.cameras import centres
from smx.geometry.frustum import cells_in_view
from smx.geometry.voxels import VoxelSets
from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import cover, in_time_order, usual_length

FAR_METRES = 3.0
NEAR, EDGE = 1 / 10, 1 / 8  # of far


class Sampler(BaseSampler):
    """`efficient` has no options; candidates are set by `geometry`."""

    needs: ClassVar[frozenset[str]] = frozenset({"cameras"})

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """The same frames for every seed."""
        candidates = view.candidates
        posed = view.has_camera(candidates.tolist())
        if not posed.any():
            raise SceneError(f"scene {view.scene!r}: no candidate frame has a camera")
        ids = candidates[posed].tolist()
        w2c = view.w2c(ids)
        far = FAR_METRES if view.metric() else 3 * _distance(centres(w2c))
        seen = iter(cells_in_view(w2c, view.K(ids), view.image_size, NEAR * far, far, EDGE * far))
        nothing = np.empty(0, dtype=np.int64)
        sets = VoxelSets.pack([next(seen) if has else nothing for has in posed])
        return Choice(*in_time_order(*cover(view, candidates, sets, n)), {"far": far})


def _distance(centre: np.ndarray) -> float:
    """The usual one of all pairs of camera centres [n, 3]."""
    first, second = np.triu_indices(len(centre), k=1)
    return usual_length(np.linalg.norm(centre[first] - centre[second], axis=1), centre)
