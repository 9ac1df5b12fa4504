"""Target-behaviour relevance (section 3.3.3, Eq. 4 to 6): the one metric of both stages."""

import tensorflow as tf

from model.embedding import FeatureEmbeddings


class Relevance(tf.keras.layers.Layer):
    """Relevance of behaviours to a target, for every head a.

        alpha_a = (K_h W_a^h)(q^T W_a^q)^T / sqrt(d_k) + (K_c W_a^c) beta
        K_c W_a^c = [K_c,1 w_a,1 ... K_c,J w_a,J]

    The first term needs only the projection K_h W^h of inherent features, which the item table holds ready; the
    second is one scalar per cross feature, bucket and head, so `bias_tables` folds E_j w_a,j beta_j into a tiny table
    and a whole history's bias costs J gathers.

    CP-GSU and ESU hold the same instance: the stages cannot differ in structure or in parameters.

    Args:
        heads: h.
        head_dim: d_k.
        inherent_width: H.
        cross: Embeddings E_j of the J cross features.
        bias: Whether there is the second term; without it `cross_kernels` and `bias_tables` are empty.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        inherent_width: int,
        cross: FeatureEmbeddings,
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.heads, self.head_dim, self.cross = heads, head_dim, cross
        width = heads * head_dim
        self.inherent_kernel = self.add_weight("inherent_kernel", [inherent_width, width])  # W^h
        self.query_kernel = self.add_weight("query_kernel", [inherent_width, width])  # W^q
        self.cross_kernels = {
            feature: self.add_weight(f"cross_kernel_{feature}", [embedding.width, heads])  # w_j of every head
            for feature, embedding in (cross.embeddings if bias else {}).items()
        }
        if self.cross_kernels:  # a weight that is never used would never have a gradient
            self.beta = self.add_weight("beta", [len(self.cross_kernels)], initializer="ones")

    def start_as_similarity(self, weight: tf.Tensor) -> None:
        """Sets W^q = W^h so that the first term of every head is sum_i weight_i q_i K_h,i in expectation.

        Random kernels make the CP-GSU retrieve at random, and only what it retrieves teaches the relevance. Started as
        a similarity, it retrieves what shares the target's features from the first step on.

        Args:
            weight: float32 [H], not negative.
        """
        width = self.inherent_kernel.shape[0]
        gain = (self.head_dim**0.5 * max(width / self.head_dim, 1.0)) ** 0.5
        # An initializer gives the same values again: the heads need one each to differ.
        heads = [tf.keras.initializers.Orthogonal(gain)([width, self.head_dim]) for _ in range(self.heads)]
        kernel = tf.concat(heads, axis=1)
        kernel *= tf.sqrt(weight)[:, tf.newaxis]
        self.inherent_kernel.assign(kernel)
        self.query_kernel.assign(kernel)

    def project(self, inherent: tf.Tensor) -> tf.Tensor:
        """K_h W^h of all heads: float32 [..., H] to [..., h * d_k]. What the item table stores."""
        return tf.tensordot(inherent, self.inherent_kernel, 1)

    def query(self, target: tf.Tensor) -> tf.Tensor:
        """q^T W^q / sqrt(d_k): float32 [B, N, H] to [B, N, h, d_k]."""
        shape = tf.shape(target)
        projected = tf.tensordot(target, self.query_kernel, 1) * self.head_dim**-0.5
        return tf.reshape(projected, [shape[0], shape[1], self.heads, self.head_dim])

    def bias_tables(self) -> dict[str, tf.Tensor]:
        """E_j w_a,j beta_j for every bucket and head: {j: float32 [buckets_j, h]}."""
        return {
            feature: tf.matmul(self.cross.embeddings[feature].dictionary(), kernel) * self.beta[j]
            for j, (feature, kernel) in enumerate(self.cross_kernels.items())
        }

    def of_history(self, query: tf.Tensor, keys: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """Relevance of a history shared by all candidates.

        Args:
            query: float32 [B, N, h, d_k], from `query`.
            keys: float32 [B, L, h * d_k], projections of the behaviours.
            bias: float32, broadcast to [B, h, N, L]: the cross features' term, -inf where a behaviour is invisible.

        Returns:
            float32 [B, h, N, L].
        """
        shape = tf.shape(keys)
        split = tf.reshape(keys, [shape[0], shape[1], self.heads, self.head_dim])
        return tf.einsum("bnhd,blhd->bhnl", query, split) + bias

    def of_retrieved(self, query: tf.Tensor, inherent: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """Relevance of each candidate's own behaviours, with current projections.

        (K_h W^h) q is computed as K_h (W^h q): h queries of a candidate meet W^h instead of its K behaviours.

        Args:
            query: float32 [B, N, h, d_k].
            inherent: float32 [B, N', K, H], K_h; N' = N, or 1 where all candidates share the behaviours.
            bias: float32, broadcast to [B, N, h, K].

        Returns:
            float32 [B, N, h, K].
        """
        kernel = tf.reshape(self.inherent_kernel, [-1, self.heads, self.head_dim])
        return tf.matmul(tf.einsum("bnhd,chd->bnhc", query, kernel), inherent, transpose_b=True) + bias
