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
