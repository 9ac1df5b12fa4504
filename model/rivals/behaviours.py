"""The features of behaviours, as rivals read them."""

import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.feature import AGE
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
    ageless = embed_ageless(inherent, cross, table, history, position)
    return tf.concat([ageless, embed_ages(cross, history, position)], axis=-1)


def embed_ageless(
    inherent: FeatureEmbeddings, cross: FeatureEmbeddings, table: ItemTable, history: History, position: tf.Tensor
) -> tf.Tensor:
    """All features of behaviours but their age, which alone depends on who reads them; see `embed_behaviours`.

    Positions int32 [B, ...] give float32 [B, ..., H + C without the age's width].
    """
    at = tf.maximum(position, 0)
    parts = [embed_items(inherent, table, tf.gather(history.row, at, batch_dims=1))]
    for feature, embedding in cross.embeddings.items():
        if feature != AGE:
            parts.append(embedding(tf.gather(history.cross[feature], at, batch_dims=1)))
    return tf.concat(parts, axis=-1)


def embed_ages(cross: FeatureEmbeddings, history: History, position: tf.Tensor) -> tf.Tensor:
    """Ages of behaviours, the last cross feature, float32 [B, N', M, A]; A = 0 where the schema has none.

    Positions are int32 [B, N' or 1, M].
    """
    ages = history.ages_at(tf.maximum(position, 0))
    if AGE in cross.embeddings:
        return cross.embeddings[AGE](ages)
    return tf.zeros([*tf.unstack(tf.shape(ages)), 0])


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


def shared_reading(position: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What to read of users whose candidates each see their `most_recent` behaviours.

    The targets of a window that follow each other closely see almost the same behaviours. Reading all from the newest
    that any of them sees down to the oldest, once for all, is less than reading each one's own.

    Args:
        position: int32 [B, N', M], from `most_recent`.
        row: int32 [B, L], the behaviours' rows in the item table.

    Returns:
        Positions to read int32 [B, G, S], newest first, negative = none, and which of them each candidate sees, bool
        [B, N', S]. G = 1 where all candidates share them, which they do if that makes S at most 2 M; otherwise S = M
        and G = N', each candidate's own.
    """
    none = position < 0
    oldest = tf.reduce_min(tf.where(none, position.dtype.max, position), axis=2)  # [B, N']
    newest = position[:, :, 0]
    last = tf.reduce_max(newest, axis=1)  # [B]
    length = tf.maximum(tf.reduce_max(last - tf.reduce_min(oldest, axis=1)) + 1, 1)

    share = (tf.shape(position)[1] > 1) & (length <= 2 * tf.shape(position)[2])
    read = tf.cond(share, lambda: (last[:, tf.newaxis] - tf.range(length))[:, tf.newaxis], lambda: position)
    known = tf.gather(row, tf.maximum(read, 0), batch_dims=1) > 0
    return read, known & (read >= oldest[..., tf.newaxis]) & (read <= newest[..., tf.newaxis])


def only_visible(scores: tf.Tensor, history: History) -> tf.Tensor:
    """`scores` float32, broadcast to [B, N, L], with -inf where the candidate may not see the behaviour."""
    return tf.where(history.visible(), scores, -float("inf"))
