"""DIN: Deep Interest Network (Zhou et al., KDD 2018)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.esu import Attended
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import embed_behaviours, most_recent
from model.rivals.rival import Rival
from model.twin import Interest

RECENT = 100
"""Behaviours read (TWIN, section 4.3)."""
_HIDDEN = (80, 40)


class DIN(Rival):
    """Target attention over the most recent behaviours by a local activation unit.

        v_U(A) = sum_j a(e_j, v_A) e_j        (DIN, Eq. 3)

    where a(.) is a feed-forward network with PReLU on the behaviour e_j, the target v_A and what relates them. As the
    paper says, the weights are no softmax: their sum is the intensity of the interest.

    Differences from the paper: e_j = [K_h K_c] with TWIN's cross features, so that all methods see the same; e_j meets
    v_A in its inherent features. Of the inputs [e, v, e - v, e * v] of the authors' code the difference is left out: it
    adds nothing to what the first layer makes of e and v. Hidden layers are those of the code, 80 and 40 (the paper's
    figure: 36). The sum is divided by the root of the number of behaviours read, a constant, which keeps its scale
    when more are read. Mini-batch aware regularisation and Dice concern training at their scale and are left out.

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
        behaviour_width = inherent.width + cross.width
        super().__init__(config, inherent, cross, table, width=behaviour_width, name=name)
        self.recent = config.recent_length or RECENT
        first = _HIDDEN[0]
        self.behaviour_kernel = self.add_weight("behaviour_kernel", [behaviour_width, first])
        self.target_kernel = self.add_weight("target_kernel", [inherent.width, first])
        self.product_kernel = self.add_weight("product_kernel", [inherent.width, first])
        self.first_bias = self.add_weight("first_bias", [first], initializer="zeros")
        self.activation = tf.keras.layers.PReLU(shared_axes=[1, 2, 3], name="activation")
        self.activation.build([None, None, None, first])
        self.second = tf.keras.layers.Dense(_HIDDEN[1], name="second")
        self.second.build([None, None, None, first])
        self.second_activation = tf.keras.layers.PReLU(shared_axes=[1, 2, 3], name="second_activation")
        self.second_activation.build([None, None, None, _HIDDEN[1]])
        self.last = tf.keras.layers.Dense(1, name="last")
        self.last.build([None, None, None, _HIDDEN[1]])

    def interest(self, target: tf.Tensor, history: History, row: tf.Tensor) -> Interest:
        """Attends to the newest behaviours."""
        del row
        position = most_recent(history, self.recent)  # [B, N', M]
        behaviours = embed_behaviours(self.inherent, self.cross, self.table, history, position)
        activation = self.activation_unit(target, behaviours)  # [B, N, M]
        visible = position >= 0
        weight = tf.where(visible, activation, 0.0)[:, :, tf.newaxis]  # [B, N, 1, M]
        pooled = tf.squeeze(tf.matmul(weight, behaviours), axis=2) * self.recent**-0.5
        relevance = tf.where(visible, activation, -float("inf"))[:, :, tf.newaxis]
        everyone = tf.concat([tf.shape(target)[:2], [self.recent]], axis=0)
        return Interest(tf.broadcast_to(position, everyone), Attended(pooled, relevance, weight))

    def activation_unit(self, target: tf.Tensor, behaviours: tf.Tensor) -> tf.Tensor:
        """a(e_j, v_A) float32 [B, N, M] of targets [B, N, H] and behaviours [B, N', M, H + C]."""
        # (e * v) W = e (v * W): the products of all pairs would fill [B, N, M, H].
        by_target = target[..., tf.newaxis] * self.product_kernel  # [B, N, H, 80]
        kernel = tf.pad(by_target, [[0, 0], [0, 0], [0, self.cross.width], [0, 0]]) + self.behaviour_kernel
        hidden = tf.matmul(behaviours, kernel)
        hidden += tf.tensordot(target, self.target_kernel, 1)[:, :, tf.newaxis] + self.first_bias
        hidden = self.second_activation(self.second(self.activation(hidden)))
        return tf.squeeze(self.last(hidden), axis=-1)
