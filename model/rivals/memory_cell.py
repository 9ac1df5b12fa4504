"""The recurrence of MIMN: neural Turing machine and memory induction unit."""

from typing import NamedTuple

import tensorflow as tf

from model.rivals.recurrence import GatedRecurrence
from model.rivals.weighted_scan import Product, weighted_scan

SLOTS = 8


class MemoryState(NamedTuple):
    """What is known of users, or of users at every step (then with S + 1 after B).

    Attributes:
        controller: float32 [B, d].
        read: float32 [B, d], what the controller read last.
        memory: M, float32 [B, m, d].
        channels: S of the memory induction unit, float32 [B, m, d].
        written: g, float32 [B, m], how much has been written to each slot.
    """

    controller: tf.Tensor
    read: tf.Tensor
    memory: tf.Tensor
    channels: tf.Tensor
    written: tf.Tensor


class MemoryCell(tf.keras.layers.Layer):
    """Takes in behaviours one at a time (MIMN, sections on NTM, memory utilization regularization and MIU).

        controller   c_t = GRU([e_t, r_{t-1}], c_{t-1})
        addressing   w(i) = softmax_i(b cosine(k_t, M(i))), keys k_t and b = 1 + softplus(.) for reading and for writing
        read         r_t = sum_i w_r(i) M(i)
        utilisation  P = softmax(g W_g) in R^(m x m), w_w' = w_w P: what was written to much yields to the others
        write        M(i) <- (1 - w_w'(i) erase) * M(i) + w_w'(i) add, erase = sigmoid(.), add = tanh(.)
        induction    S(i) <- GRU([M(i), e_t], S(i)) in the slot that was read most

    Keys, erase and add are linear in c_t. As in the authors' code M enters the induction and g the utilisation without
    gradient, and the induction updates one slot a step. Slots start at learned values, so that they can be told apart.

    Args:
        input_width: Of a behaviour e_t.
        width: d.
    """

    def __init__(self, input_width: int, width: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.memory_width = width
        self.controller = GatedRecurrence(input_width, width, fed_back=width, name="controller")
        self.induction = GatedRecurrence(input_width, width, fed_back=width, name="induction")
        self.parameters = tf.keras.layers.Dense(4 * width + 2, name="parameters")
        self.parameters.build([None, width])
        self.first_memory = self.add_weight(
            "first_memory", [SLOTS, width], initializer=tf.keras.initializers.RandomNormal(stddev=0.5)
        )
        self.transfer = self.add_weight("transfer", [SLOTS, SLOTS * SLOTS], initializer="zeros")  # W_g
        self.transfer_bias = self.add_weight(
            "transfer_bias", [SLOTS, SLOTS], initializer=lambda shape, dtype=None: 4.0 * tf.eye(shape[0], dtype=dtype)
        )

    def call(self, behaviours: tf.Tensor, real: tf.Tensor) -> MemoryState:
        """States after 0, 1, ..., S behaviours.

        Args:
            behaviours: float32 [B, S, C].
            real: bool [B, S]; false = leave everything as it is.
        """
        users = tf.shape(behaviours)[0]
        memory = tf.tile(tf.tanh(self.first_memory)[tf.newaxis], [users, 1, 1])
        nothing = tf.zeros([users, self.memory_width])
        start = MemoryState(nothing, nothing, memory, tf.zeros_like(memory), tf.zeros([users, SLOTS]))
        over_time = tf.transpose(behaviours, [1, 0, 2])  # [S, B, C]
        kernel, bias = self.parameters.kernel, self.parameters.bias
        shape = [tf.shape(over_time)[0], users]
        projected = {
            **self.controller.project(over_time),
            **self.induction.project(over_time),
            "parameters": tf.broadcast_to(bias, [*shape, bias.shape[0]]),
            "transfer": tf.broadcast_to(tf.reshape(self.transfer_bias, [-1]), [*shape, SLOTS * SLOTS]),
        }
        weights = {
            **self.controller.weights_of_products(),
            **self.induction.weights_of_products(),
            "parameters": tf.convert_to_tensor(kernel),
            "transfer": tf.convert_to_tensor(self.transfer),
        }
        gate = tf.cast(tf.transpose(real), tf.float32)[..., tf.newaxis]  # [S, B, 1]
        states = weighted_scan(self.step, start, gate, projected, weights)

        def with_start(first: tf.Tensor, later: tf.Tensor) -> tf.Tensor:
            joined = tf.concat([first[tf.newaxis], later], axis=0)  # [S + 1, B, ...]
            return tf.transpose(joined, [1, 0, *range(2, joined.shape.rank)])

        return MemoryState(*(with_start(first, later) for first, later in zip(start, states, strict=True)))

    def step(self, state: MemoryState, gate: tf.Tensor, product: Product) -> MemoryState:
        """The state after one behaviour, float32 [B, 1] 1 = real, 0 = none. See `weighted_scan`."""
        controller = self.controller.step(state.controller, gate, product, fed_back=state.read)
        width = self.memory_width
        parameters = product("parameters", controller)
        read_key, write_key, erase, add, sharpness = tf.split(parameters, [*[width] * 4, 2], axis=-1)
        sharpness = 1.0 + tf.nn.softplus(sharpness)
        read_weight = address(read_key, sharpness[:, :1], state.memory)  # [B, m]
        read = tf.where(gate > 0, tf.einsum("bm,bmd->bd", read_weight, state.memory), state.read)
        write_weight = balance(address(write_key, sharpness[:, 1:], state.memory), state.written, product) * gate
        by_slot = write_weight[..., tf.newaxis]  # [B, m, 1]
        memory = state.memory * (1.0 - by_slot * tf.sigmoid(erase)[:, tf.newaxis])
        memory += by_slot * tf.tanh(add)[:, tf.newaxis]
        slot = tf.argmax(read_weight, axis=-1)
        channel, of_slot = (tf.gather(values, slot, batch_dims=1) for values in (state.channels, state.memory))
        induced = self.induction.step(channel, gate, product, fed_back=tf.stop_gradient(of_slot))
        most_read = tf.one_hot(slot, SLOTS, on_value=True, off_value=False)[..., tf.newaxis]
        channels = tf.where(most_read, induced[:, tf.newaxis], state.channels)
        return MemoryState(controller, read, memory, channels, state.written + write_weight)


def balance(weight: tf.Tensor, written: tf.Tensor, product: Product) -> tf.Tensor:
    """Write weights w P float32 [B, m]; g enters as each slot's share."""
    share = tf.stop_gradient(written / (1.0 + tf.reduce_sum(written, axis=-1, keepdims=True)))
    logits = tf.reshape(product("transfer", share), [-1, SLOTS, SLOTS])
    return tf.einsum("bi,bij->bj", weight, tf.nn.softmax(logits))


def address(key: tf.Tensor, sharpness: tf.Tensor, memory: tf.Tensor) -> tf.Tensor:
    """softmax_i(b cosine(k, M(i))) float32 [B, m] of keys [B, d], b [B, 1] and memory [B, m, d]."""
    alike = tf.einsum("bd,bmd->bm", tf.math.l2_normalize(key, axis=-1), tf.math.l2_normalize(memory, axis=-1))
    return tf.nn.softmax(sharpness * alike)
