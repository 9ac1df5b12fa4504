"""Item id -> row, in variables (section 3.4.2): a bucketed cuckoo hash table."""

import numpy as np
import tensorflow as tf

EMPTY = np.iinfo(np.int64).min
"""Marks a free slot; no item has this id."""
SLOTS = 4
_LOAD = 0.6
_MULTIPLIER = -7046029254386353131  # 2^64 / golden ratio, odd
_LOW = 0xFFFFFFFF
_ROUNDS = 200


class IdIndex(tf.Module):
    """Finds rows by id with two reads of memory an id, however large the table.

    An id lies in one of two buckets of `SLOTS` slots (Pagh and Rodler, Cuckoo hashing, 2004): a look-up reads 64 bytes
    in two places; bisection reads log2(R) places one after the other. The layout is made outside the graph, and
    dimension 0 is open: a new table loads into the same graph.

    Attributes:
        keys: int64 [buckets, SLOTS], `EMPTY` where free.
        rows: int32 [buckets, SLOTS], 0 where free.
    """

    def __init__(self) -> None:
        super().__init__(name="id_index")
        keys, rows = build(np.zeros([0], np.int64))
        self.keys = tf.Variable(keys, shape=[None, SLOTS], trainable=False, name="keys")
        self.rows = tf.Variable(rows, shape=[None, SLOTS], trainable=False, name="rows")

    def assign(self, ids: np.ndarray) -> None:
        """Makes `ids[r - 1]` answer with row r: int64 [R - 1], unique."""
        keys, rows = build(ids)
        self.keys.assign(keys)
        self.rows.assign(rows)

    def lookup(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows int32 [M] of ids int64 [M]; 0 for ids that have none."""
        bits = tf.constant(32, tf.int64)
        hashed = _mixed_in_graph(ids)
        halves = tf.stack([tf.bitwise.right_shift(hashed, bits), hashed], axis=1)
        # `tf.shape` of a variable would copy it whole.
        buckets = tf.raw_ops.VariableShape(input=self.keys.handle, out_type=tf.int64)[0]
        bucket = tf.bitwise.right_shift(tf.bitwise.bitwise_and(halves, _LOW) * buckets, bits)  # [M, 2]
        found = tf.equal(tf.gather(self.keys, bucket), ids[:, tf.newaxis, tf.newaxis])  # [M, 2, SLOTS]
        return tf.reduce_max(tf.where(found, tf.gather(self.rows, bucket), 0), axis=[1, 2])


def build(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lays out the index of rows 1, 2, ..., 60 % of its slots taken.

    Of a handful of ids, more may have the same two buckets than these hold: then there are two or four times as many.

    Args:
        ids: int64 [M], unique, none `EMPTY`; `ids[i]` has row i + 1.

    Returns:
        keys int64 and rows int32, both [buckets, SLOTS].

    Raises:
        ValueError: If ids do not fit, which only ids made to collide could cause.
    """
    fewest = int(len(ids) / (SLOTS * _LOAD)) + 1
    hashed = _mixed(ids)
    for buckets in (fewest, 2 * fewest, 4 * fewest):
        bucket = _placed(hashed, buckets)
        if bucket is not None:
            return _laid_out(ids, bucket, buckets)
    raise ValueError(f"{len(ids)} item ids could not be laid out in {buckets} buckets of {SLOTS}: too many collide")


def _placed(hashed: np.ndarray, buckets: int) -> np.ndarray | None:
    """A bucket for each id, none of which overflows; None where none was found.

    Every id starts in its first bucket. While buckets overflow, ids drawn at random from these move to their other
    bucket; this ends within some rounds of whole-array operations.
    """
    choices = np.stack([(half & _LOW) * buckets >> 32 for half in (hashed >> 32, hashed)]).astype(np.int32)  # [2, M]
    bucket = choices[0].copy()
    rng = np.random.default_rng(0)
    for _ in range(_ROUNDS):
        crowded = np.flatnonzero((np.bincount(bucket, minlength=buckets) > SLOTS)[bucket])
        if not len(crowded):
            return bucket
        crowded = rng.permutation(crowded)
        crowded = crowded[np.argsort(bucket[crowded], kind="stable")]
        moved = crowded[_rank_within(bucket[crowded]) >= SLOTS]
        bucket[moved] = choices[0, moved] + choices[1, moved] - bucket[moved]
    return None


def _laid_out(ids: np.ndarray, bucket: np.ndarray, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    keys = np.full([buckets, SLOTS], EMPTY, np.int64)
    rows = np.zeros([buckets, SLOTS], np.int32)
    order = np.argsort(bucket, kind="stable")
    at = bucket[order], _rank_within(bucket[order])
    keys[at], rows[at] = ids[order], order + 1
    return keys, rows


def _rank_within(sorted_values: np.ndarray) -> np.ndarray:
    """0, 1, ... within every run of equal values."""
    position = np.arange(len(sorted_values))
    starts = np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])[: len(sorted_values)]
    return position - np.maximum.accumulate(np.where(starts, position, 0))


def _mixed(ids: np.ndarray) -> np.ndarray:
    hashed = ids * np.int64(_MULTIPLIER)
    hashed = (hashed ^ (hashed >> 32)) * np.int64(_MULTIPLIER)
    return np.asarray(hashed ^ (hashed >> 29))


def _mixed_in_graph(ids: tf.Tensor) -> tf.Tensor:
    """`_mixed`, in the graph."""

    def folded(hashed: tf.Tensor, bits: int) -> tf.Tensor:
        return tf.bitwise.bitwise_xor(hashed, tf.bitwise.right_shift(hashed, tf.constant(bits, tf.int64)))

    multiplier = tf.constant(_MULTIPLIER, tf.int64)
    return folded(folded(ids * multiplier, 32) * multiplier, 29)
