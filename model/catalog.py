"""The catalog: the items known to a run, read from their tf.Examples and turned into table rows."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.encoders import Encoders, feature_key, make_encoder
from model.feature import Feature
from model.item_table import ITEM_ID
from model.schema import DatasetSchema

_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class CatalogRows:
    """Items in ascending order of id, their features encoded.

    Attributes:
        item_id: int64 [R].
        frequency: int64 [R], lookups in the training split.
        index: {inherent feature: int32 [R] or [R, W]}; `item_id` among them, 0 for items seen too rarely.
        known_ids: int64 [V], ids with an embedding of their own, in the order of their indices 1, 2, ...
        coverage: Share of training lookups that find a row.
    """

    item_id: np.ndarray
    frequency: np.ndarray
    index: Mapping[str, np.ndarray]
    known_ids: np.ndarray
    coverage: float

    def multi_hot_widths(self) -> dict[str, int]:
        """Width of every multi-hot feature."""
        return {name: values.shape[1] for name, values in self.index.items() if values.ndim == 2}


def read_catalog(
    files: Sequence[str],
    schema: DatasetSchema,
    encoders: Encoders,
    config: TwinConfig,
    known_ids: Sequence[int] | np.ndarray = (),
) -> CatalogRows:
    """Reads catalog Examples (one item each) and encodes them.

    Args:
        files: TFRecord gzip files.
        schema: The data set's columns.
        encoders: Their vocabularies and buckets.
        config: `min_item_frequency`, `multi_hot_width`, `table_rows`.
        known_ids: Item ids in the order of their embedding indices 1, 2, ... of a model to go on from; new ids follow.
    """
    encode = {f.name: make_encoder(encoders.features[feature_key(f)], f.name) for f in schema.inherent}
    parts: list[dict[str, np.ndarray]] = []
    dataset = tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH)
    spec = _parse_spec(schema)
    for serialized in dataset:
        parsed = tf.io.parse_example(serialized, spec)
        part = {ITEM_ID: parsed["item_id"].numpy(), "frequency": parsed["frequency"].numpy()}
        for feature in schema.inherent:
            part[f"index/{feature.name}"] = encode[feature.name](_dense(parsed[feature.name], feature)).numpy()
        parts.append(part)
    item_id = np.concatenate([p[ITEM_ID] for p in parts])
    frequency = np.concatenate([p["frequency"] for p in parts])
    order, coverage = rows_to_keep(item_id, frequency, config.table_rows)
    item_id, frequency = item_id[order], frequency[order]
    known = _known_items(item_id, frequency, config.min_item_frequency, known_ids)
    index = {ITEM_ID: _indices_of(item_id, known)}
    for feature in schema.inherent:
        arrays = [p[f"index/{feature.name}"] for p in parts]
        if feature.multi_hot:
            width = max(1, min(config.multi_hot_width, max(a.shape[1] for a in arrays)))
            arrays = [np.pad(a[:, :width], [(0, 0), (0, max(0, width - a.shape[1]))]) for a in arrays]
        index[feature.name] = np.concatenate(arrays)[order]
    return CatalogRows(item_id, frequency, index, known, coverage)


def rows_to_keep(item_id: np.ndarray, frequency: np.ndarray, budget: int) -> tuple[np.ndarray, float]:
    """Frequency control: which items get a table row (section 3.4.2: tailed items are cut off).

    Args:
        item_id: int64 [R], unique.
        frequency: int64 [R], lookups.
        budget: Most rows to keep, the most frequent first; 0 = all.

    Returns:
        Positions of the kept items in ascending order of id, and the share of lookups that they cover.
    """
    kept = np.lexsort((item_id, -frequency))[: budget or len(item_id)]
    total = frequency.sum()
    coverage = float(frequency[kept].sum() / total) if total else 1.0
    return kept[np.argsort(item_id[kept])], coverage


def _known_items(
    item_id: np.ndarray, frequency: np.ndarray, min_frequency: int, known_ids: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Ids with an embedding of their own, in the order of their indices 1, 2, ...: old ones, then by frequency."""
    frequent = frequency >= min_frequency
    by_frequency = item_id[frequent][np.argsort(-frequency[frequent], kind="stable")]
    old = np.asarray(known_ids, np.int64)
    return np.concatenate([old, by_frequency[~np.isin(by_frequency, old)]])


def _indices_of(item_id: np.ndarray, known: np.ndarray) -> np.ndarray:
    order = np.argsort(known)
    at = np.searchsorted(known, item_id, sorter=order)
    at = order[np.minimum(at, len(known) - 1)] if len(known) else np.zeros(len(item_id), np.int64)
    found = known[at] == item_id if len(known) else np.zeros(len(item_id), bool)
    return np.where(found, at + 1, 0).astype(np.int32)


def _parse_spec(schema: DatasetSchema) -> dict[str, object]:
    spec: dict[str, object] = {
        "item_id": tf.io.FixedLenFeature([], tf.int64),
        "frequency": tf.io.FixedLenFeature([], tf.int64, 0),
    }
    for feature in schema.inherent:
        spec[feature.name] = tf.io.VarLenFeature(tf.dtypes.as_dtype(feature.dtype))
    return spec


def _dense(values: tf.SparseTensor, feature: Feature) -> tf.Tensor:
    missing = {"int64": -1, "string": "", "float32": float("nan")}[feature.dtype]
    dense = tf.sparse.to_dense(values, default_value=missing)
    if feature.multi_hot:
        return dense
    return tf.pad(dense, [[0, 0], [0, 1]], constant_values=missing)[:, 0]
