"""Small per-user Examples and catalog Examples in the layout that preprocessing writes."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.toy import ITEM_IDS, NOW


def feature(values: Any) -> tf.train.Feature:
    array = np.atleast_1d(np.asarray(values))
    if array.dtype.kind in "SUO":
        encoded = [v if isinstance(v, bytes) else str(v).encode() for v in array]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
    if array.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=array))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=array))


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row in rows:
            example = tf.train.Example(features=tf.train.Features(feature={k: feature(v) for k, v in row.items()}))
            writer.write(example.SerializeToString())
    return str(file)


def user_row(rng: np.random.Generator, behaviours: int, targets: int) -> dict[str, Any]:
    """A user who likes every second item: the label is readable from the item id."""
    times = np.sort(rng.integers(NOW - 10**9, NOW, behaviours))
    target_times = np.sort(rng.integers(NOW - 10**8, NOW, targets))
    target = rng.choice(ITEM_IDS, targets)
    return {
        "user_id": b"u",
        "user/age_group": 2,
        "user/activity": b"high",
        "history/item_id": rng.choice(ITEM_IDS, behaviours),
        "history/timestamp": times,
        "history/play_seconds": rng.uniform(0, 30, behaviours).astype(np.float32),
        "history/completion": rng.uniform(0, 1, behaviours).astype(np.float32),
        "history/liked": rng.integers(0, 2, behaviours),
        "target/item_id": target,
        "target/timestamp": target_times,
        "target/label": (target % 2).astype(np.float32),
        "target/history_end": np.searchsorted(times, target_times),
        "target/page_position": rng.integers(0, 4, targets),
    }


def catalog_rows(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "item_id": item_id,
            "frequency": 50 - i,
            "author_id": 500 + i % 10,
            "topics": rng.integers(0, 6, 1 + i % 3),
            "duration_seconds": np.float32(i),
        }
        for i, item_id in enumerate(ITEM_IDS)
    ]
