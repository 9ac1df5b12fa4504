"""A small ranker on the schema `simulated`, and requests for it."""

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.encoders import Boundaries, Encoders, Vocabulary
from model.ranker import TwinRanker
from model.schema import DatasetSchema, load_schema

ITEMS = 40
KNOWN = 25
ITEM_IDS = np.arange(ITEMS, dtype=np.int64) * 7 + 100
NOW = 1_700_000_000_000
ENCODERS = Encoders(
    {
        "inherent/author_id": Vocabulary("int64", tuple(range(500, 510))),
        "inherent/topics": Vocabulary("int64", tuple(range(6))),
        "inherent/duration_seconds": Boundaries((5.0, 10.0, 60.0)),
        "cross/play_seconds": Boundaries((1.0, 5.0, 20.0)),
        "cross/completion": Boundaries((0.2, 0.8)),
        "cross/liked": Vocabulary("int64", (0, 1)),
        "context/page_position": Vocabulary("int64", tuple(range(4))),
        "user/age_group": Vocabulary("int64", (1, 2, 3)),
        "user/activity": Vocabulary("string", ("high", "low")),
    }
)
SMALL = TwinConfig(
    heads=2,
    head_dim=4,
    retrieved=5,
    short_term_length=3,
    id_width=6,
    feature_width=3,
    mlp=(8,),
    multi_hot_width=2,
    history_length=20,
    targets_per_window=4,
    users_per_batch=2,
)


def toy_schema() -> DatasetSchema:
    """The schema `simulated`."""
    return load_schema("simulated")


def toy_ranker(config: TwinConfig = SMALL, seed: int = 0) -> TwinRanker:
    """A ranker with random weights and a filled, refreshed table."""
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    ranker = TwinRanker(toy_schema(), ENCODERS, config, KNOWN, {"topics": 2})
    for variable in ranker.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    for table in ranker.embedding_variables():
        table.assign(tf.concat([tf.zeros_like(table[:1]), table[1:]], axis=0))
    ranker.item_table.assign(
        ITEM_IDS,
        {
            "item_id": np.where(np.arange(ITEMS) < KNOWN, np.arange(ITEMS) + 1, 0).astype(np.int32),
            "author_id": rng.integers(0, 12, ITEMS).astype(np.int32),
            "topics": rng.integers(0, 8, (ITEMS, 2)).astype(np.int32),
            "duration_seconds": rng.integers(0, 5, ITEMS).astype(np.int32),
        },
    )
    ranker.item_table.refresh(ranker.project_rows)
    return ranker


def toy_request(
    rng: np.random.Generator,
    users: int = 2,
    candidates: int = 3,
    length: int = 12,
    unknown: float = 0.1,
    clustered: bool = False,
) -> dict[str, np.ndarray]:
    """A raw request; a share `unknown` of the history's items has no row, and lengths vary; sizes if `clustered`."""
    shape = (users, length)
    items = np.where(rng.random(shape) < unknown, 3, rng.choice(ITEM_IDS, shape))
    raw = {
        "history/item_id": items.astype(np.int64),
        "history/length": rng.integers(0, length + 1, users),
        "history/timestamp": np.sort(NOW - rng.integers(1, 10**11, shape), axis=1),
        "history/play_seconds": rng.uniform(0, 30, shape).astype(np.float32),
        "history/completion": rng.uniform(0, 1, shape).astype(np.float32),
        "history/liked": rng.integers(0, 3, shape),
        "candidate/item_id": rng.choice(ITEM_IDS, (users, candidates)),
        "request/timestamp": np.full(users, NOW),
        "user/age_group": rng.integers(0, 5, users),
        "user/activity": rng.choice(np.array([b"high", b"low", b"other"], object), users),
        "context/page_position": rng.integers(0, 6, users),
    }
    return {**raw, "history/cluster_size": rng.integers(1, 21, shape)} if clustered else raw


def tensors(raw: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """The request as tensors."""
    return {name: tf.constant(values) for name, values in raw.items()}
