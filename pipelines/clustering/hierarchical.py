"""Hierarchical k-means: sets are divided again and again until none is too large (TWIN-V2)."""

from collections.abc import Callable

import numpy as np

from pipelines.clustering.entries import Ints
from pipelines.clustering.kmeans import divide
from pipelines.clustering.vectors import Floats

_DEEPEST = 64
"""Divisions one after the other, which only far outliers need; what is left then is split by time."""


def adaptive_parts(exponent: float) -> Callable[[int], int]:
    """The number of parts of a set of n behaviours: floor(n ** exponent), at least 2."""
    return lambda n: max(2, int(n**exponent))


def divide_until_small(
    points: Floats, count: Ints, most: int, parts: Callable[[int], int], rng: np.random.Generator
) -> Ints:
    """Divides points by k-means until no set has more than `most` behaviours.

    Args:
        points: float32 [n, d], distinct items.
        count: int64 [n], behaviours of each.
        most: Behaviours gamma of a set, at most; more only where k-means cannot divide: one item, or equal vectors.
        parts: Number of parts by behaviours.
        rng: Draws the first centroids.

    Returns:
        Set of every point, int64 [n], from 0.
    """
    result = np.zeros(len(points), np.int64)
    sets = 0
    pending = [(np.arange(len(points)), 0)]
    while pending:
        index, depth = pending.pop()
        size = int(count[index].sum())
        cuts: list[Ints] = [index]
        if size > most and len(index) > 1 and depth < _DEEPEST:
            weight = count[index].astype(np.float32)
            label = divide(points[index], weight, min(parts(size), len(index)), rng)
            order = np.argsort(label, kind="stable")
            cuts = np.split(index[order], 1 + np.flatnonzero(np.diff(label[order])))
        if len(cuts) == 1:
            result[index] = sets
            sets += 1
        else:
            pending += [(part, depth + 1) for part in reversed(cuts)]
    return result
