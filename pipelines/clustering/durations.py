"""The raw `duration` of every item, which the item table has in buckets only."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.feature import Feature
from model.schema import DatasetSchema
from pipelines.clustering.entries import Ints
from pipelines.clustering.vectors import Floats
from pipelines.preprocess.parsing import parse, parse_item_ids
from pipelines.readers import open_table, read_chunks

_BATCH = 8192


def table_durations(data: str, schema: DatasetSchema, duration: Feature) -> tuple[Ints, Floats]:
    """Item keys int64 [n] and their durations float32 [n] after a raw items table; unusable rows are left out.

    Args:
        data: Folder of the raw tables.
        schema: The declared columns.
        duration: Its feature with modifier `duration`.

    Raises:
        RawDataError: The table or a column is missing, or a file is damaged.
    """
    keys, durations = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for span in open_table(data, "items", schema).spans:
        for chunk in read_chunks(replace(span, columns=(schema.item_id.name, duration.name))):
            key, null, garbage = parse_item_ids(chunk.columns.column(schema.item_id.name), schema.item_id)
            parsed = parse(chunk.columns.column(duration.name), duration)
            good = ~(null | garbage | parsed.bad)
            keys.append(key[good])
            durations.append(np.asarray(parsed.values)[good])
    return _first_of_each(np.concatenate(keys), np.concatenate(durations))


def catalog_durations(files: Sequence[str], duration: Feature) -> tuple[Ints, Floats]:
    """Item keys int64 [n] and their durations float32 [n] after catalog Examples (gzipped TFRecord files)."""
    import tensorflow as tf

    spec = {
        "item_id": tf.io.FixedLenFeature([], tf.int64),
        duration.name: tf.io.FixedLenFeature([], tf.float32, float("nan")),
    }
    keys, durations = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for serialized in tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH):
        parsed = tf.io.parse_example(serialized, spec)
        keys.append(parsed["item_id"].numpy())
        durations.append(parsed[duration.name].numpy())
    return _first_of_each(np.concatenate(keys), np.concatenate(durations))


def _first_of_each(keys: Ints, durations: Floats) -> tuple[Ints, Floats]:
    unique, first = np.unique(keys, return_index=True)
    return unique, durations[first]
