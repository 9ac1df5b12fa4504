"""The consistency-preserved general search unit (section 3.3.3)."""

import tensorflow as tf

from model.head_union import union_by_rank
from model.relevance import Relevance
from model.top_k import top_k


class ConsistencyPreservedGSU(tf.keras.layers.Layer):
    """Retrieves the K behaviours of a whole history that are most relevant to each candidate.

    Scores all L behaviours with the relevance of the ESU (Eq. 6), on projections gathered from the item table, then
    traverses the heads' rankings by rank until K unique behaviours are found (section 4.3). Padding, unknown items and
    behaviours not yet visible never take a slot. No gradient runs through the search.

    Differences from the paper: "descending order of the scale in alpha" (section 3.4.3) is read as descending alpha,
    which is what Softmax(alpha) in the ESU weighs by; the magnitude |alpha| would retrieve what the ESU gives no
    weight.

    Args:
        relevance: The layer shared with the ESU.
        retrieved: K.
    """

    def __init__(self, relevance: Relevance, retrieved: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.relevance, self.retrieved = relevance, retrieved

    def call(self, query: tf.Tensor, keys: tf.Tensor, history_bias: tf.Tensor) -> tf.Tensor:
        """Searches.

        Args:
            query: float32 [B, N, h, d_k].
            keys: float32 [B, L, h * d_k], from the item table.
            history_bias: float32, broadcast to [B, h, N, L], -inf where invisible; from `History.bias`.

        Returns:
            int32 [B, N, K], positions in the history, -1 where there are fewer.
        """
        scores = tf.stop_gradient(self.relevance.of_history(query, keys, history_bias))  # [B, h, N, L]
        return rank_union(scores, self.retrieved)


def rank_union(scores: tf.Tensor, size: int) -> tf.Tensor:
    """Positions int32 [B, N, size] of the heads' best, by rank: scores float32 [B, h, N, L], -inf = invisible."""
    values, indices = top_k(scores, size)  # [B, h, N, K']
    position = tf.transpose(indices, [0, 2, 1, 3])  # [B, N, h, K']
    valid = tf.transpose(values, [0, 2, 1, 3]) > -float("inf")
    return union_by_rank(position, valid, size)
