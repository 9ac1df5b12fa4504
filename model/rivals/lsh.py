"""Locality-sensitive hashing by random hyperplanes (SimHash; Charikar, 2002)."""

import numpy as np
import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import embed_items

MAX_BITS = 64
_SEED = 20_231


def differing_bits_of_items(
    inherent: FeatureEmbeddings, table: ItemTable, target: tf.Tensor, history: History, bits: int
) -> tf.Tensor:
    """Bits int64 [B, N, L] in which the signatures of targets float32 [B, N, H] and of behaviours' items differ.

    Embeddings start with one norm in all widths (`model.embedding`); hashed, a feature counts by its width, as where
    every column starts with one standard deviation, and as where TWIN's search starts (`similarity_start`).
    """
    scale = tf.sqrt(inherent.relative_widths())
    behaviours = embed_items(inherent, table, history.row)  # [B, L, H]
    return differing_bits(signatures(target, bits, scale), signatures(behaviours, bits, scale))


def signatures(vectors: tf.Tensor, bits: int, scale: tf.Tensor) -> tf.Tensor:
    """Sign(x r_i) of `bits` fixed random directions r_i, packed into one integer.

    Two vectors at angle t differ in a bit with probability t / pi. The directions follow from width and bits alone, so
    every process has the same ones.

    Args:
        vectors: float32 [..., H].
        bits: At most 64.
        scale: Factors of the columns, float32 [H].

    Returns:
        int64 [...]: bit i is 1 where x r_i > 0.
    """
    if not 0 < bits <= MAX_BITS:
        raise ValueError(f"a signature has 1 to {MAX_BITS} bits, got {bits}")
    planes = np.random.default_rng(_SEED).normal(size=[vectors.shape[-1], bits]).astype(np.float32)
    positive = tf.tensordot(tf.stop_gradient(vectors), scale[:, tf.newaxis] * planes, 1) > 0
    value = np.left_shift(np.int64(1), np.arange(bits, dtype=np.int64))
    return tf.reduce_sum(tf.where(positive, value, np.int64(0)), axis=-1)


def differing_bits(of_targets: tf.Tensor, of_behaviours: tf.Tensor) -> tf.Tensor:
    """Bits int64 [B, N, L] in which signatures int64 [B, N] and [B, L] differ."""
    return tf.bitwise.bitwise_xor(of_targets[:, :, tf.newaxis], of_behaviours[:, tf.newaxis, :])


def count_bits(values: tf.Tensor) -> tf.Tensor:
    """Number of ones, float32 [...], in int64 [...]."""
    return tf.cast(tf.raw_ops.PopulationCount(x=values), tf.float32)
