"""Consistency of the two stages (section 4.5, Figure 4)."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from model.ranker import TwinRanker
from model.request import RawBatch
from model.stage_scores import stage_scores

DEPTHS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


@dataclasses.dataclass(frozen=True)
class Consistency:
    """How much of what the ESU would choose the search unit finds.

    Attributes:
        hit_at: {k: mean percentage}: of the min(K, k) behaviours of the ESU's real top K that the search unit's first k
            could hold, how many they do. At k = K = 100 it is the paper's "hits of 100".
        targets: Number of targets measured: those with more visible behaviours than K.
        history: Their mean number of visible behaviours.
    """

    hit_at: Mapping[int, float]
    targets: int
    history: float


def measure(ranker: TwinRanker, batches: Iterable[RawBatch], depths: Sequence[int] = DEPTHS) -> Consistency:
    """Ranks whole histories by the search unit and by the ESU, and compares.

    The oracle is the ESU's relevance over all visible behaviours, heads united by rank as in the CP-GSU; among equals
    the newer one comes first. Targets whose whole history fits into K are left out: they could only agree.
    """
    retrieved = ranker.config.retrieved
    hits: dict[int, list[float]] = {depth: [] for depth in depths}
    lengths: list[int] = []
    scores = tf.function(lambda raw: stage_scores(ranker, raw), reduce_retracing=True, autograph=False)
    for raw in batches:
        searched, exact = (s.numpy() for s in scores(raw))  # [B, h', N, L], [B, h, N, L]
        for b, n in zip(*np.nonzero(raw["weight"].numpy() > 0), strict=True):
            visible = np.flatnonzero(np.isfinite(exact[b, 0, n]))[::-1]
            if len(visible) <= retrieved:
                continue
            real = set(rank_order(exact[b, :, n, visible].T)[:retrieved])
            of_search = searched[b, :, n, visible].T
            found = rank_order(of_search)
            # What the search must not retrieve stands last.
            found = found[: np.count_nonzero(np.isfinite(of_search[0]))]
            lengths.append(len(visible))
            for depth in depths:
                hits[depth].append(100 * len(real.intersection(found[:depth])) / min(retrieved, depth, len(real)))
    mean = {depth: float(np.mean(values)) if values else float("nan") for depth, values in hits.items()}
    return Consistency(mean, len(lengths), float(np.mean(lengths)) if lengths else 0.0)


def rank_order(scores: np.ndarray) -> np.ndarray:
    """All behaviours in the order of the union by rank.

    Traversing rank 1 of every head, rank 2 of every head, ... meets a behaviour first at min over heads a of
    (rank_a * h + a), so sorting by that number is the traversal.

    Args:
        scores: float32 [h, L].

    Returns:
        int [L], positions.
    """
    heads, length = scores.shape
    first = np.full(length, heads * length)
    for head in range(heads):
        order = np.argsort(-scores[head], kind="stable")
        rank = np.empty(length, np.int64)
        rank[order] = np.arange(length)
        first = np.minimum(first, rank * heads + head)
    return np.argsort(first, kind="stable")
