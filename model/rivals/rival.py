"""What every rival's long-term interest module has in common."""

from collections.abc import Mapping

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.esu import Attended
from model.history import History
from model.item_table import ITEM_ID, ItemTable
from model.twin import Interest


class Rival(tf.keras.layers.Layer):
    """A long-term interest module in TWIN's place; everything else of the CTR model is shared.

    Args:
        config: Widths and lengths.
        inherent: Embeddings of inherent features, shared with the target.
        cross: Embeddings of cross features.
        table: Gives the behaviours' feature indices.
        width: Of the output; None = h * d_k.

    Attributes:
        width: Of the output.
        reads_projections: Whether the search reads the item table's projections.
    """

    reads_projections = False

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        width: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.config, self.inherent, self.cross, self.table = config, inherent, cross, table
        self.width = width or config.projection_dim

    def call(self, target: tf.Tensor, history: History, row: tf.Tensor, training: bool = False) -> Interest:
        """Long-term interest in each candidate.

        Args:
            target: float32 [B, N, H], the candidates' inherent features.
            history: The users' behaviours.
            row: int32 [B, N], the candidates' rows in the item table.
            training: Whether a method that samples does so.
        """
        del training
        return self.interest(target, history, row)

    def interest(self, target: tf.Tensor, history: History, row: tf.Tensor) -> Interest:
        """`call` of a method that is the same in training and in serving."""
        raise NotImplementedError

    def project(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What the item table stores of M items: float32 [M, h * d_k]; zero for a method that reads no projections."""
        return tf.zeros([tf.shape(index[ITEM_ID])[0], self.config.projection_dim])


def pooled_interest(output: tf.Tensor) -> Interest:
    """Interest that no single behaviour is retrieved for.

    Args:
        output: float32 [B, N, width].
    """
    shape = tf.shape(output)
    none = tf.zeros([shape[0], shape[1], 1, 0])
    return Interest(tf.zeros([shape[0], shape[1], 0], tf.int32), Attended(output, none, none))
