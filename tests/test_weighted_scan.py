"""The scan with weights against `tf.scan` with everything inside."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.rivals.weighted_scan import Product, weighted_scan

STEPS, ROWS, WIDTH = 5, 3, 4
RNG = np.random.default_rng(0)


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


START = (normal(ROWS, WIDTH), normal(ROWS, 2))
GATE = tf.constant(RNG.random([STEPS, ROWS, 1]), tf.float32)
PROJECTED = {"first": normal(STEPS, ROWS, WIDTH), "second": normal(STEPS, ROWS, 2)}
WEIGHTS = {"second": normal(WIDTH, 2), "first": normal(WIDTH + 2, WIDTH)}  # in another order than above


def step(state: tuple[tf.Tensor, tf.Tensor], gate: tf.Tensor, product: Product) -> tuple[tf.Tensor, tf.Tensor]:
    """Two states, each fed by the other."""
    one = tf.tanh(product("first", tf.concat(state, axis=1)))
    two = tf.sigmoid(product("second", one * state[0]))
    return gate * one + (1 - gate) * state[0], gate * two + (1 - gate) * state[1]


def plainly(step: Callable[..., Any], start: Any, gate: tf.Tensor, projected: Any, weights: Any) -> Any:
    """What `weighted_scan` is to equal, by `tf.scan` alone."""

    def once(state: Any, now: Any) -> Any:
        return step(state, now[0], lambda name, x: now[1][name] + tf.matmul(x, weights[name]))

    return tf.scan(once, (gate, projected), initializer=start)


def with_gradients(scan: Callable[..., Any]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """States, and the gradients of a sum that weighs each of their entries differently."""
    given = tf.nest.flatten((START, GATE, PROJECTED, WEIGHTS))
    with tf.GradientTape() as tape:
        tape.watch(given)
        states = tf.nest.flatten(scan(START, GATE, PROJECTED, WEIGHTS))
        total = tf.add_n(
            [tf.reduce_sum(s * tf.reshape(tf.sin(tf.range(tf.size(s), dtype=s.dtype)), s.shape)) for s in states]
        )
    return states, tape.gradient(total, given)


@pytest.mark.parametrize("wrap", [lambda run: run, tf.function], ids=["eager", "graph"])
def test_states_and_all_gradients_are_those_of_a_plain_scan(wrap: Callable[..., Any]) -> None:
    found = wrap(lambda: with_gradients(lambda *arguments: weighted_scan(step, *arguments)))()
    wanted = with_gradients(lambda *arguments: plainly(step, *arguments))
    for got, expected in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_variable_inside_the_step_is_refused() -> None:
    hidden = tf.Variable(1.0)

    def uses_it(state: tf.Tensor, gate: tf.Tensor, product: Product) -> tf.Tensor:
        del gate
        return hidden * product("second", state)

    weights = {"second": WEIGHTS["second"][:2]}
    scan = tf.function(lambda: weighted_scan(uses_it, START[1], GATE, {"second": PROJECTED["second"]}, weights))
    with pytest.raises(TypeError, match="variables"):
        scan()


def test_a_tensor_given_twice_gets_its_gradient_once() -> None:
    def add(state: tuple[tf.Tensor, tf.Tensor], gate: tf.Tensor, product: Product) -> tuple[tf.Tensor, tf.Tensor]:
        return gate * product("second", state[0]) + state[1], state[1]

    both = START[1]

    def gradient(scan: Callable[..., Any]) -> tf.Tensor:
        projected, weights = {"second": PROJECTED["second"]}, {"second": WEIGHTS["second"][:2]}
        with tf.GradientTape() as tape:
            tape.watch(both)
            total = tf.reduce_sum(scan(add, (both, both), GATE, projected, weights)[0])
        return tape.gradient(total, both)

    np.testing.assert_allclose(gradient(weighted_scan), gradient(plainly), rtol=1e-4)
