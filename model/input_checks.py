"""Checks inside the graph: every server answers a malformed request with INVALID_ARGUMENT and the input's name."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

Inputs = Mapping[str, tf.Tensor]


def check_ranks(inputs: Inputs, axes: Mapping[str, str]) -> dict[str, tf.Tensor]:
    """The inputs with their ranks made static; fails at run time where a rank differs.

    Args:
        inputs: Tensors of statically unknown shape.
        axes: The axes wanted of each input, in words, such as `[B, L]`.
    """
    checked = {}
    for name, wanted in axes.items():
        rank = wanted.count(",") + 1
        message = f"input {name!r}: expected rank {rank} {wanted}"
        check = tf.debugging.assert_equal(tf.size(tf.shape(inputs[name])), rank, message=message)
        checked[name] = _after(inputs[name], [check])
        checked[name].set_shape([None] * rank)
    return checked


def check_shapes(inputs: Inputs, like: str, same: Sequence[str], lengths: Mapping[str, str]) -> dict[str, tf.Tensor]:
    """The inputs, once their shapes agree; fails at run time where they do not.

    Args:
        inputs: Tensors of known rank.
        like: The input that tells the number of users, and the shape of
        same: these inputs; all others agree with it in the first dimension.
        lengths: Input holding lengths, to the input whose second dimension bounds them; neither negative nor beyond.
    """
    wanted = tf.shape(inputs[like])
    checks = []
    for name, tensor in inputs.items():
        if name in same:
            message = f"input {name!r}: its shape x differs from the shape y of {like!r}"
            checks.append(tf.debugging.assert_equal(tf.shape(tensor), wanted, message=message))
        else:
            message = f"input {name!r}: its first dimension x differs from that of {like!r}, y"
            checks.append(tf.debugging.assert_equal(tf.shape(tensor)[0], wanted[0], message=message))
    for name, bounding in lengths.items():
        length, longest = inputs[name], tf.cast(tf.shape(inputs[bounding])[1], inputs[name].dtype)
        negative, beyond = (
            f"input {name!r}: a length is negative",
            f"input {name!r}: a length exceeds the padded width y",
        )
        checks.append(tf.debugging.assert_greater_equal(length, tf.zeros([], length.dtype), message=negative))
        checks.append(tf.debugging.assert_less_equal(length, longest, message=beyond))
    return {name: _after(tensor, checks) for name, tensor in inputs.items()}


def check_size(inputs: Inputs, name: str, largest: int) -> dict[str, tf.Tensor]:
    """The inputs, once the input `name` has at most `largest` elements: a server's memory grows with them."""
    message = f"input {name!r}: its number of elements x exceeds the limit y of this model; send several requests"
    check = tf.debugging.assert_less_equal(tf.size(inputs[name]), largest, message=message)
    return {key: _after(tensor, [check]) for key, tensor in inputs.items()}


def check_least(inputs: Inputs, name: str, least: int, length: str) -> dict[str, tf.Tensor]:
    """The inputs, once no entry of the input `name` is below `least`.

    Args:
        inputs: Tensors of shapes that agree.
        name: An input [B, L].
        least: The smallest value allowed.
        length: The input [B] that tells how many entries of each row count.
    """
    values = inputs[name]
    counted = tf.where(tf.sequence_mask(inputs[length], tf.shape(values)[1]), values, least)
    message = f"input {name!r}: a value is below {least}"
    check = tf.debugging.assert_greater_equal(counted, tf.cast(least, values.dtype), message=message)
    return {key: _after(tensor, [check]) for key, tensor in inputs.items()}


def _after(tensor: tf.Tensor, checks: Sequence[tf.Operation]) -> tf.Tensor:
    # The reshape ties every use, questions for the shape included, to the checks; the optimiser drops a plain identity.
    with tf.control_dependencies(checks):
        shape = tf.identity(tf.shape(tensor))
    checked = tf.reshape(tensor, shape)
    checked.set_shape(tensor.shape)
    return checked
