"""A cluster of entries -> its virtual item."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from pipelines.clustering.entries import Entries, Ints
from pipelines.clustering.vectors import Floats

_CHUNK = 65_536
_LATEST = np.iinfo(np.int64).max


def merge(entries: Entries, label: Ints, representative: Ints) -> Entries:
    """One entry for each of C clusters: sums of sizes, means by size, the rest of the representative.

    FLOAT cross features are the mean of those entries' values that are finite, NaN where none is; times are the mean
    rounded down. The result is `in_order`.

    Args:
        entries: n entries.
        label: int64 [n], cluster of each, 0 to C - 1, none empty.
        representative: int64 [C], the entry that gives item, group and categorical cross features.
    """
    clusters = len(representative)

    def summed(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(label, values, clusters), np.float64)

    size = np.bincount(label, entries.size, clusters).astype(np.int64)
    oldest, newest = np.full(clusters, _LATEST), np.full(clusters, -_LATEST - 1)
    np.minimum.at(oldest, label, entries.time)
    np.maximum.at(newest, label, entries.time)
    # Offsets, since the times' own sums have more digits than a double; unsigned, since they may pass an int64.
    offset = (entries.time - oldest[label]).view(np.uint64).astype(np.float64)
    time = np.minimum(oldest + (summed(offset * entries.size) // size).astype(np.uint64).view(np.int64), newest)
    virtual = entries.take(representative)
    cross = dict(virtual.cross)
    for name, values in entries.cross.items():
        if not isinstance(values, pa.Array) and values.dtype == np.float32:
            finite = np.isfinite(values)
            mass = summed(entries.size * finite)
            total = summed(np.where(finite, values, 0).astype(np.float64) * entries.size)
            cross[name] = np.divide(total, mass, out=np.full(clusters, np.nan), where=mass > 0).astype(np.float32)
    return in_order(Entries(virtual.item, time, size, virtual.group, cross))


def in_order(entries: Entries) -> Entries:
    """The entries by time, then item, then group."""
    return entries.take(np.lexsort((entries.group, entries.item, entries.time)))


def representatives(label: Ints, point: Ints, points: Floats | None) -> Ints:
    """The entry nearest to its cluster's centroid, for each of C clusters; of equally near ones the newest.

    Args:
        label: int64 [n], cluster of each single behaviour, 0 to C - 1, none empty; behaviours are in time order.
        point: int64 [n], row of each behaviour's vector in `points`.
        points: float32 [U, d]; None = no vectors, so all are equally near.

    Returns:
        int64 [C].
    """
    distance = np.zeros(len(label)) if points is None else _distances(label, point, points)
    order = np.lexsort((-np.arange(len(label)), distance, label))
    return order[np.flatnonzero(np.diff(label[order], prepend=-1))]


def _distances(label: Ints, point: Ints, points: Floats) -> npt.NDArray[np.float64]:
    """Squared distance of every behaviour to its cluster's centroid, float64 [n]; equal for equal items."""
    pairs, of_pair, count = np.unique(label * len(points) + point, return_inverse=True, return_counts=True)
    cluster, row = np.divmod(pairs, len(points))
    mass = np.bincount(cluster, count)
    # Of another type than the points', it would make a copy of these.
    weight = (count / mass[cluster]).astype(np.float32)
    share = csr_array((weight, (cluster, row)), shape=(len(mass), len(points)))
    centroid = share @ points  # [C, d]
    distance = np.empty(len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        part = slice(start, start + _CHUNK)
        gap = points[row[part]] - centroid[cluster[part]]
        distance[part] = np.einsum("nd,nd->n", gap, gap)
    return distance[of_pair]
