"""Embedding dictionaries (Eq. 3)."""

from collections.abc import Mapping

import tensorflow as tf

from model.config import Pooling


class Embedding(tf.keras.layers.Layer):
    """Indices to embeddings: E_A x_hot, with index 0 (absent) contributing nothing.

    A multi-hot feature is by default the sum of its values' embeddings, which is what the product with a multi-hot code
    gives (section 3.2.1, Eq. 3). The mean instead keeps long lists from outweighing short ones.

    Args:
        rows: Number of indices, 0 (absent) included.
        width: Embedding dimension d_A.
        pooling: None for one value, else the last axis of the input lists the values of one feature.
    """

    def __init__(self, rows: int, width: int, pooling: Pooling | None = None, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rows, self.width, self.pooling = rows, width, pooling
        self.table = self.add_weight(
            "table", [rows, width], initializer=tf.keras.initializers.RandomNormal(stddev=width**-0.5)
        )

    def call(self, index: tf.Tensor) -> tf.Tensor:
        """int32 [...] (multi-hot: [..., W]) to float32 [..., width]."""
        present = tf.cast(index > 0, tf.float32)[..., tf.newaxis]
        embedded = tf.gather(self.table, index) * present
        if self.pooling is None:
            return embedded
        total = tf.reduce_sum(embedded, axis=-2)
        if self.pooling == "sum":
            return total
        return total / tf.maximum(tf.reduce_sum(present, axis=-2), 1.0)

    def dictionary(self) -> tf.Tensor:
        """The whole table float32 [rows, width] as `call` sees it: row 0 is zero."""
        return tf.concat([tf.zeros([1, self.width]), self.table[1:]], axis=0)


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

    def call(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """{feature: int32 [...] or [..., W]} to float32 [..., width]."""
        return tf.concat([embed(index[feature]) for feature, embed in self.embeddings.items()], axis=-1)
