"""DIN: Deep Interest Network (Zhou et al., KDD 2018)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.esu import Attended
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import embed_ageless, embed_ages, most_recent, shared_reading
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
        read, seen = shared_reading(most_recent(history, self.recent), history.row)  # [B, G, S], [B, N', S]
        behaviours = embed_ageless(self.inherent, self.cross, self.table, history, read)  # [B, G, S, W]
        ages = embed_ages(self.cross, history, read)  # [B, N', S, A]
        activation = self.activation_unit(target, behaviours, ages)  # [B, N, S]
        weight = tf.where(seen, activation, 0.0)
        shape = tf.shape(weight)
        ageless = tf.matmul(_in_groups(weight, tf.shape(read)[1]), behaviours)  # [B, G, T, W]
        ageless = tf.reshape(ageless, [shape[0], shape[1], behaviours.shape[3]])
        age = tf.squeeze(tf.matmul(weight[:, :, tf.newaxis], ages), axis=2)
        output = tf.concat([ageless, age], axis=-1) * self.recent**-0.5
        relevance = tf.where(seen, activation, -float("inf"))
        position = tf.broadcast_to(tf.where(seen, read, -1), shape)
        return Interest(position, Attended(output, relevance[:, :, tf.newaxis], weight[:, :, tf.newaxis]))

    def activation_unit(self, target: tf.Tensor, behaviours: tf.Tensor, ages: tf.Tensor) -> tf.Tensor:
        """a(e_j, v_A) float32 [B, N, S].

        Args:
            target: float32 [B, N, H].
            behaviours: float32 [B, G, S, W], e_j without its age; the T = N / G targets of a group share them.
            ages: float32 [B, N', S, A].
        """
        users, groups, read = tf.unstack(tf.shape(behaviours)[:3])
        width = behaviours.shape[3]
        of_behaviour, of_age = self.behaviour_kernel[:width], self.behaviour_kernel[width:]
        grouped = _in_groups(target, groups)  # [B, G, T, H]
        # (e * v) W = e (v * W): the products of all pairs would fill [B, N, S, H].
        by_target = tf.linalg.matrix_transpose(grouped)[..., tf.newaxis] * self.product_kernel[:, tf.newaxis]
        kernel = tf.pad(by_target, [[0, 0], [0, 0], [0, width - target.shape[2]], [0, 0], [0, 0]])
        kernel += of_behaviour[:, tf.newaxis]  # [B, G, W, T, 80]
        hidden = tf.matmul(behaviours, tf.reshape(kernel, [users, groups, width, -1]))
        hidden = tf.reshape(hidden, [users, groups, read, -1, _HIDDEN[0]])  # [B, G, S, T, 80]
        hidden += (tf.tensordot(grouped, self.target_kernel, 1) + self.first_bias)[:, :, tf.newaxis]
        hidden += tf.einsum("bgtsa,ac->bgstc", _in_groups(ages, groups), of_age)  # T = 1 where one age does for all
        hidden = tf.reshape(hidden, [users, groups, -1, _HIDDEN[0]])
        hidden = self.second_activation(self.second(self.activation(hidden)))
        activation = tf.reshape(self.last(hidden), [users, groups, read, -1])
        return tf.reshape(tf.linalg.matrix_transpose(activation), [users, -1, read])


def _in_groups(values: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
    """[B, N, ...] to [B, G, N / G, ...]."""
    shape = tf.shape(values)
    split = tf.reshape(values, tf.concat([shape[:1], [groups, shape[1] // groups], shape[2:]], axis=0))
    return tf.ensure_shape(split, [None, None, None, *values.shape[2:]])
