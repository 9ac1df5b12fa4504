"""New behaviours join earlier clusters; nothing is clustered again."""

import numpy as np

from model.config import TwinConfig
from pipelines.clustering.entries import Entries, Ints, concatenate
from pipelines.clustering.groups import UNKNOWN_ITEMS
from pipelines.clustering.life import cluster, one_thread
from pipelines.clustering.vectors import Floats, ItemVectors
from pipelines.clustering.virtual_items import in_order, merge

_BLOCK_VALUES = 1 << 22


def join(clusters: Entries, new: Entries, vectors: ItemVectors, config: TwinConfig, user: bytes) -> Entries:
    """Adds single behaviours to a clustered history.

    In time order, each behaviour joins the cluster of its group whose virtual item's vector is nearest, of those with
    fewer than `max_cluster_size` members; of equally near ones the newest. It must be near enough: not farther than the
    mean vector of the group's virtual items before the join, weighted by size, so that the cluster tells more of the
    behaviour than the group as a whole does. Otherwise it opens a cluster, which the next ones may join. A group
    without clusters is clustered as in a full run. Vectors are the current ones, so clusters made with an older model
    are joined by what the new one sees. `chunks`, and behaviours of unknown items, join the group's newest cluster.

    A cluster keeps its virtual item's id and categorical features; sizes add up, and means are weighted by size.

    Args:
        clusters: What `cluster` or `join` gave.
        new: Single behaviours in any order.
        vectors: The known items.
        config: As for `cluster`.
        user: As for `cluster`.
    """
    has_clusters = np.isin(new.group, clusters.group)
    first, new = new.take(~has_clusters), new.take(has_clusters)
    new = new.take(np.lexsort((new.item, new.time)))
    target = np.empty(len(new), np.int64)
    total = len(clusters)
    with one_thread():
        for group in np.unique(new.group).tolist():
            old, fresh = np.flatnonzero(clusters.group == group), np.flatnonzero(new.group == group)
            if config.clustering == "chunks" or group == UNKNOWN_ITEMS:
                # Without a direction every cluster is equally near.
                centre, point = np.zeros((len(old), 1), np.float32), np.zeros((len(fresh), 1), np.float32)
            else:
                centre, point = _points(clusters.item[old], vectors), _points(new.item[fresh], vectors)
            chosen = _choose(centre, clusters.size[old], point, config.max_cluster_size)
            opened = int(max(chosen.max() + 1 - len(old), 0))
            target[fresh] = np.concatenate([old, np.arange(total, total + opened)])[chosen]
            total += opened
    label = np.concatenate([np.arange(len(clusters)), target])
    # The first entry of each label is the earlier cluster itself, or the behaviour that opened it.
    joined = merge(concatenate([clusters, new]), label, np.unique(label, return_index=True)[1])
    return in_order(concatenate([joined, cluster(first, vectors, config, user)]))


def _points(items: Ints, vectors: ItemVectors) -> Floats:
    """Vectors float32 [n, d]; NaN for items that have none any more."""
    rows = vectors.rows(items)
    points = np.full((len(items), vectors.values.shape[1]), np.nan, np.float32)
    points[rows >= 0] = vectors.at(rows[rows >= 0])
    return points


def _choose(centre: Floats, size: Ints, point: Floats, most: int) -> Ints:
    """Assigns the behaviours of a group one after the other.

    Args:
        centre: float32 [C, d], vectors of the clusters in time order; NaN = none.
        size: int64 [C], their members.
        point: float32 [n, d], vectors of the behaviours in time order.
        most: Members of a cluster, at most.

    Returns:
        int64 [n]: a cluster, or C + i for the i-th one opened.
    """
    known = np.isfinite(centre).all(axis=1)
    if known.any():
        mean = np.average(centre[known], axis=0, weights=size[known]).astype(np.float32)
        centre, point = centre - mean, point - mean
    clusters, behaviours = len(centre), len(point)
    # An opened cluster takes the next free slot.
    square = np.concatenate([np.einsum("cd,cd->c", centre, centre), np.zeros(behaviours, np.float32)])
    centre = np.concatenate([centre, np.zeros_like(point)])
    members = np.concatenate([size, np.zeros(behaviours, np.int64)])
    chosen = np.empty(behaviours, np.int64)
    used = clusters
    step = max(1, _BLOCK_VALUES // max(clusters, 1))
    for start in range(0, behaviours, step):
        products = point[start : start + step] @ centre[:clusters].T  # [n', C]
        for i, product in enumerate(products, start):
            fresh = centre[clusters:used] @ point[i]
            # Squared distance less that to the mean, which is the origin: near enough is 0 or less.
            cost = square[:used] - 2 * np.concatenate([product, fresh])
            cost[(members[:used] >= most) | np.isnan(cost)] = np.inf
            best = used - 1 - int(cost[::-1].argmin())
            if cost[best] > 0:
                best = used
                centre[used], square[used] = point[i], point[i] @ point[i]
                used += 1
            members[best] += 1
            chosen[i] = best
    return chosen
