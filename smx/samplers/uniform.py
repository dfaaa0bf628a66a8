"""Evenly spaced in time: linspace over the frames, rounded to nearest.

Definition: positions round(i·(N-1)/(n-1)), i = 0..n-1, halves to even.
Source: the frame rule of Qwen's own video reader (qwen-vl-utils, `smart_nframes` then linspace and round).
`of: candidates` spreads over the candidate frames instead, as the uniform folders of Spatial-MLLM v1.1 do.
"""

from __future__ import annotations

from typing import Literal

from smx.samplers import BaseSampler, Choice, View
from smx.samplers._common import fill_up, in_time_order, spread


class Sampler(BaseSampler):
    """Options of `uniform`."""

    of: Literal["video", "candidates"] = "video"

    def choose(self, view: View, n: int, seed: int) -> Choice:
        """The same frames for every seed."""
        frames = view.frame_ids if self.of == "video" else view.candidates
        chosen = frames[spread(len(frames), min(n, len(frames)))].tolist()
        return Choice(*in_time_order(chosen, fill_up(chosen, [view.frame_ids], n)))
