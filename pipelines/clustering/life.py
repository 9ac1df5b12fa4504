"""One user's behaviours -> clusters."""

import zlib

import numpy as np

from model.config import TwinConfig
from pipelines.clustering.chunks import split_by_time
from pipelines.clustering.entries import Entries, Ints
from pipelines.clustering.groups import UNKNOWN_ITEMS
from pipelines.clustering.hierarchical import adaptive_parts, divide_until_small
from pipelines.clustering.kmeans import divide
from pipelines.clustering.one_thread import one_thread
from pipelines.clustering.vectors import Floats, ItemVectors
from pipelines.clustering.virtual_items import merge, representatives

_SEED_BITS = (1 << 64) - 1


def clusterable(time: Ints, keep: int) -> int:
    """How many of the oldest behaviours may be clustered: all but the newest `keep`, and never one of two of a time.

    Args:
        time: int64 [n], ascending.
        keep: Newest behaviours that stay single.
    """
    end = len(time) - keep
    return 0 if end <= 0 else int(np.searchsorted(time, time[end], side="left"))


def cluster(entries: Entries, vectors: ItemVectors, config: TwinConfig, user: bytes) -> Entries:
    """Clusters single behaviours and gives one virtual item a cluster, ordered by mean time.

    Each group (`entries.group`) is divided apart: `hierarchical` by `divide_until_small`, `bisecting` the same with 2
    parts, `kmeans` once into ceil(n / gamma) parts of any size, `chunks` and the group of unknown items by time. Sets
    above gamma = `max_cluster_size` that k-means cannot divide are split by time. The result depends on the behaviours,
    the items' vectors, the configuration and the user alone.

    Args:
        entries: Single behaviours in any order.
        vectors: Of all items but those in the group `UNKNOWN_ITEMS`.
        config: `clustering`, `max_cluster_size`, `partition_exponent` and `seed`.
        user: The user's id; with `seed` it decides what is drawn at random.
    """
    entries = entries.take(np.lexsort((entries.item, entries.time)))
    return merge(entries, *assign(entries, vectors, config, user))


def assign(entries: Entries, vectors: ItemVectors, config: TwinConfig, user: bytes) -> tuple[Ints, Ints]:
    """The clusters of single behaviours in order of time, then item; otherwise as `cluster`.

    Returns:
        Cluster of each behaviour, int64 [n], 0 to C - 1; and the behaviour that represents each cluster, int64 [C].
    """
    label = np.empty(len(entries), np.int64)
    representative = [np.zeros(0, np.int64)]
    clusters = 0
    with one_thread():
        for group in np.unique(entries.group).tolist():
            members = np.flatnonzero(entries.group == group)
            if group == UNKNOWN_ITEMS:
                of_member = split_by_time(np.zeros(len(members), np.int64), config.max_cluster_size)
                nearest = representatives(of_member, of_member, None)
            else:
                rng = np.random.default_rng([config.seed & _SEED_BITS, zlib.crc32(user), group & _SEED_BITS])
                rows = vectors.rows(entries.item[members])
                rows, point, count = np.unique(rows, return_inverse=True, return_counts=True)
                points = vectors.at(rows)
                of_member = _divide_group(points, point, count, config, rng)
                nearest = representatives(of_member, point, points)
            label[members] = clusters + of_member
            representative.append(members[nearest])
            clusters += len(nearest)
    return label, np.concatenate(representative)


def _divide_group(points: Floats, point: Ints, count: Ints, config: TwinConfig, rng: np.random.Generator) -> Ints:
    """Cluster of every behaviour of a group, int64 [n]; `point` int64 [n] are their rows in `points` float32 [U, d]."""
    most = config.max_cluster_size
    if config.clustering == "chunks":
        of_item = np.zeros(len(points), np.int64)
    elif config.clustering == "kmeans":
        parts = min(-(-len(point) // most), len(points))
        of_item = divide(points.copy(), count.astype(np.float32), parts, rng)
        return np.unique(of_item[point], return_inverse=True)[1]
    else:
        parts_of = adaptive_parts(config.partition_exponent) if config.clustering == "hierarchical" else lambda _: 2
        of_item = divide_until_small(points, count, most, parts_of, rng)
    return split_by_time(of_item[point], most)
