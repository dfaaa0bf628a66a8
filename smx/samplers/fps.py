"""Farthest-point sampling over cameras: frames taken from places and in directions as different as can be.

Definition: distance of two cameras = |difference of centres| / median step + `turn` x angle between them in
rad, where the median step is that of neighbouring candidates (a zero one counts as 1). Start at the first
candidate that has a camera; each next one is the candidate farthest from all chosen, ties (to nine digits, so
that machines agree) to the lowest. Output by time. Short of n (too few candidates have a camera) it is filled
with the candidate farthest in time from those chosen, flagged.
Source: farthest-point sampling (Eldar et al. 1997) under a distance of our own; the lab's notes may mean
uniform in time by "fps", so imported rows say `fps (notes)`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from smx.errors import SceneError
from smx.geometry.cameras import centres, rotation_angle
from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import fill_up, in_time_order, usual_length


class Sampler(BaseSampler):
    """Options of `fps`."""

    needs: ClassVar[frozenset[str]] = frozenset({"cameras"})

    turn: float = Field(default=1.0, ge=0)  # what one rad of rotation counts, in median steps

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """The same frames for every seed."""
        candidates = view.candidates
        posed = candidates[view.has_camera(candidates.tolist())]
        if not len(posed):
            raise SceneError(f"scene {view.scene!r}: no candidate frame has a camera")
        chosen = posed[self._farthest(view.w2c(posed.tolist()), n)].tolist()
        return Choice(*in_time_order(chosen, fill_up(chosen, [candidates, view.frame_ids], n)))

    def _farthest(self, w2c: np.ndarray, n: int) -> list[int]:
        """Up to n rows of `w2c` [T, 4, 4], in the order taken."""
        centre = centres(w2c)
        step = usual_length(np.linalg.norm(np.diff(centre, axis=0), axis=1), centre)
        taken, nearest = [0], np.full(len(w2c), np.inf)
        while len(taken) < min(n, len(w2c)):
            last = taken[-1]
            away = np.linalg.norm(centre - centre[last], axis=1) / step
            nearest = np.minimum(nearest, np.round(away + self.turn * rotation_angle(w2c, w2c[last]), 9))
            nearest[taken] = -1
            taken.append(int(np.argmax(nearest)))
        return taken
