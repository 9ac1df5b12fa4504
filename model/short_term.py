"""The short-term module: target attention over the most recent behaviours (section 3.2.2)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.esu import ExactSearchUnit
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance


class ShortTerm(tf.keras.layers.Layer):
    """Interest of the latest days: attention as in the ESU, with parameters of its own, over the newest behaviours.

    An item without a row counts too: what it was is unknown, but its cross features say how it was received. Should an
    entry be a cluster, it weighs as its members would; the newest of a clustered history are single behaviours.

    Args:
        config: `short_term_length` and widths.
        inherent, cross, table: As in TWIN, shared with it.
    """

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.length = config.short_term_length
        self.relevance = Relevance(config.heads, config.head_dim, inherent.width, cross, name="relevance")
        self.attention = ExactSearchUnit(self.relevance, inherent, table, name="attention")

    def call(self, target: tf.Tensor, history: History) -> tf.Tensor:
        """Candidates' inherent features float32 [B, N, H] to float32 [B, N, h * d_k]."""
        position = recent_positions(history.start, history.end, self.length)
        query = self.relevance.query(target)
        return self.attention(query, history, position, self.relevance.bias_tables()).output


def recent_positions(start: tf.Tensor, end: tf.Tensor, size: int) -> tf.Tensor:
    """Positions of the `size` behaviours before each candidate's `end`, newest first; -1 where there are fewer.

    Args:
        start, end: int32 [B, N'], N' = N, or 1 where all candidates see the same behaviours: those from `start` on.
        size: Number of behaviours.

    Returns:
        int32 [B, N', size].
    """
    position = end[:, :, tf.newaxis] - 1 - tf.range(size)
    return tf.where(position >= start[:, :, tf.newaxis], position, -1)
