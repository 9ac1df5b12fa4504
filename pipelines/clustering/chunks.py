"""Division by time alone."""

import numpy as np

from pipelines.clustering.entries import Ints


def split_by_time(label: Ints, most: int) -> Ints:
    """Divides every set of more than `most` entries into runs of consecutive ones, of sizes that differ by 1 at most.

    Args:
        label: int64 [n], set of each entry; entries are in time order.
        most: Entries of a run, at most.

    Returns:
        int64 [n], new sets from 0 without gaps, those of a former set next to each other in time order.
    """
    _, dense, size = np.unique(label, return_inverse=True, return_counts=True)
    order = np.argsort(dense, kind="stable")
    start = np.cumsum(size) - size
    rank = np.empty(len(label), np.int64)
    rank[order] = np.arange(len(label)) - start[dense[order]]
    runs = -(-size // most)
    first = np.cumsum(runs) - runs
    return first[dense] + rank * runs[dense] // size[dense]
