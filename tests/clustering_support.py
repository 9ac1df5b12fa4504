"""Small lives, item vectors and Examples for the clustering tests."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from model.config import TwinConfig
from model.schema import DatasetSchema, load_schema
from pipelines.clustering.entries import Entries
from pipelines.clustering.groups import groups_of
from pipelines.clustering.vectors import ItemVectors
from pipelines.examples import encode_example

SCHEMA = load_schema("simulated")
CONFIG = TwinConfig(max_cluster_size=4, short_term_length=3, recluster_after=10, completion_groups=2)


def vectors_of(points: dict[int, Sequence[float]], duration: dict[int, float] | None = None) -> ItemVectors:
    """Vectors by item id."""
    ids = np.array(sorted(points), np.int64)
    values = np.array([points[i] for i in ids.tolist()], np.float32).reshape(len(ids), -1 if points else 2)
    durations = None if duration is None else np.array([duration[i] for i in ids.tolist()], np.float32)
    return ItemVectors(ids, values, np.ones(values.shape[1], np.float32), durations)


def random_vectors(items: int, seed: int = 0, width: int = 8) -> ItemVectors:
    """Items 1, 2, ... in a few directions."""
    rng = np.random.default_rng(seed)
    theme = rng.standard_normal((4, width))[rng.integers(4, size=items)]
    values = (theme + 0.3 * rng.standard_normal((items, width))).astype(np.float32)
    return ItemVectors(np.arange(1, items + 1), values, np.ones(width, np.float32))


def entries(
    item: Sequence[int],
    time: Sequence[int],
    completion: Sequence[float] | None = None,
    group: Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    play: Sequence[float] | None = None,
    liked: Sequence[int] | None = None,
) -> Entries:
    """Entries of the schema `simulated`."""
    n = len(item)
    cross = {
        "play_seconds": np.array(play if play is not None else [1.0] * n, np.float32),
        "completion": np.array(completion if completion is not None else [0.5] * n, np.float32),
        "liked": np.array(liked if liked is not None else [0] * n, np.int64),
    }
    groups = np.array(group if group is not None else [0] * n, np.int64)
    sizes = np.array(size if size is not None else [1] * n, np.int64)
    return Entries(np.array(item, np.int64), np.array(time, np.int64), sizes, groups, cross)


def random_life(
    rng: np.random.Generator, behaviours: int, items: int, span: int, vectors: ItemVectors, config: TwinConfig = CONFIG
) -> Entries:
    """A life of repeated items, coinciding times and broken completions; ids above those of `vectors` are unknown."""
    completion = rng.choice([0.1, 0.4, 0.6, 1.0, 1.7, -1.0, np.nan, np.inf], behaviours)
    life = entries(
        rng.integers(1, items + 1, behaviours).tolist(),
        np.sort(rng.integers(0, span, behaviours)).tolist(),
        completion.tolist(),
        play=rng.uniform(0, 9, behaviours).tolist(),
        liked=rng.integers(0, 2, behaviours).tolist(),
    )
    return dataclasses.replace(life, group=groups_of(life, SCHEMA, config, vectors))


def example_of(life: Entries, target_times: Sequence[int], user: bytes = b"u", delay: int = 0) -> bytes:
    """A per-user Example in the preprocessing's layout; target i has item id 1000 + i."""
    targets = np.array(target_times, np.int64)
    columns: dict[str, Any] = {
        "user_id": pa.array([user], pa.binary()),
        "user/activity": pa.array([b"high"], pa.binary()),
        "history/item_id": life.item,
        "history/timestamp": life.time,
        "target/item_id": 1000 + np.arange(len(targets)),
        "target/timestamp": targets,
        "target/label": (targets % 2).astype(np.float32),
        "target/page_position": np.arange(len(targets)),
        "target/history_end": np.searchsorted(life.time, targets - delay, side="left").astype(np.int64),
    }
    return encode_example(columns | {f"history/{name}": values for name, values in life.cross.items()})


def decoded(record: bytes) -> dict[str, Any]:
    """The features of an Example as lists."""
    row: dict[str, Any] = ExamplesToRecordBatchDecoder().DecodeBatch([record]).to_pylist()[0]
    return row


def schema_with(**changes: Any) -> DatasetSchema:
    """The schema `simulated`, changed."""
    return dataclasses.replace(SCHEMA, **changes)
