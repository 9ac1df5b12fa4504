"""Gated recurrent units over time-major sequences."""

import tensorflow as tf

from model.rivals.weighted_scan import Product, weighted_scan


class GatedRecurrence(tf.keras.layers.Layer):
    """A GRU whose update gate is scaled from outside.

        u_t = g_t sigmoid(x_t W_u + h_{t-1} U_u + b_u),  r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        c_t = tanh(x_t W_c + (r_t * h_{t-1}) U_c + b_c),  h_t = (1 - u_t) * h_{t-1} + u_t * c_t

    With g_t = 1 it is the GRU of DIEN's interest extractor; with attention for g_t its AUGRU; g_t = 0 skips a step.

    Args:
        input_width: Of what is known of x_t before the recurrence begins.
        units: n, width of the state.
        fed_back: Width of the rest of x_t, which the recurrence itself gives.
    """

    def __init__(self, input_width: int, units: int, fed_back: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.units, self.input_width = units, input_width
        self.kernel = self.add_weight("kernel", [input_width + fed_back, 3 * units])  # W_u, W_r, W_c
        self.gates_kernel = self.add_weight("gates_kernel", [units, 2 * units])  # U_u, U_r
        self.candidate_kernel = self.add_weight("candidate_kernel", [units, units], initializer="orthogonal")  # U_c
        self.bias = self.add_weight("bias", [3 * units], initializer="zeros")
        self.gates, self.candidate = f"{self.name}/gates", f"{self.name}/candidate"

    def project(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """The known inputs' part x W + b of all steps at once, of float32 [..., input_width]; see `weighted_scan`."""
        of_gates, of_candidate = tf.split(self.kernel[: self.input_width], [2 * self.units, self.units], axis=1)
        return {
            self.gates: tf.tensordot(inputs, of_gates, 1) + self.bias[: 2 * self.units],
            self.candidate: tf.tensordot(inputs, of_candidate, 1) + self.bias[2 * self.units :],
        }

    def weights_of_products(self) -> dict[str, tf.Tensor]:
        """What a step multiplies by; see `weighted_scan`."""
        of_gates, of_candidate = tf.split(self.kernel[self.input_width :], [2 * self.units, self.units], axis=1)
        return {
            self.gates: tf.concat([of_gates, self.gates_kernel], axis=0),
            self.candidate: tf.concat([of_candidate, self.candidate_kernel], axis=0),
        }

    def step(self, state: tf.Tensor, gate: tf.Tensor, product: Product, fed_back: tf.Tensor | None = None) -> tf.Tensor:
        """h_t float32 [R, n] from h_{t-1} [R, n], g_t [R, 1] and what is fed back [R, fed_back]."""
        known = [] if fed_back is None else [fed_back]
        gates = tf.sigmoid(product(self.gates, tf.concat([*known, state], axis=-1)))
        update, reset = tf.split(gates, 2, axis=-1)
        candidate = tf.tanh(product(self.candidate, tf.concat([*known, reset * state], axis=-1)))
        update *= gate
        return (1.0 - update) * state + update * candidate

    def call(self, projected: dict[str, tf.Tensor], gate: tf.Tensor) -> tf.Tensor:
        """All states float32 [M, R, n] of `project`ed inputs [M, R, ...] and gates [M, R]."""
        start = tf.zeros([tf.shape(gate)[1], self.units])
        return weighted_scan(self.step, start, gate[..., tf.newaxis], projected, self.weights_of_products())
