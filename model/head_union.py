"""The union of the heads' rankings (section 4.3)."""

import tensorflow as tf


def union_by_rank(position: tf.Tensor, valid: tf.Tensor, size: int) -> tf.Tensor:
    """The first `size` unique positions, taking rank 1 of every head in turn, then rank 2 of every head, ...

    Args:
        position: int32 [..., h, K'], each head's behaviours by descending relevance.
        valid: bool [..., h, K'], false where the head has no further behaviour.
        size: K, number of unique positions wanted.

    Returns:
        int32 [..., K] in the order of the traversal; -1 where there are fewer.
    """
    shape = tf.shape(position)
    entries = shape[-1] * shape[-2]
    # Rank-major: entry r * h + a is rank r of head a. [M, K' * h]
    by_rank = tf.reshape(tf.linalg.matrix_transpose(position), [-1, entries])
    taken = tf.reshape(tf.linalg.matrix_transpose(valid), [-1, entries])
    # Sorting (position, entry) pairs brings equal positions together, their earliest entry first.
    absent, many = tf.int64.max // 2, tf.cast(entries, tf.int64)
    pair = tf.where(taken, tf.cast(by_rank, tf.int64) * many + tf.range(many), absent)
    pair = tf.sort(pair, axis=-1)
    new = tf.concat([tf.ones_like(taken[:, :1]), pair[:, 1:] // many != pair[:, :-1] // many], axis=-1)
    # Back in the order of the traversal, the running count of new positions is the slot that each one takes.
    at = tf.where(new & (pair < absent))  # [P, 2]
    first = tf.stack([at[:, 0], tf.gather_nd(pair, at) % many], axis=1)
    is_first = tf.scatter_nd(first, tf.ones([tf.shape(first)[0]], tf.int32), tf.shape(by_rank, tf.int64))  # [M, K' * h]
    slot = tf.cumsum(is_first, axis=-1)
    kept = tf.where((is_first > 0) & (slot <= size))  # [P', 2]
    cell = tf.stack([kept[:, 0], tf.cast(tf.gather_nd(slot, kept), tf.int64) - 1], axis=1)
    union = tf.fill([tf.shape(by_rank)[0], size], -1)
    union = tf.tensor_scatter_nd_update(union, cell, tf.gather_nd(by_rank, kept))
    return tf.ensure_shape(
        tf.reshape(union, tf.concat([shape[:-2], [size]], axis=0)), [*position.shape[:-2].as_list(), size]
    )
