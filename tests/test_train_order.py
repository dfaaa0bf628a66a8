"""The order of training examples: decided by examples and seed, fair to every example, a scene's by fours."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from smx.node.training.order import TOGETHER, order

SIZES = [18, 17, 5, 1]
COUNT = sum(SIZES)


def test_every_pass_sees_every_example_once() -> None:
    """Lost otherwise: an example drawn twice while another waits weighs more than it should."""
    drawn = order(SIZES, 3 * COUNT, seed=0)
    for start in range(0, 3 * COUNT, COUNT):
        assert Counter(drawn[start : start + COUNT]) == Counter(range(COUNT))
    assert drawn[:COUNT] != drawn[COUNT : 2 * COUNT]


def test_the_seed_decides_the_order_and_longer_training_begins_alike() -> None:
    """Lost otherwise: a resumed or repeated training meets other examples in the same steps."""
    drawn = order(SIZES, 3 * COUNT, seed=0)
    assert drawn == order(SIZES, 3 * COUNT, seed=0)
    assert drawn != order(SIZES, 3 * COUNT, seed=1)
    assert order(SIZES, 200, seed=0)[:100] == order(SIZES, 100, seed=0)
    assert len(order(SIZES, 1, seed=0)) == 1


def test_a_scenes_examples_stay_together() -> None:
    """Lost otherwise: a video is computed again for each example; all in one run would make steps of one scene."""
    scene = [number // 100 for number in order([100] * 20, 2000, seed=0)]
    runs = [len(list(group)) for _, group in groupby(scene)]
    assert TOGETHER <= sum(runs) / len(runs) < 1.2 * TOGETHER
