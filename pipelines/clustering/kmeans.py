"""Weighted k-means of one set of points: small sets here, large ones with scikit-learn."""

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from pipelines.clustering.entries import Ints
from pipelines.clustering.vectors import Floats

ITERATIONS = 10
_LARGE = 4096
"""Points from which scikit-learn is the faster one; below, its checks cost more than the work."""


def divide(points: Floats, weight: Floats, parts: int, rng: np.random.Generator) -> Ints:
    """Lloyd's algorithm from `parts` distinct points drawn by weight, `ITERATIONS` rounds at most.

    Args:
        points: float32 [n, d]; moved, since a second copy of a million would take half a gigabyte.
        weight: float32 [n], how often each point occurs; equal to k-means of so many copies.
        parts: Number of parts, from 2 to n.
        rng: Draws the first centroids.

    Returns:
        Part of every point, int64 [n], below `parts`; a part may be empty.
    """
    # Distances as differences of squares lose what a large common mean hides.
    points -= weight @ points / weight.sum()
    share = np.divide(weight, weight.sum(dtype=np.float64), dtype=np.float64)
    first = points[rng.choice(len(points), parts, replace=False, p=share)]
    if len(points) >= _LARGE:
        kmeans = KMeans(parts, init=first, n_init=1, max_iter=ITERATIONS, tol=0, algorithm="lloyd", copy_x=False)
        return kmeans.fit_predict(points, sample_weight=weight).astype(np.int64)
    return _lloyd(points, weight, first)


def _lloyd(points: Floats, weight: Floats, centroids: Floats) -> Ints:
    number = np.arange(len(points))
    label: npt.NDArray[np.int64] = np.full(len(points), -1)
    for _ in range(ITERATIONS):
        cost = np.einsum("kd,kd->k", centroids, centroids) - 2 * (points @ centroids.T)  # [n, k]
        nearest = cost.argmin(axis=1)
        if np.array_equal(nearest, label):
            break
        label = nearest
        share = np.zeros((len(centroids), len(points)), np.float32)
        share[label, number] = weight
        mass = share.sum(axis=1)
        filled = mass > 0
        centroids = centroids.copy()
        centroids[filled] = (share @ points)[filled] / mass[filled, np.newaxis]
    return label
