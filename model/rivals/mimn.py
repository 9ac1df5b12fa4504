"""MIMN: Multi-channel user Interest Memory Network (Pi et al., KDD 2019)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.feature import AGE
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import embed_ageless
from model.rivals.memory_cell import MemoryCell, MemoryState
from model.rivals.rival import Rival, pooled_interest
from model.twin import Interest

RECENT = 1_000
"""Behaviours read (TWIN, table 1: about 10^3)."""
_UTILISATION_WEIGHT = 1e-3


class MIMN(Rival):
    """A memory of fixed size takes in one behaviour after the other; the target reads what it is at that moment.

    `MemoryCell` holds the recurrence: a neural Turing machine's memory M, whose slots a regulariser keeps in use, and
    the memory induction unit's channels S. A target reads both by its own key,

        w = softmax(b cosine(q W_q, M(i))),  output = [sum_i w_i M(i), sum_i w_i S(i)]

    As in the paper's user interest centre, a behaviour is written once, for all targets that come after it: a window
    of training runs the recurrence once and each target reads the state at its own time.

    Differences from the paper: the memory begins `recent_length` known behaviours before a window's earliest target,
    not with the user's first, nor before any target's first visible behaviour. `age` is left out: it depends on the
    target, the memory must not. In the paper's code the target is one more input of the controller; here it addresses
    the memory itself.

    Args:
        config: `recent_length`, 0 = 1,000.
        inherent, cross, table: See `Rival`.
    """

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, width=2 * config.projection_dim, name=name)
        self.recent = config.recent_length or RECENT
        width = inherent.width + sum(e.width for feature, e in cross.embeddings.items() if feature != AGE)
        self.cell = MemoryCell(width, config.projection_dim, name="cell")
        self.query_kernel = self.add_weight("query_kernel", [inherent.width, config.projection_dim])
        self.sharpness = self.add_weight("sharpness", [], initializer="ones")  # b

    def call(self, target: tf.Tensor, history: History, row: tf.Tensor, training: bool = False) -> Interest:
        """Long-term interest; in training with the memory utilisation loss. See `Rival.call`."""
        del row
        position, read_after = self.sequence(history)  # [B, S], [B, N']
        step = tf.range(tf.shape(position)[1])
        wanted = step < tf.reduce_max(read_after, axis=1)[:, tf.newaxis]
        real = wanted & (tf.gather(history.row, position, batch_dims=1) > 0)
        read = tf.where(wanted, position, 0)
        behaviours = embed_ageless(self.inherent, self.cross, self.table, history, read)
        states = self.cell(behaviours, real)  # each [B, S + 1, ...]
        output = self.read(
            target,
            tf.gather(states.memory, read_after, batch_dims=1),
            tf.gather(states.channels, read_after, batch_dims=1),
        )
        interest = pooled_interest(output)
        if not training:
            return interest
        return Interest(interest.position, interest.attended, loss=utilisation_loss(states))

    def sequence(self, history: History) -> tuple[tf.Tensor, tf.Tensor]:
        """The behaviours that the memory takes in.

        Returns:
            Positions int32 [B, S], consecutive, and after how many of them each target reads, int32 [B, N'].
        """
        end, length = history.end, tf.shape(history.row)[1]
        earliest = tf.reduce_min(tf.where(end > 0, end, length), axis=1, keepdims=True)  # [B, 1]
        known = tf.cumsum(tf.cast(history.row > 0, tf.int32), axis=1)  # [B, L]
        before = tf.math.count_nonzero(
            (history.row > 0) & (tf.range(length) < earliest), axis=1, keepdims=True, dtype=tf.int32
        )
        first = tf.math.count_nonzero(known <= before - self.recent, axis=1, keepdims=True, dtype=tf.int32)
        first = tf.maximum(first, tf.reduce_max(history.start, axis=1, keepdims=True))  # [B, 1]
        read_after = tf.maximum(end - first, 0)
        steps = tf.maximum(tf.reduce_max(read_after), 1)
        return tf.minimum(first + tf.range(steps), length - 1), read_after

    def read(self, target: tf.Tensor, memory: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
        """Target reads float32 [B, N, 2 d] of memory and channels [B, N', m, d]."""
        key = tf.math.l2_normalize(tf.tensordot(target, self.query_kernel, 1), axis=-1)[:, :, tf.newaxis]
        alike = tf.matmul(key, tf.math.l2_normalize(memory, axis=-1), transpose_b=True)  # [B, N, 1, m]
        weight = tf.nn.softmax(self.sharpness * alike)
        return tf.squeeze(tf.concat([tf.matmul(weight, memory), tf.matmul(weight, channels)], axis=-1), axis=2)


def utilisation_loss(states: MemoryState) -> tf.Tensor:
    """How unevenly the slots were written to: weight * mean over users of sum_i (g(i) - mean g)^2 / m."""
    written = states.written[:, -1]  # [B, m]
    uneven = tf.math.reduce_variance(written, axis=-1)
    return _UTILISATION_WEIGHT * tf.reduce_mean(uneven)
