"""Embedding dictionaries (Eq. 3)."""

from collections.abc import Mapping

import tensorflow as tf


class Embedding(tf.keras.layers.Layer):
    """Indices to embeddings: E_A x_hot, with index 0 (absent) contributing nothing.

    A multi-hot feature is the sum of its values' embeddings, which is what the product with a multi-hot code gives
    (section 3.2.1, Eq. 3).

    Args:
        rows: Number of indices, 0 (absent) included.
        width: Embedding dimension d_A.
        multi_hot: Whether the last axis of the input lists the values of one feature.
    """

    def __init__(self, rows: int, width: int, multi_hot: bool = False, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rows, self.width, self.multi_hot = rows, width, multi_hot
        self.table = self.add_weight(
            "table", [rows, width], initializer=tf.keras.initializers.RandomNormal(stddev=width**-0.5)
        )

    def call(self, index: tf.Tensor) -> tf.Tensor:
        """int32 [...] (multi-hot: [..., W]) to float32 [..., width]."""
        present = tf.cast(index > 0, tf.float32)[..., tf.newaxis]
        embedded = tf.gather(self.table, index) * present
        return tf.reduce_sum(embedded, axis=-2) if self.multi_hot else embedded

    def dictionary(self) -> tf.Tensor:
        """The whole table float32 [rows, width] as `call` sees it: row 0 is zero."""
        return tf.concat([tf.zeros([1, self.width]), self.table[1:]], axis=0)


class FeatureEmbeddings(tf.keras.layers.Layer):
    """One `Embedding` a feature, concatenated in the order given.

    Args:
        features: Feature name to (rows, width, multi_hot).
    """

    def __init__(self, features: Mapping[str, tuple[int, int, bool]], name: str | None = None) -> None:
        super().__init__(name=name)
        self.embeddings = {
            feature: Embedding(rows, width, multi_hot, name=feature)
            for feature, (rows, width, multi_hot) in features.items()
        }
        self.width = sum(width for _, width, _ in features.values())

    def call(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """{feature: int32 [...] or [..., W]} to float32 [..., width]."""
        return tf.concat([embed(index[feature]) for feature, embed in self.embeddings.items()], axis=-1)
