"""An inverted index over each user's behaviours: term -> behaviours that hold it."""

from collections.abc import Callable

import tensorflow as tf

from model.history import History

_POSITIONS = 1 << 20
_LAST = tf.int64.max


def sum_over_shared_terms(
    of_behaviours: tf.Tensor,
    of_targets: tf.Tensor,
    history: History,
    weigh: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """For every target and behaviour, the sum of the weights of the terms that both hold.

    Postings (term, position) of a user are sorted, so that those of one term which a target may see, from its `start`
    to before its `end`, are one run between two bisections. Only these runs are visited: the cost is the number of
    matches, not candidates x behaviours x terms.

    Args:
        of_behaviours: int64 [B, L, T], terms below 2^42; 0 = none. L is at most 2^20.
        of_targets: int64 [B, N, S]; 0 = none.
        history: The users' behaviours; those of unknown items have no terms.
        weigh: The number of visible behaviours that hold a term, int32 [B, N, S], to the term's weight, float32.

    Returns:
        float32 [B, N, L], 0 = no shared term. A term counts once, however often an item lists it.
    """
    shape, targets = tf.shape(of_behaviours), tf.shape(of_targets)
    users, length, count, slots = shape[0], shape[1], targets[1], targets[2]
    position = tf.cast(tf.range(length), tf.int64)[:, tf.newaxis]
    posting = tf.where(of_behaviours > 0, of_behaviours * _POSITIONS + position, _LAST)
    posting = tf.sort(tf.reshape(posting, [users, -1]))  # [B, P]
    is_new = tf.concat([tf.ones_like(posting[:, :1], tf.bool), posting[:, 1:] != posting[:, :-1]], axis=1)
    wanted = tf.where(_repeated(of_targets), tf.zeros([], tf.int64), of_targets)

    def bisect(at: tf.Tensor) -> tf.Tensor:
        key = wanted * _POSITIONS + tf.cast(at, tf.int64)[:, :, tf.newaxis]
        return tf.reshape(tf.searchsorted(posting, tf.reshape(key, [users, -1])), targets)

    first, last = bisect(history.start), bisect(history.end)  # [B, N, S]
    new_before = tf.pad(tf.cumsum(tf.cast(is_new, tf.int32), axis=1), [[0, 0], [1, 0]])  # [B, P + 1]
    holders = _at(new_before, last) - _at(new_before, first)
    weight = weigh(tf.where(wanted > 0, holders, 0))
    # Every (target, term) with its run of postings, written out one after the other.
    run = tf.reshape(tf.where(wanted > 0, tf.maximum(last - first, 0), 0), [-1])
    owner = tf.repeat(tf.range(tf.size(run)), run)
    nth = tf.range(tf.size(owner)) - tf.gather(tf.cumsum(run, exclusive=True), owner)
    at = owner // (count * slots) * tf.shape(posting)[1] + tf.gather(tf.reshape(first, [-1]), owner) + nth
    held = tf.cast(tf.gather(tf.reshape(posting, [-1]), at) % _POSITIONS, tf.int64)
    value = tf.gather(tf.reshape(weight, [-1]), owner) * tf.cast(tf.gather(tf.reshape(is_new, [-1]), at), tf.float32)
    cell = tf.cast(owner // slots, tf.int64) * tf.cast(length, tf.int64) + held
    cells = tf.cast(users * count, tf.int64) * tf.cast(length, tf.int64)
    return tf.reshape(tf.math.unsorted_segment_sum(value, cell, cells), [users, count, length])


def _repeated(terms: tf.Tensor) -> tf.Tensor:
    """Whether a term int64 [B, N, S] stands further left already."""
    same = terms[..., tf.newaxis] == terms[..., tf.newaxis, :]  # [B, N, S, S]
    return tf.reduce_any(tf.linalg.band_part(same, -1, 0) & ~tf.eye(tf.shape(terms)[-1], dtype=tf.bool), axis=-1)


def _at(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """`values` [B, P] at `index` [B, N, S]."""
    return tf.gather(values, index, batch_dims=1)
