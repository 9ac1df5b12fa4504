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
    flat = tf.concat([shape[:-2], [entries]], axis=0)
    # Rank-major: entry r * h + a is rank r of head a. [..., K' * h]
    by_rank = tf.reshape(tf.linalg.matrix_transpose(position), flat)
    taken = tf.reshape(tf.linalg.matrix_transpose(valid), flat)
    # Sorting (position, entry) pairs brings equal positions together, their earliest entry first.
    absent = tf.int64.max // 2
    pair = tf.cast(by_rank, tf.int64) * tf.cast(entries, tf.int64) + tf.range(tf.cast(entries, tf.int64))
    pair = tf.sort(tf.where(taken, pair, absent), axis=-1)
    of_position = pair // tf.cast(entries, tf.int64)
    first = tf.concat([tf.ones_like(taken[..., :1]), of_position[..., 1:] != of_position[..., :-1]], axis=-1)
    entry = tf.where(first & (pair < absent), tf.cast(pair % tf.cast(entries, tf.int64), tf.int32), entries)
    kept = -tf.math.top_k(-entry, tf.minimum(size, entries)).values  # earliest first, [..., min(K, entries)]
    union = tf.gather(by_rank, tf.minimum(kept, entries - 1), batch_dims=by_rank.shape.rank - 1)
    union = tf.where(kept < entries, union, -1)
    missing = size - tf.shape(union)[-1]
    padding = [[0, 0]] * (by_rank.shape.rank - 1) + [[0, missing]]
    return tf.ensure_shape(tf.pad(union, padding, constant_values=-1), [None] * (by_rank.shape.rank - 1) + [size])
