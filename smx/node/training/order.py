"""In which order a training meets its examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOGETHER = 4  # examples of a scene that come one after the other: its video is computed once for all of them


def order(sizes: Sequence[int], length: int, seed: int) -> list[int]:
    """[length] numbers of examples, which are counted through scenes of `sizes` examples.

    Decided by the examples and the seed alone; a longer order begins alike. Every pass over the data comes in another
    order, and a scene's examples stay together by fours.
    """
    numbers = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    drawn: list[int] = []
    while len(drawn) < length:
        mixed = [rng.permutation(scene) for scene in numbers]
        runs = [scene[k : k + TOGETHER] for scene in mixed for k in range(0, len(scene), TOGETHER)]
        drawn += [int(number) for k in rng.permutation(len(runs)) for number in runs[k]]
    return drawn[:length]
