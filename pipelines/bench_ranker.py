"""A ranker at the paper's widths with random weights, for the benchmarks: id 64 + author 64 + topics 8 + duration 8."""

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.encoders import Boundaries, Encoders, Vocabulary, feature_key
from model.ranker import TwinRanker
from model.schema import DatasetSchema, load_schema

TOPICS = 64
TOPICS_WIDTH = 4
ITEMS_PER_AUTHOR = 5
NOW_MS = 1_700_000_000_000
"""Time of the requests, ms."""
_VALUES = 8


def bench_schema() -> DatasetSchema:
    """The schema `simulated`: J = 4 cross features."""
    return load_schema("simulated")


def bench_encoders(items: int, config: TwinConfig) -> Encoders:
    """Vocabularies as large as a catalog of `items` items would need."""
    sizes = {"author_id": items // ITEMS_PER_AUTHOR + 1, "topics": TOPICS}
    schema = bench_schema()
    features: dict[str, Vocabulary | Boundaries] = {}
    for feature in (*schema.inherent, *schema.cross, *schema.context, *schema.user):
        if feature.numeric:
            features[feature_key(feature)] = Boundaries(tuple(float(i) for i in range(1, config.quantile_buckets)))
        else:
            values = range(sizes.get(feature.name, _VALUES))
            strings = tuple(str(value) for value in values)
            features[feature_key(feature)] = Vocabulary(
                feature.dtype, strings if feature.dtype == "string" else tuple(values)
            )
    return Encoders(features)


def bench_ranker(items: int, config: TwinConfig, seed: int) -> TwinRanker:
    """A ranker whose table holds items 0 to `items` - 1, each with an embedding of its own."""
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    ranker = TwinRanker(bench_schema(), bench_encoders(items, config), config, items, {"topics": TOPICS_WIDTH})
    ids = np.arange(items, dtype=np.int64)
    ranker.item_table.assign(
        ids,
        {
            "item_id": (ids + 1).astype(np.int32),
            "author_id": (2 + ids // ITEMS_PER_AUTHOR).astype(np.int32),
            "topics": rng.integers(0, TOPICS + 2, [items, TOPICS_WIDTH], np.int32),
            "duration_seconds": rng.integers(1, config.quantile_buckets + 1, items, np.int32),
        },
    )
    return ranker


def bench_request(items: int, history_length: int, candidates: int, seed: int) -> dict[str, np.ndarray]:
    """A request of one user; popular items come more often, as in life."""
    rng = np.random.default_rng(seed)

    def popular(count: int) -> np.ndarray:
        return (items * rng.random([1, count]) ** 2).astype(np.int64)

    return {
        "history/item_id": popular(history_length),
        "history/length": np.array([history_length]),
        "history/timestamp": np.sort(NOW_MS - rng.integers(1, 2 * 10**10, [1, history_length]), axis=1),
        "history/play_seconds": rng.gamma(2, 8, [1, history_length]).astype(np.float32),
        "history/completion": rng.gamma(2, 8, [1, history_length]).astype(np.float32),
        "history/liked": rng.integers(0, 2, [1, history_length]),
        "candidate/item_id": popular(candidates),
        "request/timestamp": np.array([NOW_MS]),
        "user/age_group": np.array([1]),
        "user/activity": np.array([b"1"], object),
        "context/page_position": np.array([2]),
    }
