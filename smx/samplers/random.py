"""n frames drawn at random, in time order: the control.

Definition: a seeded draw without replacement from all frames (numpy PCG64, seed from scene, n and seed).
"""

from __future__ import annotations

from typing import ClassVar

from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import generator


class Sampler(BaseSampler):
    """`random` has no options."""

    seeded: ClassVar[bool] = True

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """Another draw for every seed."""
        drawn = generator(view.scene, n, seed).choice(view.frame_ids, n, replace=False)
        return Choice(sorted(drawn.tolist()), [False] * n)
