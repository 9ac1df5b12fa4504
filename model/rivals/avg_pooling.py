"""Avg-Pooling: the mean of all behaviours (TWIN, section 4.2)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.feature import AGE
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import embed_items
from model.rivals.rival import Rival, pooled_interest
from model.twin import Interest


class AvgPooling(Rival):
    """The average of the features K = [K_h K_c] of the user's life-long behaviours (YouTube, Covington et al., 2016).

        output = sum_l K_l / (number of visible behaviours of known items); 0 for none

    No difference from the paper, which says no more than this; the average is over the same `history_length`
    behaviours that the other methods search.

    Args:
        config, inherent, cross, table: See `Rival`.
    """

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, width=inherent.width + cross.width, name=name)

    def interest(self, target: tf.Tensor, history: History, row: tf.Tensor) -> Interest:
        """Pools."""
        del row
        visible = tf.cast(history.visible(), tf.float32)  # [B, N', L]
        weight = visible / tf.maximum(tf.reduce_sum(visible, axis=-1, keepdims=True), 1.0)
        means = [tf.matmul(weight, embed_items(self.inherent, self.table, history.row))]
        for feature, embedding in self.cross.embeddings.items():
            if feature == AGE:
                means.append(tf.matmul(self._share_of_ages(history, weight, embedding.rows), embedding.dictionary()))
            else:
                means.append(tf.matmul(weight, embedding(history.cross[feature])))
        output = tf.concat(means, axis=-1)  # [B, N', H + C]
        return pooled_interest(tf.broadcast_to(output, tf.concat([tf.shape(target)[:2], [self.width]], axis=0)))

    def _share_of_ages(self, history: History, weight: tf.Tensor, buckets: int) -> tf.Tensor:
        """Share of the behaviours in each age bucket, float32 [B, N', buckets]: cheaper than their embeddings."""
        shape = tf.shape(weight)
        age = tf.reshape(history.ages(), [-1, shape[2]])
        counts = tf.raw_ops.DenseBincount(
            input=age, size=buckets, weights=tf.reshape(weight, [-1, shape[2]]), binary_output=False
        )
        return tf.reshape(counts, [shape[0], shape[1], buckets])
