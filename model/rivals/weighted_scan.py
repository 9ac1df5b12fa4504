"""A scan that multiplies by weights."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

Product = Callable[[str, tf.Tensor], tf.Tensor]
"""(name, x) to x W of the weights of that name, plus what is projected of this step's input."""


def weighted_scan(
    step: Callable[[Any, tf.Tensor, Product], Any],
    start: Any,
    inputs: tf.Tensor,
    projected: Mapping[str, tf.Tensor],
    weights: Mapping[str, tf.Tensor],
) -> Any:
    """`tf.scan` of a step that multiplies by weights, whose gradients are computed for all steps at once.

    Inside a loop the gradient of x_t W would be made as large as W and added up at every step, which for a few users
    costs many times what the recurrence does. All that it takes, sum_t x_t^T d_t, is one product after the loop: what
    is added to x_t W has the gradient d_t itself.

    Args:
        step: (state, this step's inputs, product) to the next state. `product(name, x)` is
            projected[name] + x weights[name], for float32 x [R, k]. Each name is used once a step. No other variable
            may be used inside, and a tensor that it takes from elsewhere than its arguments gets no gradient.
        start: State before the first step, a nest of float32 tensors.
        inputs: float32 [M, ...].
        projected: By name, float32 [M, R, n].
        weights: By name, float32 [k, n].

    Returns:
        States after each step, [M, ...].
    """
    given = (start, inputs, dict(projected), dict(weights))

    @tf.custom_gradient
    def run(*tensors: tf.Tensor) -> Any:
        # A copy each, as a tensor given twice would get the gradient of both twice.
        first, read, added, weight = tf.nest.pack_sequence_as(given, [tf.identity(tensor) for tensor in tensors])
        constant = {name: tf.stop_gradient(w) for name, w in weight.items()}
        transposed = {name: tf.transpose(w) for name, w in constant.items()}

        def once(before: Any, now: Any) -> Any:
            multiplied = {}

            def product(name: str, x: tf.Tensor) -> tf.Tensor:
                multiplied[name] = x
                return now[1][name] + _times(x, constant[name], transposed[name])

            return step(before[0], now[0], product), multiplied

        none = {name: tf.zeros([tf.shape(added[name])[1], w.shape[0]]) for name, w in constant.items()}
        through = (first, read, added)
        with tf.GradientTape() as tape:
            tape.watch(through)
            states, multiplied = tf.scan(once, (read, added), initializer=(first, none))
        outputs = tf.nest.flatten(states)

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            zero = tf.UnconnectedGradients.ZERO
            of_through = tape.gradient(outputs, through, upstream, unconnected_gradients=zero)
            of_added = of_through[2]
            of_weights = {name: tf.tensordot(multiplied[name], of_added[name], [[0, 1], [0, 1]]) for name in weight}
            return tf.nest.flatten((*of_through, of_weights))

        return outputs, gradient

    return tf.nest.pack_sequence_as(start, run(*tf.nest.flatten(given)))


def _times(x: tf.Tensor, constant: tf.Tensor, transposed: tf.Tensor) -> tf.Tensor:
    """The product x W, its gradient d W^T with a W^T made once: for few rows, transposing is most of the work."""

    @tf.custom_gradient
    def times(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.matmul(x, constant), lambda upstream: tf.matmul(upstream, transposed)

    return times(x)
