"""The exact search unit: multi-head target attention over retrieved behaviours (Eq. 7, 8)."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance


@dataclasses.dataclass(frozen=True)
class Attended:
    """What the ESU made of each candidate's behaviours.

    Attributes:
        output: float32 [B, N, h * d_k].
        relevance: float32 [B, N, h, K], -inf = no behaviour.
        attention: float32 [B, N, h, K], 0 = no behaviour.
    """

    output: tf.Tensor
    relevance: tf.Tensor
    attention: tf.Tensor


class ExactSearchUnit(tf.keras.layers.Layer):
    """Target attention over K behaviours per candidate.

        head_a = Softmax(alpha_a)^T K W_a^v        (Eq. 7)
        output = Concat(head_1, ..., head_h) W^o   (Eq. 8)

    with K = [K_h K_c]. Since Softmax(alpha)^T (K W^v) = (Softmax(alpha)^T K) W^v, features are pooled first and
    projected after: N h rows meet W^v instead of N K. Projections are live, never the item table's (section 3.4.3).

    Args:
        relevance: Eq. 6; in TWIN the layer shared with the CP-GSU.
        inherent: Embeddings of inherent features, shared with the target.
        table: Gives the behaviours' feature indices.
    """

    def __init__(
        self, relevance: Relevance, inherent: FeatureEmbeddings, table: ItemTable, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.relevance, self.inherent, self.table = relevance, inherent, table
        heads, head_dim = relevance.heads, relevance.head_dim
        behaviour_width = inherent.width + relevance.cross.width
        self.value_kernel = self.add_weight("value_kernel", [heads, behaviour_width, head_dim])  # W^v
        self.output_kernel = self.add_weight("output_kernel", [heads * head_dim, heads * head_dim])  # W^o

    def call(
        self, query: tf.Tensor, history: History, position: tf.Tensor, bias_tables: Mapping[str, tf.Tensor]
    ) -> Attended:
        """Attends.

        Args:
            query: float32 [B, N, h, d_k].
            history: The users' behaviours.
            position: int32 [B, N', K], which of them, -1 = none; N' = N, or 1 where all candidates share them.
            bias_tables: From `Relevance.bias_tables`.
        """
        valid = position >= 0
        at = tf.maximum(position, 0)
        row = tf.where(valid, tf.gather(history.row, at, batch_dims=1), 0)
        inherent = self.inherent(self.table.features(row))  # K_h [B, N', K, H]
        cross = history.cross_at(at)
        alpha = self.relevance.of_retrieved(query, inherent, history.bias_at(at, cross, bias_tables))
        visible = valid[:, :, tf.newaxis, :]  # [B, N', 1, K]
        attention = masked_softmax(alpha, visible)
        pooled = tf.matmul(attention, inherent)  # [B, N, h, H]
        if self.relevance.cross.width:
            # Pooled apart: joining K_h and K_c first would copy every behaviour once more.
            pooled = tf.concat([pooled, tf.matmul(attention, self.relevance.cross(cross))], axis=-1)
        heads = tf.einsum("bnhc,hcd->bnhd", pooled, self.value_kernel)
        shape = tf.shape(heads)
        width = self.relevance.heads * self.relevance.head_dim
        output = tf.tensordot(tf.reshape(heads, [shape[0], shape[1], width]), self.output_kernel, 1)
        return Attended(output, tf.where(visible, alpha, -float("inf")), attention)


def masked_softmax(alpha: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis among what is valid; 0 elsewhere, and everywhere if nothing is."""
    # A finite stand-in for -inf keeps an empty history free of NaN; the product then makes its weights zero.
    masked = tf.where(valid, alpha, alpha.dtype.min)
    return tf.nn.softmax(masked) * tf.cast(valid, alpha.dtype)
