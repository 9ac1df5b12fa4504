"""New behaviours join earlier clusters; nothing is clustered again."""

import numpy as np

from model.config import TwinConfig
from pipelines.clustering.entries import Entries, Ints, concatenate
from pipelines.clustering.groups import UNKNOWN_ITEMS
from pipelines.clustering.life import cluster
from pipelines.clustering.one_thread import one_thread
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
    are joined by what the new one sees. `chunks`, and behaviours of unknown items, join the group's newest cluster
    while it has room, then open the next.

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
                # Consecutive ones belong together: an older cluster takes none, room or not.
                old = old[-1:]
                points, of_entry = np.zeros((1, 1), np.float32), np.zeros(len(old) + len(fresh), np.int64)
            else:
                items = np.concatenate([clusters.item[old], new.item[fresh]])
                known, of_entry = np.unique(items, return_inverse=True)
                points = _points(known, vectors)
            chosen = _choose(
                points, of_entry[: len(old)], clusters.size[old], of_entry[len(old) :], config.max_cluster_size
            )
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


def _choose(points: Floats, centre: Ints, size: Ints, behaviour: Ints, most: int) -> Ints:
    """Assigns the behaviours of a group one after the other.

    Args:
        points: float32 [U, d], vectors of the items; NaN = none.
        centre: int64 [C], the virtual items of the clusters in time order, as rows of `points`.
        size: int64 [C], members of the clusters.
        behaviour: int64 [n], the items of the behaviours in time order, as rows of `points`.
        most: Members of a cluster, at most.

    Returns:
        int64 [n]: a cluster, or C + i for the i-th one opened.
    """
    known = np.isfinite(points[centre]).all(axis=1)
    if known.any():
        points = points - np.average(points[centre[known]], axis=0, weights=size[known]).astype(np.float32)
    square = np.einsum("ud,ud->u", points, points)
    used, room = len(centre), np.zeros(len(behaviour), np.int64)
    # An opened cluster takes the next free slot.
    centre, members = np.concatenate([centre, room]), np.concatenate([size, room])
    chosen = np.empty(len(behaviour), np.int64)
    step = max(1, _BLOCK_VALUES // len(points))
    for start in range(0, len(behaviour), step):
        rows = behaviour[start : start + step]
        # Squared distance less that to the mean, which is the origin: near enough is 0 or less.
        costs = square - 2 * (points[rows] @ points.T)  # [n', U]
        costs[np.isnan(costs)] = np.inf
        for i, of_item in enumerate(costs, start):
            cost = np.where(members[:used] < most, of_item[centre[:used]], np.inf)
            best = used - 1 - int(cost[::-1].argmin())
            if cost[best] > 0:
                best = used
                centre[used] = behaviour[i]
                used += 1
            members[best] += 1
            chosen[i] = best
    return chosen
