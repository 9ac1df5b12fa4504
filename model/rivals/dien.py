"""DIEN: Deep Interest Evolution Network (Zhou et al., AAAI 2019)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.esu import masked_softmax
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import embed_behaviours, most_recent
from model.rivals.recurrence import GatedRecurrence
from model.rivals.rival import Rival, pooled_interest
from model.twin import Interest

RECENT = 100
"""Behaviours read (TWIN, table 1: about 10^2)."""


class DIEN(Rival):
    """How the interest in a target evolved over the most recent behaviours, by two recurrent layers.

    Interest extractor layer: a GRU over the behaviours e_t = [K_h K_c], oldest first, gives states h_t. Its auxiliary
    loss asks h_t to tell the next behaviour e_{t+1} from a random item:

        L_aux = -mean_t [log sigmoid(h_t . e_{t+1}) + log(1 - sigmoid(h_t . e'_{t+1}))],  L = L_target + L_aux

    Interest evolving layer: attention a_t = softmax_t(h_t W e_a) of the target e_a scales the update gate of a second
    GRU over h_t (AUGRU); its last state is the output.

    Differences from the paper: states have width h * d_k, so h_t . e_{t+1} goes through a matrix, on inherent features,
    which are what the negative item has; the paper's code puts a small network there. Negatives are drawn from the
    batch's behaviours, where the paper's code draws from those of the whole log: an item as often as the batch's
    targets have it among their behaviours, and of B users one in B from the user's own. Behaviours carry TWIN's cross
    features, so that all methods see the same.

    Args:
        config: `recent_length`, 0 = 100.
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
        super().__init__(config, inherent, cross, table, name=name)
        self.recent = config.recent_length or RECENT
        self.extractor = GatedRecurrence(inherent.width + cross.width, self.width, name="extractor")
        self.evolution = GatedRecurrence(self.width, self.width, name="evolution")
        self.attention_kernel = self.add_weight("attention_kernel", [inherent.width, self.width])  # W
        self.next_kernel = self.add_weight("next_kernel", [inherent.width, self.width])

    def call(self, target: tf.Tensor, history: History, row: tf.Tensor, training: bool = False) -> Interest:
        """Long-term interest; with the auxiliary loss in training. See `Rival.call`."""
        del row
        position = tf.reverse(most_recent(history, self.recent), [-1])  # [B, N', M], oldest first, -1 before them
        visible = position >= 0
        behaviours = embed_behaviours(self.inherent, self.cross, self.table, history, position)
        states = self.extract(behaviours, visible)  # [B, N', M, n]
        output = self.evolve(states, visible, target)
        interest = pooled_interest(output)
        if not training:
            return interest
        loss = self.auxiliary_loss(states, behaviours[..., : self.inherent.width], visible)
        return Interest(interest.position, interest.attended, loss=loss)

    def extract(self, behaviours: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
        """States h_t float32 [B, N', M, n] of behaviours [B, N', M, H + C]; an invisible one changes nothing."""
        projected = self.extractor.project(_time_major(behaviours))
        states = self.extractor(projected, _time_major(tf.cast(visible, tf.float32)[..., tf.newaxis])[..., 0])
        shape = tf.concat([tf.shape(visible), [self.width]], axis=0)
        return tf.reshape(tf.transpose(states, [1, 0, 2]), shape)

    def attention(self, states: tf.Tensor, visible: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """a_t float32 [B, N, M]; 0 where there is no behaviour."""
        scores = tf.matmul(tf.tensordot(target, self.attention_kernel, 1)[:, :, tf.newaxis], states, transpose_b=True)
        scores = tf.squeeze(scores, axis=2)
        return masked_softmax(scores, visible)

    def evolve(self, states: tf.Tensor, visible: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """The last state of the AUGRU, float32 [B, N, n]."""
        attention = self.attention(states, visible, target)
        everyone = tf.unstack(tf.shape(attention))
        projected = {
            name: _time_major(tf.broadcast_to(values, [*everyone, values.shape[3]]))
            for name, values in self.evolution.project(states).items()  # each [B, N', M, ...]
        }
        last = self.evolution(projected, _time_major(attention[..., tf.newaxis])[..., 0])[-1]
        return tf.reshape(last, tf.concat([tf.shape(target)[:2], [self.width]], axis=0))

    def auxiliary_loss(self, states: tf.Tensor, items: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
        """L_aux over all visible behaviours followed by another; one negative for each."""
        met = tf.pad(tf.boolean_mask(items, visible), [[0, 1], [0, 0]])  # a row more, so that there is one to draw
        drawn = tf.random.uniform(tf.shape(visible[..., 1:]), 0, tf.maximum(tf.shape(met)[0] - 1, 1), tf.int32)
        negatives = tf.gather(met, drawn)
        before = states[..., :-1, :]

        def score(of: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(before * tf.tensordot(of, self.next_kernel, 1), axis=-1)

        losses = tf.nn.softplus(-score(items[..., 1:, :])) + tf.nn.softplus(score(negatives))
        counted = tf.cast(visible[..., :-1] & visible[..., 1:], tf.float32)
        return tf.reduce_sum(losses * counted) / tf.maximum(tf.reduce_sum(counted), 1.0)


def _time_major(values: tf.Tensor) -> tf.Tensor:
    """[B, N, M, C] to [M, B * N, C]."""
    shape = tf.shape(values)
    return tf.transpose(tf.reshape(values, [shape[0] * shape[1], shape[2], values.shape[3]]), [1, 0, 2])
