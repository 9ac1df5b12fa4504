"""Rivals for tests: the toy ranker with another long-term interest module, and worlds small enough for paper."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.ranker import TwinRanker
from tests.toy import ITEMS, SMALL, toy_ranker

HAND = TwinConfig(heads=1, head_dim=1, retrieved=3, id_width=2, feature_width=1, search_width=2)


def rival_ranker(interest: str, **options: Any) -> TwinRanker:
    """The toy ranker with `interest`, its search arrays filled at random."""
    config = dataclasses.replace(SMALL, **{"interest": interest, "search_width": 3, **options})
    ranker = toy_ranker(config)
    rng = np.random.default_rng(1)
    arrays = {
        "embedding": rng.normal(size=[ITEMS, 3]).astype(np.float32),
        "cluster": rng.integers(0, 4, ITEMS).astype(np.int32),
    }
    for name in ranker.item_table.search:
        ranker.item_table.assign_search(name, arrays[name])
    return ranker


def hand_world(
    embedding: Any, search: dict[str, np.ndarray] | None = None, topics: Any = None
) -> tuple[FeatureEmbeddings, FeatureEmbeddings, ItemTable]:
    """Items 1, 2, ... in table rows 1, 2, ... with the given embeddings of their ids, and no cross features.

    Args:
        embedding: [R, 2], of rows 1, 2, ...
        search: Arrays [R, ...] for the table's `search`.
        topics: int [R, W] or [R], a second inherent feature, its embeddings all zero.
    """
    ids = np.arange(1, len(embedding) + 1)
    features: dict[str, Any] = {"item_id": (len(ids) + 1, 2, None)}
    index = {"item_id": ids.astype(np.int32)}
    widths: dict[str, int | None] = {"item_id": None}
    if topics is not None:
        index["topics"] = np.array(topics, np.int32)
        widths["topics"] = index["topics"].shape[1] if index["topics"].ndim == 2 else None
        features["topics"] = (int(index["topics"].max()) + 1, 1, "sum" if widths["topics"] else None)
    inherent = FeatureEmbeddings(features)
    for table in (e.table for e in inherent.embeddings.values()):
        table.assign(tf.zeros_like(table))
    inherent.embeddings["item_id"].table.assign(np.concatenate([[[0.0, 0.0]], embedding]))
    rows = {name: np.zeros_like(values[:1]) for name, values in (search or {}).items()}
    item_table = ItemTable(widths, 1, 1, "float32", rows)
    item_table.assign(ids, index)
    for name, values in (search or {}).items():
        item_table.assign_search(name, values)
    return inherent, FeatureEmbeddings({}), item_table


def hand_history(rows: list[int], end: Any = None, start: Any = 0) -> History:
    """One user's behaviours, one a second; targets see those from `start` to before `end`, one number or a list."""
    ends = np.atleast_1d(len(rows) if end is None else end).astype(np.int32)
    starts = np.broadcast_to(np.atleast_1d(start), ends.shape).astype(np.int32)
    return History(
        row=tf.constant([rows], tf.int32),
        position=tf.range(len(rows)),
        timestamp=1000 * tf.range(len(rows), dtype=tf.int64)[tf.newaxis],
        cross={},
        start=tf.constant(starts[np.newaxis]),
        end=tf.constant(ends[np.newaxis]),
        target_timestamp=tf.fill([1, len(ends)], tf.constant(10**6, tf.int64)),
    )
