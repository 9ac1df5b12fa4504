"""Gated recurrent units over time-major sequences."""

import tensorflow as tf


class GatedRecurrence(tf.keras.layers.Layer):
    """A GRU whose update gate is scaled from outside.

        u_t = g_t sigmoid(x_t W_u + h_{t-1} U_u + b_u),  r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        c_t = tanh(x_t W_c + (r_t * h_{t-1}) U_c + b_c),  h_t = (1 - u_t) * h_{t-1} + u_t * c_t

    With g_t = 1 it is the GRU of DIEN's interest extractor; with attention for g_t its AUGRU; g_t = 0 skips a step.

    Args:
        input_width: Of x_t.
        units: n, width of the state.
    """

    def __init__(self, input_width: int, units: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.units = units
        self.kernel = self.add_weight("kernel", [input_width, 3 * units])  # W_u, W_r, W_c
        # Two weights: the gradient of a slice of one would be padded to the whole at every step.
        self.gates_kernel = self.add_weight("gates_kernel", [units, 2 * units])  # U_u, U_r
        self.candidate_kernel = self.add_weight("candidate_kernel", [units, units], initializer="orthogonal")  # U_c
        self.bias = self.add_weight("bias", [3 * units], initializer="zeros")

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """The inputs' part x W + b of all steps at once: float32 [..., input_width] to [..., 3 n]."""
        return tf.tensordot(inputs, self.kernel, 1) + self.bias

    def step(self, state: tf.Tensor, projected: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
        """h_t float32 [..., n] from h_{t-1} [..., n], `project`ed input [..., 3 n] and g_t [..., 1]."""
        for_gates, for_candidate = tf.split(projected, [2 * self.units, self.units], axis=-1)
        gates = tf.sigmoid(for_gates + tf.tensordot(state, self.gates_kernel, 1))
        update, reset = tf.split(gates, 2, axis=-1)
        candidate = tf.tanh(for_candidate + tf.tensordot(reset * state, self.candidate_kernel, 1))
        update *= gate
        return (1.0 - update) * state + update * candidate

    def call(self, projected: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
        """All states float32 [M, R, n] of `project`ed inputs [M, R, 3 n] and gates [M, R]."""
        start = tf.zeros([tf.shape(projected)[1], self.units])
        return tf.scan(
            lambda state, now: self.step(state, now[0], now[1]), (projected, gate[..., tf.newaxis]), initializer=start
        )
