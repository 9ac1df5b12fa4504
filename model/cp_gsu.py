"""The consistency-preserved general search unit (section 3.3.3)."""

from collections.abc import Mapping

import tensorflow as tf

from model.head_union import union_by_rank
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance
from model.top_k import top_k


class ConsistencyPreservedGSU(tf.keras.layers.Layer):
    """Retrieves the K behaviours of a whole history that are most relevant to each candidate.

    Scores all L behaviours with the relevance of the ESU (Eq. 6), on projections gathered from the item table, then
    traverses the heads' rankings by rank until K unique behaviours are found (section 4.3). Padding, unknown items and
    behaviours not yet visible never take a slot. No gradient runs through the search.

    Differences from the paper: "descending order of the scale in alpha" (section 3.4.3) is read as descending alpha,
    which is what Softmax(alpha) in the ESU weighs by; the magnitude |alpha| would retrieve what the ESU gives no
    weight.

    Args:
        relevance: The layer shared with the ESU.
        table: Gives the behaviours' projections.
        retrieved: K.
    """

    def __init__(self, relevance: Relevance, table: ItemTable, retrieved: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.relevance, self.table, self.retrieved = relevance, table, retrieved

    def call(self, query: tf.Tensor, history: History, bias_tables: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Searches.

        Args:
            query: float32 [B, N, h, d_k].
            history: The users' behaviours.
            bias_tables: From `Relevance.bias_tables`.

        Returns:
            int32 [B, N, K], positions in the history, -1 where there are fewer.
        """
        spread = history.spread()
        keys = self.table.projections(spread.row)
        scores = tf.stop_gradient(self.relevance.of_history(query, keys, spread.bias(bias_tables)))  # [B, h, N, L]
        found = rank_union(scores, self.retrieved)
        return tf.where(found < 0, -1, tf.gather(spread.position, tf.maximum(found, 0)))


def rank_union(scores: tf.Tensor, size: int) -> tf.Tensor:
    """Positions int32 [B, N, size] of the heads' best, by rank: scores float32 [B, h, N, L], -inf = invisible.

    More than two heads rarely agree so much that each one's ranking is needed down to rank `size`: half of that is
    tried for all candidates, and the whole only for those whose union it does not fill. The result is the same.
    """
    few = scores.shape[1] <= 2  # halves of two rankings fill it only where they share nothing
    values, indices = top_k(scores, size if few else max(size // 2, 1))  # [B, h, N, K']
    united = _unite(tf.transpose(values, [0, 2, 1, 3]), tf.transpose(indices, [0, 2, 1, 3]), size)
    # All heads see the same behaviours: where the first head's ranking ends, so do the others'.
    lacking = (united[..., -1] < 0) & (values[:, 0, :, -1] > -float("inf"))  # [B, N]

    def completed() -> tf.Tensor:
        candidate = tf.where(lacking)  # [F, 2]
        whole = _unite(*top_k(_rows(scores, candidate), size), size)
        return tf.tensor_scatter_nd_update(united, candidate, whole)

    return tf.cond(tf.reduce_any(lacking), completed, lambda: united)


def _unite(values: tf.Tensor, indices: tf.Tensor, size: int) -> tf.Tensor:
    """The first `size` unique of rankings [..., h, K'] by rank: int32 [..., size]."""
    return union_by_rank(indices, values > -float("inf"), size)


def _rows(scores: tf.Tensor, candidate: tf.Tensor) -> tf.Tensor:
    """Scores [F, h, L] of candidates int64 [F, 2] = (b, n), from scores [B, h, N, L]."""
    heads = tf.range(tf.shape(scores, tf.int64)[1])
    shape = [tf.shape(candidate)[0], tf.shape(scores)[1]]
    user, head, place = (
        tf.broadcast_to(index, shape) for index in (candidate[:, :1], heads[tf.newaxis], candidate[:, 1:])
    )
    return tf.gather_nd(scores, tf.stack([user, head, place], axis=-1))
