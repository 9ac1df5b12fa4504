"""TWIN computed the plain way: the reference that the servable's speed and results are held against."""

from pathlib import Path

import tensorflow as tf

from model.config import TwinConfig
from model.export import servable_variables
from model.head_union import union_by_rank
from model.history import History
from model.ranker import TwinRanker
from model.relevance import Relevance
from model.request import RawBatch
from model.schema import DatasetSchema
from model.short_term import recent_positions
from model.signatures import request_spec


class PlainReference:
    """The equations with the first op that comes to mind for each, over the weights of a ranker.

    Ids are found by bisection, every head's ranking is `tf.math.top_k` over the whole history, and every retrieved
    behaviour's key and value are projected on their own (Eq. 5 to 8). Answers equal the ranker's up to rounding.

    Args:
        ranker: Gives the weights and the item table.
        schema: Names and types of a request.
    """

    def __init__(self, ranker: TwinRanker, schema: DatasetSchema) -> None:
        self._ranker, self._schema = ranker, schema
        self._config: TwinConfig = ranker.config
        self._table, self._encoder = ranker.item_table, ranker.request_encoder

    def scores(self, raw: RawBatch) -> tf.Tensor:
        """Predicted CTR float32 [B, N] of a raw request."""
        ranker = self._ranker
        history = self._history(raw)
        target = ranker.inherent(self._table.features(self._row(raw["candidate/item_id"])))  # [B, N, H]
        candidates = tf.shape(target)[:2]
        recent = recent_positions(history.start, history.end, self._config.short_term_length)
        recent = tf.broadcast_to(recent, [*tf.unstack(candidates), self._config.short_term_length])
        parts = [
            self._attend(ranker.twin.esu, target, history, self._search(target, history)),
            self._attend(ranker.short_term.attention, target, history, recent),
            target,
        ]
        for embeddings, index in ((ranker.user, self._encoder.user(raw)), (ranker.context, self._encoder.context(raw))):
            embedded = embeddings(index)
            parts.append(tf.broadcast_to(embedded, [*tf.unstack(candidates), embedded.shape[-1]]))
        return tf.sigmoid(tf.squeeze(ranker.mlp(tf.concat(parts, axis=-1)), axis=-1))

    def save(self, out: Path) -> None:
        """Writes it as a SavedModel with the ranker's `serving_default`, without the checks of the inputs."""
        spec = {n: tf.TensorSpec(s.shape, s.dtype, name=n) for n, s in request_spec(self._schema).items()}
        root = servable_variables(self._ranker)
        root.serve = tf.function(lambda raw: {"pctr": self.scores(raw)}, input_signature=[spec], autograph=False)
        tf.saved_model.save(root, str(out), signatures={"serving_default": root.serve})

    def _row(self, item_id: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(item_id, [-1])
        row = tf.minimum(tf.searchsorted(self._table.ids, flat), tf.shape(self._table.ids)[0] - 1)
        row = tf.where(tf.equal(tf.gather(self._table.ids, row), flat), row, 0)
        return tf.reshape(row, tf.shape(item_id))

    def _history(self, raw: RawBatch) -> History:
        encoded = self._encoder.history(raw)
        length = tf.shape(raw["history/item_id"])[1]
        return History(
            row=self._row(raw["history/item_id"]),
            position=tf.range(length),
            timestamp=encoded.timestamp[:, :length],
            cross={feature: index[:, :length] for feature, index in encoded.cross.items()},
            start=encoded.start,
            end=encoded.end,
            target_timestamp=encoded.target_timestamp,
        )

    def _search(self, target: tf.Tensor, history: History) -> tf.Tensor:
        """Positions int32 [B, N, K]."""
        relevance = self._ranker.twin.relevance
        scores = relevance.of_history(
            relevance.query(target),
            self._table.projections(history.row),
            history.bias(relevance.bias_tables()),
        )  # [B, h, N, L]
        top = tf.math.top_k(scores, tf.minimum(self._config.retrieved, tf.shape(scores)[-1]))
        found = tf.transpose(top.values, [0, 2, 1, 3]) > -float("inf")
        return union_by_rank(tf.transpose(top.indices, [0, 2, 1, 3]), found, self._config.retrieved)

    def _attend(
        self, esu: tf.keras.layers.Layer, target: tf.Tensor, history: History, position: tf.Tensor
    ) -> tf.Tensor:
        """Eq. 5 to 8 over `position` int32 [B, N, K]: float32 [B, N, h * d_k]."""
        relevance: Relevance = esu.relevance
        valid = position >= 0
        at = tf.maximum(position, 0)
        row = tf.where(valid, tf.gather(history.row, at, batch_dims=1), 0)
        inherent, cross = self._ranker.inherent(self._table.features(row)), history.cross_at(at)
        keys = relevance.project(inherent)  # [B, N, K, h * d_k]
        shape = tf.shape(keys)
        by_head = [shape[0], shape[1], shape[2], relevance.heads, relevance.head_dim]
        alpha = tf.einsum("bnhd,bnkhd->bnhk", relevance.query(target), tf.reshape(keys, by_head))
        for feature, table in relevance.bias_tables().items():
            alpha += tf.linalg.matrix_transpose(tf.gather(table, cross[feature]))
        seen = valid[:, :, tf.newaxis, :]
        attention = tf.nn.softmax(tf.where(seen, alpha, alpha.dtype.min)) * tf.cast(seen, alpha.dtype)
        behaviours = tf.concat([inherent, relevance.cross(cross)], axis=-1)
        values = tf.einsum("bnkc,hcd->bnkhd", behaviours, esu.value_kernel)
        heads = tf.einsum("bnhk,bnkhd->bnhd", attention, values)
        return tf.tensordot(tf.reshape(heads, [shape[0], shape[1], -1]), esu.output_kernel, 1)
