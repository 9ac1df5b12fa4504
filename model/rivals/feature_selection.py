"""UBR4CTR's self-attentive selection of the features to search by."""

from collections.abc import Mapping

import tensorflow as tf

from model.embedding import FeatureEmbeddings

_HIDDEN = (20, 10)
_INITIAL_BIAS = 2.0


class FeatureSelection(tf.keras.layers.Layer):
    """Probability that a feature of the target enters the query (UBR4CTR, feature selection model).

        S = F + softmax(F W_q (F W_k)^T / sqrt(d)) F W_v,  p_i = sigmoid(MLP(s_i)), hidden layers of 20 and 10 with ReLU

    F are the target's inherent features, each brought to width d. The reward trains the selection alone: no gradient
    reaches the embeddings, of which UBR4CTR's selection has a copy of its own. It starts with most features in.

    Args:
        inherent: Embeddings of the target's features.
        width: d.
    """

    def __init__(self, inherent: FeatureEmbeddings, width: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.inherent, self.attention_width = inherent, width
        self.feature_kernels = {
            feature: self.add_weight(f"feature_kernel_{feature}", [embedding.width, width])
            for feature, embedding in inherent.embeddings.items()
        }
        self.kernels = [self.add_weight(f"{part}_kernel", [width, width]) for part in ("query", "key", "value")]
        layers: list[tf.keras.layers.Layer] = [tf.keras.layers.Dense(units, activation="relu") for units in _HIDDEN]
        last = tf.keras.layers.Dense(
            1, activation="sigmoid", bias_initializer=tf.keras.initializers.Constant(_INITIAL_BIAS)
        )
        self.mlp = tf.keras.Sequential([*layers, last], name="mlp")
        self.mlp.build([None, None, None, width])

    def call(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Feature indices of items [B, N] or [B, N, W] to probabilities float32 [B, N, F], features in their order."""
        features = tf.stack(
            [
                tf.tensordot(tf.stop_gradient(self.inherent.embeddings[feature](index[feature])), kernel, 1)
                for feature, kernel in self.feature_kernels.items()
            ],
            axis=2,
        )  # [B, N, F, d]
        query, key, value = (tf.tensordot(features, kernel, 1) for kernel in self.kernels)
        weight = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * self.attention_width**-0.5)
        return tf.squeeze(self.mlp(features + tf.matmul(weight, value)), axis=-1)
