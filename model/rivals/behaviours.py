"""The features of behaviours, as rivals read them."""

import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.top_k import top_k


def embed_items(inherent: FeatureEmbeddings, table: ItemTable, row: tf.Tensor) -> tf.Tensor:
    """Inherent features K_h of table rows int32 [...]: float32 [..., H]; each distinct item is embedded once."""
    unique, at = tf.unique(tf.reshape(row, [-1]))
    embedded = tf.gather(inherent(table.features(unique)), at)
    return tf.reshape(embedded, tf.concat([tf.shape(row), [inherent.width]], axis=0))


def embed_behaviours(
    inherent: FeatureEmbeddings, cross: FeatureEmbeddings, table: ItemTable, history: History, position: tf.Tensor
) -> tf.Tensor:
    """All features K = [K_h K_c] of behaviours.

    Args:
        inherent, cross: Embeddings.
        table: Gives feature indices.
        history: The users' behaviours.
        position: int32 [B, N', M], -1 = none.

    Returns:
        float32 [B, N', M, H + C]; what stands where there is no behaviour, is undefined.
    """
    at = tf.maximum(position, 0)
    items = embed_items(inherent, table, tf.gather(history.row, at, batch_dims=1))
    return tf.concat([items, cross(history.cross_at(at))], axis=-1) if cross.width else items


def newest_first(scores: tf.Tensor, size: int) -> tf.Tensor:
    """Positions of the behaviours of highest score; among equal scores the newest.

    Args:
        scores: float32 [B, N', L], -inf = not to be retrieved.
        size: K.

    Returns:
        int32 [B, N', K], -1 where there are fewer.
    """
    values, from_end = top_k(tf.reverse(scores, [-1]), size)
    found = tf.where(values > -float("inf"), tf.shape(scores)[-1] - 1 - from_end, -1)  # [B, N', min(K, L)]
    padded = tf.pad(found, [[0, 0], [0, 0], [0, size - tf.shape(found)[-1]]], constant_values=-1)
    return tf.ensure_shape(padded, [None, None, size])


def most_recent(history: History, size: int) -> tf.Tensor:
    """Positions int32 [B, N', size] of the newest visible behaviours of known items, newest first; -1 = none."""
    known = tf.cumsum(tf.cast(history.row > 0, tf.int32), axis=1)  # [B, L], up to and with each
    before = tf.pad(known, [[0, 0], [1, 0]])
    first, last = (tf.gather(before, at, batch_dims=1)[..., tf.newaxis] for at in (history.start, history.end))
    nth = last - tf.range(size)  # [B, N', size], of all known ones from the oldest on
    position = tf.searchsorted(known, tf.reshape(nth, [tf.shape(nth)[0], -1]))
    return tf.where(nth > first, tf.reshape(position, tf.shape(nth)), -1)


def only_visible(scores: tf.Tensor, history: History) -> tf.Tensor:
    """`scores` float32, broadcast to [B, N, L], with -inf where the candidate may not see the behaviour."""
    return tf.where(history.visible(), scores, -float("inf"))
