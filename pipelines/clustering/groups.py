"""The groups in which behaviours are clustered apart: by completion (TWIN-V2)."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.config import TwinConfig
from model.schema import DatasetSchema, item_key
from pipelines.clustering.entries import Entries, Ints
from pipelines.clustering.vectors import ItemVectors
from pipelines.preprocess.event_columns import Column

UNKNOWN_ITEMS = np.iinfo(np.int64).min
"""The group of behaviours whose item has no vector; no completion leads to it."""


def groups_of(entries: Entries, schema: DatasetSchema, config: TwinConfig, vectors: ItemVectors) -> Ints:
    """The group of every behaviour, int64 [n]; the same in every run.

    A FLOAT completion r, a ratio or time played over duration, is in group min(floor(M r), M - 1) of
    M = `completion_groups`; NaN, infinite or negative r, or no positive duration, in group M. An INT completion is its
    group, a BYTES one's group is a hash. Without completion all are in group 0. Unknown items are `UNKNOWN_ITEMS`.

    Args:
        entries: Single behaviours.
        schema: Names `completion` and `duration`.
        config: `completion_groups`.
        vectors: The known items, and their durations.
    """
    rows = vectors.rows(entries.item)
    if schema.completion is None:
        group = np.zeros(len(entries), np.int64)
    else:
        completion = entries.cross[schema.completion.name]
        if schema.completion.dtype == "float32":
            ratio = np.asarray(completion, np.float64)
            if schema.duration is not None:
                ratio = _over_duration(ratio, rows, vectors)
            group = _cut(ratio, config.completion_groups)
        elif schema.completion.dtype == "string":
            group = _hashed(completion)
        else:
            group = np.asarray(completion, np.int64)
    return np.where(rows < 0, UNKNOWN_ITEMS, group)


def grouping(schema: DatasetSchema, config: TwinConfig) -> str:
    """What `groups_of` does with these, in words; runs that go on from one another must agree in it."""
    if schema.completion is None:
        return "one group"
    if schema.completion.dtype != "float32":
        return f"by value of {schema.completion.name}"
    over = "" if schema.duration is None else f" / {schema.duration.name}"
    return f"by {schema.completion.name}{over} in {config.completion_groups} parts"


def _over_duration(played: np.ndarray, rows: Ints, vectors: ItemVectors) -> np.ndarray:
    duration = np.full(len(rows), np.nan)
    if vectors.duration is not None:
        duration[rows >= 0] = vectors.duration[rows[rows >= 0]]
    positive = np.isfinite(duration) & (duration > 0)
    return np.divide(played, duration, out=np.full(len(rows), np.nan), where=positive)


def _cut(ratio: np.ndarray, groups: int) -> Ints:
    valid = np.isfinite(ratio) & (ratio >= 0)
    part = np.minimum(np.where(valid, ratio, 0.0), 1.0) * groups
    return np.where(valid, np.minimum(part.astype(np.int64), groups - 1), groups)


def _hashed(values: Column) -> Ints:
    encoded = pc.dictionary_encode(values.cast(pa.large_binary()))
    names = [item_key(name.decode("utf-8", "replace")) for name in encoded.dictionary.to_pylist()]
    return np.array(names, np.int64)[encoded.indices.to_numpy()] if names else np.zeros(0, np.int64)
