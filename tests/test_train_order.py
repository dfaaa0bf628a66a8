"""The order of training examples: decided by the seed, fair to every example, a scene's by fours."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest

from smx.node.train import _Order

SCENES = [[f"{scene}{k}" for k in range(count)] for scene, count in (("a", 18), ("b", 17), ("c", 5), ("d", 1))]
COUNT = sum(map(len, SCENES))


def order(length: int = 3 * COUNT, batch: int = 8, seed: int = 0) -> list[str]:
    found = _Order(SCENES, length=length, batch=batch, seed=seed)
    return [found[k] for k in range(len(found))]


def test_every_pass_sees_every_example_once() -> None:
    """An example drawn twice while another waits would weigh more than it should."""
    seen = order()
    for start in range(0, 3 * COUNT, COUNT):
        assert Counter(seen[start : start + COUNT]) == Counter(x for scene in SCENES for x in scene)
    assert seen[:COUNT] != seen[COUNT : 2 * COUNT]


def test_the_seed_decides_the_order_and_longer_training_begins_alike() -> None:
    """A resumed or repeated training must meet the same examples in the same steps."""
    assert order() == order()
    assert order() != order(seed=1)
    assert order(length=200)[:100] == order(length=100)
    assert len(order(length=1)) == 1


@pytest.mark.parametrize(("batch", "together"), [(1, 1), (2, 1), (4, 2), (8, 4), (64, 4)])
def test_a_scenes_examples_stay_together(batch: int, together: int) -> None:
    """Its video is computed once for each run of them; all in one run would make steps of one scene."""
    scenes = [[(scene, k) for k in range(100)] for scene in range(20)]
    drawn = _Order(scenes, length=2000, batch=batch, seed=0)
    runs = [len(list(group)) for _, group in groupby((drawn[k] for k in range(2000)), key=lambda x: x[0])]
    assert together <= sum(runs) / len(runs) < 1.2 * together
