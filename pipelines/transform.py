"""TensorFlow Transform: one full pass for vocabularies and quantiles, as a graph and as `Encoders`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from model.config import TwinConfig
from model.encoders import ABSENT, OUT_OF_VOCABULARY, Boundaries, Encoders, Vocabulary, feature_key
from model.feature import Dtype, Feature
from model.schema import DatasetSchema

_BOUNDARIES = "boundaries/"
_FIRST_BUCKET = 1
_QUANTILE_ERROR = 0.001


def user_transform_config(schema: DatasetSchema, config: TwinConfig) -> dict[str, Any]:
    """What `preprocessing_fn` shall do on the per-user Examples, as JSON values.

    Args:
        schema: The data set's columns.
        config: `min_value_frequency`, `quantile_buckets`.
    """
    tables = {"history": schema.cross, "target": schema.context, "user": schema.user}
    columns = [_column(f"{table}/{f.name}", f) for table, features in tables.items() for f in features]
    return _transform_config(columns, config)


def catalog_transform_config(schema: DatasetSchema, config: TwinConfig) -> dict[str, Any]:
    """What `preprocessing_fn` shall do on the catalog Examples, as JSON values.

    Only items that occur in the training Examples count for vocabularies and quantiles: what the others are is of the
    future, and nothing is learned of their values.

    Args:
        schema: The data set's columns.
        config: `min_value_frequency`, `quantile_buckets`.
    """
    return _transform_config([_column(f.name, f) for f in schema.inherent], config) | {"counted_by": "frequency"}


def _column(column: str, feature: Feature) -> dict[str, str]:
    return {"column": column, "key": feature_key(feature), "dtype": feature.dtype}


def _transform_config(columns: list[dict[str, str]], config: TwinConfig) -> dict[str, Any]:
    return {
        "columns": columns,
        "min_frequency": config.min_value_frequency,
        "buckets": config.quantile_buckets,
    }


def preprocessing_fn(inputs: Mapping[str, tf.SparseTensor], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Encodes raw features as indices; Transform calls it to build the graph of the full pass and of its result.

    Categorical: 0 missing (-1 or ""), 1 out of vocabulary, 2 + i the i-th most frequent value.
    Numeric: 0 missing (NaN), else 1 + (number of quantile boundaries <= x).

    Args:
        inputs: The columns of an Example, each a sparse [B, any].
        custom_config: Made by `user_transform_config` or `catalog_transform_config`.

    Returns:
        Feature key -> int64 indices, sparse as the input; and `boundaries/<key>` -> float32 quantile boundaries, the
        same in every row, from which `read_encoders` takes them.
    """
    outputs: dict[str, Any] = {}
    counted_by = custom_config.get("counted_by")
    for column in custom_config["columns"]:
        values, key = inputs[column["column"]], column["key"]
        counted = values if counted_by is None else _where_positive(values, inputs[counted_by])
        if column["dtype"] == "float32":
            outputs[key], outputs[f"{_BOUNDARIES}{key}"] = _bucketize(values, counted, custom_config["buckets"])
        else:
            outputs[key] = _look_up(values, counted, key, custom_config["min_frequency"])
    if not outputs:
        # Transform refuses a graph without outputs, and a data set may have nothing to encode but item ids.
        outputs["nothing"] = tf.zeros_like(next(iter(inputs.values())).dense_shape[:1])
    return outputs


def _where_positive(values: tf.SparseTensor, number: tf.SparseTensor) -> tf.SparseTensor:
    """The values of the rows whose `number`, one a row, is above 0."""
    positive = tf.sparse.reduce_sum(number, axis=1) > 0
    return tf.sparse.retain(values, tf.gather(positive, values.indices[:, 0]))


def _present(values: tf.SparseTensor) -> tf.Tensor:
    return tf.not_equal(values.values, "" if values.dtype == tf.string else tf.constant(-1, tf.int64))


def _look_up(values: tf.SparseTensor, counted: tf.SparseTensor, key: str, min_frequency: int) -> tf.SparseTensor:
    vocabulary = tft.vocabulary(
        tf.sparse.retain(counted, _present(counted)),
        frequency_threshold=min_frequency,
        vocab_filename=_vocabulary_name(key),
    )
    index = tft.apply_vocabulary(values, vocabulary, default_value=-1).values + OUT_OF_VOCABULARY + 1
    return values.with_values(tf.where(_present(values), index, tf.cast(ABSENT, tf.int64)))


def _bucketize(
    values: tf.SparseTensor, counted: tf.SparseTensor, buckets: int
) -> tuple[tf.SparseTensor, tf.SparseTensor]:
    finite = tf.boolean_mask(counted.values, tf.math.is_finite(counted.values))
    quantiles = tft.quantiles(finite, buckets, epsilon=min(_QUANTILE_ERROR, 0.1 / buckets))
    boundaries = tf.reshape(quantiles, [-1])
    index = _FIRST_BUCKET + tft.apply_buckets(values.values, boundaries[tf.newaxis])
    index = tf.where(tf.math.is_nan(values.values), tf.cast(ABSENT, tf.int64), index)
    rows = tf.tile(boundaries[tf.newaxis], [tf.cast(values.dense_shape[0], tf.int32), 1])
    return values.with_values(index), _all_values(rows)


def _all_values(dense: tf.Tensor) -> tf.SparseTensor:
    # Unlike tf.sparse.from_dense it keeps zeros.
    positions = tf.where(tf.ones_like(dense, tf.bool))
    return tf.SparseTensor(positions, tf.reshape(dense, [-1]), tf.shape(dense, tf.int64))


def read_encoders(user_transform_graph: Path, catalog_transform_graph: Path, schema: DatasetSchema) -> Encoders:
    """Reads vocabularies and boundaries out of the two Transform results.

    Args:
        user_transform_graph: Output folder of Transform on the per-user Examples.
        catalog_transform_graph: Output folder of Transform on the catalog Examples.
        schema: The data set's columns.

    Returns:
        `Encoders` that give every raw value the index that the Transform graphs give it.
    """
    on_users = (*schema.cross, *schema.context, *schema.user)
    features = _read(tft.TFTransformOutput(str(user_transform_graph)), on_users)
    return Encoders(features | _read(tft.TFTransformOutput(str(catalog_transform_graph)), schema.inherent))


def _read(transformed: tft.TFTransformOutput, features: Iterable[Feature]) -> dict[str, Vocabulary | Boundaries]:
    listed = list(features)
    constants = _constant_outputs(transformed) if any(f.numeric for f in listed) else {}
    return {
        key: _read_boundaries(constants[f"{_BOUNDARIES}{key}"])
        if feature.numeric
        else _read_vocabulary(transformed, key, feature.dtype)
        for feature in listed
        for key in [feature_key(feature)]
    }


def _constant_outputs(transformed: tft.TFTransformOutput) -> dict[str, tf.SparseTensor]:
    """Evaluates the graph on one Example without any value: what still comes out are the constants."""
    nothing = {
        name: tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], spec.dtype), [1, 0])
        for name, spec in transformed.raw_feature_spec().items()
    }
    return dict(transformed.transform_raw_features(nothing))


def _read_boundaries(row: tf.SparseTensor) -> Boundaries:
    return Boundaries(tuple(float(x) for x in row.values.numpy()))


def _read_vocabulary(transformed: tft.TFTransformOutput, key: str, dtype: Dtype) -> Vocabulary:
    # Transform fills an empty vocabulary with a stand-in that no raw value equals; it does no harm as an entry.
    lines = transformed.vocabulary_by_name(_vocabulary_name(key))
    if dtype == "int64":
        return Vocabulary(dtype, tuple(int(line) for line in lines))
    return Vocabulary(dtype, tuple(line.decode("utf-8", "replace") for line in lines))


def _vocabulary_name(key: str) -> str:
    return key.replace("/", "_")
