"""Exact top-k of long rows, faster than a heap over every entry."""

import tensorflow as tf

BLOCK = 64
"""Rows whose length is a multiple of this take the fast path."""
_LONG = 32_768


def top_k(scores: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `k` largest entries of every row, in descending order, exactly as `tf.math.top_k` finds them.

    A row is cut into blocks. The k-th largest of the blocks' maxima, t, is reached by k entries at least, so no entry
    below t is among the k largest, and a block whose maximum is below t holds none. What is left is about k blocks, in
    them little more than k entries, and only those are sorted. Reading a row once for its maxima is all the work that
    grows with its length; `tf.math.top_k` instead mends a heap some k ln(length / k) times.

    Entries that are large together should lie in different blocks, else many entries reach t; `spread` sees to that.
    Where many blocks tie at t, the k best of them, of equals the first, hold all that is wanted and are searched whole.

    Short rows and rows of another length than a multiple of `BLOCK` go to `tf.math.top_k`.

    Args:
        scores: float32 [..., L]; -inf = no entry. No NaN.
        k: Number of entries wanted.

    Returns:
        Values float32 and indices int32, both [..., k'], k' = min(k, L). Among equal values the lower index comes
        first. Where a row has fewer than k' entries above -inf, the rest has value -inf and any index.
    """
    shape = tf.shape(scores)
    length = shape[-1]
    size = tf.minimum(k, length)
    rows = tf.reshape(scores, [-1, length])
    block = _block(length)
    blocks = length // block

    def plain() -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.math.top_k(rows, size)
        return found.values, found.indices

    def by_blocks() -> tuple[tf.Tensor, tf.Tensor]:
        maxima = tf.reshape(tf.reduce_max(tf.reshape(rows, [-1, block]), axis=1), [-1, blocks])
        least = tf.maximum(tf.raw_ops.NthElement(input=maxima, n=k - 1, reverse=True), scores.dtype.min)  # t
        reached = maxima >= least[:, tf.newaxis]
        few_tie = tf.reduce_max(tf.math.count_nonzero(reached, axis=1, dtype=tf.int32)) <= k + k // 2
        return tf.cond(
            few_tie,
            lambda: _from_blocks(rows, reached, least, block, k),
            lambda: _of_best_blocks(rows, maxima, block, k),
        )

    values, indices = tf.cond((blocks >= 2 * k) & (length % BLOCK == 0), by_blocks, plain)
    wanted = tf.concat([shape[:-1], [size]], axis=0)
    return tf.reshape(values, wanted), tf.reshape(indices, wanted)


def spread(length: tf.Tensor) -> tf.Tensor:
    """An order that puts neighbours into different blocks of `top_k`: int32 [L], `length` a multiple of `BLOCK`."""
    return tf.reshape(tf.transpose(tf.reshape(tf.range(length), [_block(length), -1])), [-1])


def _block(length: tf.Tensor) -> tf.Tensor:
    return tf.where(length < _LONG, BLOCK // 4, BLOCK)


def _of_best_blocks(rows: tf.Tensor, maxima: tf.Tensor, block: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Top k of `rows` [R, L] among the k blocks of largest `maxima` [R, L / block], of equals the first."""
    best = tf.sort(tf.math.top_k(maxima, k).indices, axis=1)  # in order, for the lower index to come first
    entries = tf.gather(tf.reshape(rows, [tf.shape(maxima)[0], -1, block]), best, batch_dims=1)
    found = tf.math.top_k(tf.reshape(entries, [-1, k * block]), k)
    position = tf.gather(best, found.indices // block, batch_dims=1) * block + found.indices % block
    return found.values, position


def _from_blocks(
    rows: tf.Tensor, reached: tf.Tensor, least: tf.Tensor, block: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Top k of `rows` [R, L] among the entries >= `least` [R] of the blocks `reached` [R, L / block]."""
    count = tf.shape(rows, tf.int64)[0]
    of_block, of_row = tf.cast(block, tf.int64), tf.shape(reached, tf.int64)[1]
    taken = tf.where(tf.reshape(reached, [-1]))[:, 0]  # [M] blocks, row by row
    entries = tf.gather(tf.reshape(rows, [-1, block]), taken)  # [M, block]
    row = taken // of_row
    kept = tf.where(tf.reshape(entries >= tf.gather(least, row)[:, tf.newaxis], [-1]))[:, 0]  # [P] entries, row by row
    row = tf.gather(row, kept // of_block)
    # Into a rectangle [R, W], every row's entries from the left and in order.
    per_row = tf.math.bincount(tf.cast(row, tf.int32), minlength=tf.cast(count, tf.int32), dtype=tf.int64)
    first = tf.cumsum(per_row, exclusive=True)  # [R], into `kept`
    width = tf.maximum(tf.reduce_max(per_row), k)
    cell = row * width + tf.range(tf.size(row, tf.int64)) - tf.gather(first, row)
    values = tf.gather(tf.reshape(entries, [-1]), kept)
    rectangle = tf.tensor_scatter_nd_update(tf.fill([count * width], -float("inf")), cell[:, tf.newaxis], values)
    found, column = _first_of_few(tf.reshape(rectangle, [count, width]), k)
    # A row with fewer than k entries finds cells that hold none.
    nth = tf.minimum(first[:, tf.newaxis] + tf.cast(column, tf.int64), tf.size(kept, tf.int64))
    entry = tf.gather(tf.concat([kept, [0]], axis=0), nth)
    position = tf.gather(tf.concat([taken, [0]], axis=0), entry // of_block) % of_row * of_block + entry % of_block
    return found, tf.cast(position, tf.int32)


def _first_of_few(rows: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Top k of rows [R, W] that are mostly little longer than k: sorting them whole beats the heap."""
    width = tf.shape(rows)[1]

    def some() -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.math.top_k(rows, k)
        return found.values, found.indices

    def every() -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.math.top_k(rows, width)
        return found.values[:, :k], found.indices[:, :k]

    return tf.cond(width <= 4 * k, every, some)
