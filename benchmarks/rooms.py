"""Claim: the built-in rooms render 20 frames of 320x240 a second and more on one core.

Colours, depth and piece numbers of the same frames, by the compiled renderer and by the plain numpy one that
stands beside it, taken in turns; the frames are compared. Times are CPU time of this one thread, so other
work on the machine does not count. `ratio`: how many times faster than plain numpy, median of the rounds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import statistics
import time

import numpy as np
from _record import finish

from smx.rooms import Frame, RoomScene, make_scene, render

ROUNDS = 5
FAST_FRAMES, SLOW_FRAMES = 48, 2


def main() -> None:
    """Measure, print a table, finish with one line of JSON."""
    scenes = [make_scene(seed) for seed in range(ROUNDS)]
    scenes[0].tables  # noqa: B018 (made once a scene, not once a frame)
    next(render(scenes[0], [0]))  # compile, or load what was compiled
    ratios, rates = [], []
    print(f"{'scene':>6} {'boxes':>6} {'compiled fps':>13} {'numpy fps':>10} {'ratio':>7}")
    for scene in scenes:
        ids = np.linspace(0, len(scene.w2c) - 1, FAST_FRAMES).astype(int).tolist()
        few = ids[:: FAST_FRAMES // SLOW_FRAMES]
        fast, fast_time = clocked(scene, ids, compiled=True)
        slow, slow_time = clocked(scene, few, compiled=False)
        for a, b in zip(fast[:: FAST_FRAMES // SLOW_FRAMES], slow, strict=True):
            assert (a.pieces == b.pieces).mean() > 0.9995
            assert np.median(np.abs(a.rgb.astype(int) - b.rgb)) == 0
        rates.append(FAST_FRAMES / fast_time)
        ratios.append(rates[-1] / (SLOW_FRAMES / slow_time))
        row = (scene.seed, len(scene.tables.boxes), rates[-1], rates[-1] / ratios[-1], ratios[-1])
        print("{:>6} {:>6} {:>13.1f} {:>10.2f} {:>7.1f}".format(*row))
    fps = statistics.median(rates)
    finish(
        {
            "benchmark": "rooms",
            "ratio": round(statistics.median(ratios), 1),
            "budget": 20,
            "budget_of": "fps",
            "fps": round(fps, 1),
            "slowest_fps": round(min(rates), 1),
            "met": min(rates) >= 20,
        }
    )


def clocked(scene: RoomScene, ids: list[int], *, compiled: bool) -> tuple[list[Frame], float]:
    """Frames and the CPU seconds they took."""
    start = time.process_time()
    return list(render(scene, ids, compiled=compiled)), time.process_time() - start


if __name__ == "__main__":
    main()
