"""Training windows: one user's history shared by T consecutive targets, shaped like a request."""

from collections.abc import Sequence

import tensorflow as tf

from model.config import TwinConfig
from model.feature import Feature
from model.history import CLUSTER_SIZE, history_columns
from model.schema import DatasetSchema

_SIZES = f"history/{CLUSTER_SIZE}"
_MISSING = {"int64": -1, "string": "", "float32": float("nan")}


def window_dataset(files: Sequence[str], schema: DatasetSchema, config: TwinConfig, shuffle: bool) -> tf.data.Dataset:
    """Batches of windows cut from per-user Examples.

    A window holds T consecutive targets and the last L behaviours before each of them, so a history is stored,
    decoded, looked up and projected once for T targets. `candidate/history_end` says how many behaviours of the
    window each target may see.

    Args:
        files: TFRecord gzip files, one Example per user.
        schema: The data set's columns.
        config: `history_length`, `targets_per_window`, `users_per_batch`, `shuffle_windows`, `seed`, `clustered`.
        shuffle: Whether to shuffle users and windows.

    Returns:
        Raw batches (see `model.request.RawBatch`) with `label` and `weight` float32 [B, N]; weight 0 is padding.
    """
    spec = user_example_spec(schema, config.clustered)
    names = tf.data.Dataset.from_tensor_slices(list(files))
    if shuffle:
        names = names.shuffle(len(files), config.seed)
    dataset = names.interleave(lambda file: tf.data.TFRecordDataset(file, compression_type="GZIP"), cycle_length=4)

    dataset = dataset.interleave(
        lambda serialized: windows_of(tf.io.parse_single_example(serialized, spec), schema, config),
        cycle_length=2 * config.users_per_batch,
        block_length=1,
    )
    if shuffle:
        dataset = dataset.shuffle(config.shuffle_windows, config.seed, reshuffle_each_iteration=True)
    return dataset.padded_batch(config.users_per_batch).prefetch(2)


def windows_of(example: dict[str, tf.Tensor], schema: DatasetSchema, config: TwinConfig) -> tf.data.Dataset:
    """All windows of one user's parsed Example, in order; see `cut_window`."""
    targets = tf.cast(tf.size(example["target/item_id"]), tf.int64)
    starts = tf.data.Dataset.range(0, targets, config.targets_per_window)
    return starts.map(lambda start: cut_window(example, tf.cast(start, tf.int32), schema, config))


def cut_window(
    example: dict[str, tf.Tensor], start: tf.Tensor, schema: DatasetSchema, config: TwinConfig
) -> dict[str, tf.Tensor]:
    """The window of the targets from `start` on: the raw names of `model.request.RawBatch`, without the batch axis.

    For a model of clustered histories, fails at run time where the Example has no sizes, or one below 1.
    """
    if config.clustered:
        example = {**example, _SIZES: _checked_sizes(example)}
    stop = tf.minimum(start + config.targets_per_window, tf.size(example["target/item_id"]))
    end = tf.cast(example["target/history_end"][start:stop], tf.int32)
    last = tf.reduce_max(end)
    first = tf.maximum(tf.reduce_min(end) - config.history_length, 0)
    window = {f"history/{n}": example[f"history/{n}"][first:last] for n in history_columns(schema, config.clustered)}
    window["history/length"] = tf.cast(last - first, tf.int64)
    window["candidate/item_id"] = example["target/item_id"][start:stop]
    window["candidate/history_end"] = tf.cast(tf.maximum(end - first, 0), tf.int64)
    window["request/timestamp"] = example["target/timestamp"][start:stop]
    for feature in schema.context:
        window[f"context/{feature.name}"] = example[f"target/{feature.name}"][start:stop]
    for feature in schema.user:
        window[f"user/{feature.name}"] = example[f"user/{feature.name}"]
    window["label"] = example["target/label"][start:stop]
    window["weight"] = tf.ones_like(window["label"])
    return window


def _checked_sizes(example: dict[str, tf.Tensor]) -> tf.Tensor:
    sizes, items = example[_SIZES], example["history/item_id"]
    message = f"feature {_SIZES!r}: x values for the y of 'history/item_id'; this model takes clustered Examples"
    as_many = tf.debugging.assert_equal(tf.size(sizes), tf.size(items), message=message)
    least = tf.constant(1, sizes.dtype)
    counted = tf.debugging.assert_greater_equal(sizes, least, message=f"feature {_SIZES!r}: a value is below 1")
    with tf.control_dependencies([as_many, counted]):
        return tf.reshape(sizes, tf.shape(items))


def user_example_spec(schema: DatasetSchema, clustered: bool = False) -> dict[str, object]:
    """How a per-user Example is parsed: lists as dense vectors, missing scalars as -1, "" or NaN.

    Args:
        schema: The data set's columns.
        clustered: Whether histories are clustered; of a clustered Example without it, the sizes go unread.
    """

    def scalar(feature: Feature) -> object:
        return tf.io.FixedLenFeature([], tf.dtypes.as_dtype(feature.dtype), _MISSING[feature.dtype])

    def sequence(dtype: str) -> object:
        return tf.io.FixedLenSequenceFeature([], tf.dtypes.as_dtype(dtype), allow_missing=True)

    spec: dict[str, object] = {"user_id": tf.io.FixedLenFeature([], tf.string)}
    for name in ("target/item_id", "target/timestamp", "target/history_end"):
        spec[name] = sequence("int64")
    spec["target/label"] = sequence("float32")
    spec |= {f"user/{f.name}": scalar(f) for f in schema.user}
    spec |= {f"history/{name}": sequence(dtype) for name, dtype in history_columns(schema, clustered).items()}
    spec |= {f"target/{f.name}": sequence(f.dtype) for f in schema.context}
    return spec
