"""Embedding dictionaries (Eq. 3)."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from model.config import Pooling


class Embedding(tf.keras.layers.Layer):
    """Indices to embeddings: E_A x_hot, with index 0 (absent) contributing nothing: row 0 is zero and stays so.

    A multi-hot feature is by default the sum of its values' embeddings, which is what the product with a multi-hot code
    gives (section 3.2.1, Eq. 3). The mean instead keeps long lists from outweighing short ones; `sqrtn`, the sum over
    the root of the number of values, makes inner products of random embeddings the cosines of the multi-hot codes.

    Args:
        rows: Number of indices, 0 (absent) included.
        width: Embedding dimension d_A.
        pooling: None for one value, else the last axis of the input lists the values of one feature.
    """

    def __init__(self, rows: int, width: int, pooling: Pooling | None = None, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rows, self.width, self.pooling = rows, width, pooling
        self.table = self.add_weight("table", [rows, width], initializer=_row_0_zero)

    def call(self, index: tf.Tensor) -> tf.Tensor:
        """int32 [...] (multi-hot: [..., W]) to float32 [..., width]."""
        present = index > 0
        embedded = _no_gradient_where_absent(tf.gather(self.table, index), present)
        if self.pooling is None:
            return embedded
        total = tf.reduce_sum(embedded, axis=-2)
        if self.pooling == "sum":
            return total
        count = tf.maximum(tf.math.count_nonzero(present, axis=-1, keepdims=True, dtype=tf.float32), 1.0)
        return total / (tf.sqrt(count) if self.pooling == "sqrtn" else count)

    def dictionary(self) -> tf.Tensor:
        """The whole table float32 [rows, width], for what is computed once per index instead of once per use."""
        return _no_gradient_where_absent(tf.convert_to_tensor(self.table), tf.range(self.rows) > 0)


class FeatureEmbeddings(tf.keras.layers.Layer):
    """One `Embedding` a feature, concatenated in the order given.

    Args:
        features: Feature name to (rows, width, pooling).
    """

    def __init__(self, features: Mapping[str, tuple[int, int, Pooling | None]], name: str | None = None) -> None:
        super().__init__(name=name)
        self.embeddings = {
            feature: Embedding(rows, width, pooling, name=feature)
            for feature, (rows, width, pooling) in features.items()
        }
        self.width = sum(width for _, width, _ in features.values())

    def relative_widths(self) -> tf.Tensor:
        """Of every column, its feature's width over the widest feature's, float32 [width]."""
        widths = [embedding.width for embedding in self.embeddings.values()]
        return tf.repeat(tf.constant(widths, tf.float32) / max(widths), widths)

    def call(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """{feature: int32 [...] or [..., W]} to float32 [..., width]."""
        return tf.concat([embed(index[feature]) for feature, embed in self.embeddings.items()], axis=-1)


def _row_0_zero(shape: Sequence[int], dtype: tf.DType = tf.float32, **_: object) -> tf.Tensor:
    rows = tf.keras.initializers.RandomNormal(stddev=shape[1] ** -0.5)([shape[0] - 1, shape[1]], dtype)
    return tf.concat([tf.zeros([1, shape[1]], dtype), rows], axis=0)


@tf.custom_gradient
def _no_gradient_where_absent(embedded: tf.Tensor, present: tf.Tensor) -> tuple[tf.Tensor, Callable[..., object]]:
    # A mask in the backward pass alone: serving would pay for one in the forward pass at every behaviour.
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return upstream * tf.cast(present, upstream.dtype)[..., tf.newaxis], None

    return tf.identity(embedded), gradient
