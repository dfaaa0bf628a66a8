"""Pairing all frames of a list at once: the perfect matching that overlaps most."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def best_pairs(ids: list[int], overlap: np.ndarray) -> list[tuple[int, int]]:
    """The n/2 disjoint pairs of `ids` (n ascending, n even) whose overlaps [n, n] add up to most; by time.

    Overlaps count to six digits. Ties: the least sum of |difference of ids|, then the list of pairs that comes
    first. All three are one whole number per pair (exact, however long), for which blossom matching is exact.
    """
    import networkx as nx

    n = len(ids)
    gaps = n * (ids[-1] - ids[0]) + 1  # more than all gaps together
    orders = n**n  # more than all places together
    graph = nx.Graph()
    for a, b in combinations(range(n), 2):
        shared = round(10**6 * float(overlap[a, b]))
        # Read from the lowest frame on, partners are the digits of a number: the smallest is the first list.
        place = b * n ** (n - 1 - a)
        graph.add_edge(a, b, weight=(shared * gaps - (ids[b] - ids[a])) * orders - place)
    matched = nx.max_weight_matching(graph, maxcardinality=True)
    return sorted((ids[min(pair)], ids[max(pair)]) for pair in matched)
