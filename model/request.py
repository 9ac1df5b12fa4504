"""A raw request, or training window, to what the model computes on."""

from collections.abc import Mapping

import tensorflow as tf

from model.config import TwinConfig
from model.encoders import Encoders, feature_key, make_encoder
from model.feature import Feature
from model.history import CLUSTER_SIZE, History, history_columns
from model.item_table import ITEM_ID, ItemTable
from model.schema import DatasetSchema
from model.top_k import BLOCK

RawBatch = Mapping[str, tf.Tensor]
"""Named raw inputs: `history/...` [B, L], `history/length` [B], `candidate/item_id` [B, N], `request/timestamp` [B] or
[B, N], `user/...` [B], `context/...` [B] or [B, N]; in training also `candidate/history_end` [B, N]."""


class RequestEncoder(tf.Module):
    """Raw values to embedding indices, the same in training and in serving.

    Args:
        schema: Which features there are.
        encoders: How each is encoded.
        table: Gives items their rows.
        config: `history_length` L, of a longer history only each candidate's last L entries are seen; and whether
            histories are clustered.
    """

    def __init__(self, schema: DatasetSchema, encoders: Encoders, table: ItemTable, config: TwinConfig) -> None:
        super().__init__(name="request_encoder")
        self._schema, self._table, self._history_length = schema, table, config.history_length
        self._clustered = config.clustered
        features = (*schema.inherent, *schema.cross, *schema.context, *schema.user)
        self._encoders = {
            feature_key(f).replace("/", "_"): make_encoder(encoders.features[feature_key(f)], f.name) for f in features
        }

    def encode(self, feature: Feature, values: tf.Tensor) -> tf.Tensor:
        """Raw `values` of a feature to int32 indices of the same shape."""
        return self._encoders[feature_key(feature).replace("/", "_")](values)

    def history(self, raw: RawBatch) -> History:
        """The users' histories."""
        columns = history_columns(self._schema, self._clustered)
        padded = {name: _to_whole_blocks(raw[f"history/{name}"]) for name in columns}
        end = raw.get("candidate/history_end")
        end = tf.cast(raw["history/length"][:, tf.newaxis] if end is None else end, tf.int32)
        return History(
            row=self._table.lookup(padded[ITEM_ID]),
            position=tf.range(tf.shape(padded[ITEM_ID])[1]),
            timestamp=padded["timestamp"],
            cross={f.name: self.encode(f, padded[f.name]) for f in self._schema.cross},
            start=tf.maximum(end - self._history_length, 0),
            end=end,
            target_timestamp=_per_candidate(raw["request/timestamp"]),
            log_size=_log_size(padded[CLUSTER_SIZE]) if self._clustered else None,
        )

    def user(self, raw: RawBatch) -> dict[str, tf.Tensor]:
        """User feature indices {feature: int32 [B, 1]}."""
        return {f.name: self.encode(f, raw[f"user/{f.name}"])[:, tf.newaxis] for f in self._schema.user}

    def context(self, raw: RawBatch) -> dict[str, tf.Tensor]:
        """Context feature indices {feature: int32 [B, N']}, N' = N or 1."""
        return {f.name: self.encode(f, _per_candidate(raw[f"context/{f.name}"])) for f in self._schema.context}

    def items(self, raw: RawBatch) -> dict[str, tf.Tensor]:
        """Inherent feature indices of catalog rows.

        Args:
            raw: `item_id` int64 [M], `<f>` [M], multi-hot `<f>` [M, W] with `<f>/length` int64 [M].

        Returns:
            {feature: int32 [M], multi-hot [M, W'] with the item table's W'}.
        """
        # An item that training did not see often enough shares the embedding of no id: only its other features speak.
        index = {ITEM_ID: self._table.features(self._table.lookup(raw["item_id"]))[ITEM_ID]}
        for feature in self._schema.inherent:
            encoded = self.encode(feature, raw[feature.name])
            if feature.multi_hot:
                listed = tf.sequence_mask(raw[f"{feature.name}/length"], tf.shape(encoded)[1])
                encoded = _to_width(tf.where(listed, encoded, 0), self._table.index[feature.name].shape[1])
            index[feature.name] = encoded
        return index


def _to_whole_blocks(values: tf.Tensor) -> tf.Tensor:
    # The search is fastest on whole blocks. Also, an empty history gets invisible behaviours, so that gathering
    # "position 0" of nobody stays in range.
    length = tf.shape(values)[1]
    missing = tf.maximum(length + (-length) % BLOCK, BLOCK) - length
    return tf.pad(values, [[0, 0], [0, missing]], constant_values="" if values.dtype == tf.string else 0)


def _log_size(size: tf.Tensor) -> tf.Tensor:
    # What stands in the padding may be anything; a NaN of it would reach the gradient of what it is masked from.
    return tf.math.log(tf.cast(tf.maximum(size, 1), tf.float32))


def _per_candidate(values: tf.Tensor) -> tf.Tensor:
    return values[:, tf.newaxis] if values.shape.rank == 1 else values


def _to_width(values: tf.Tensor, width: int) -> tf.Tensor:
    kept = values[:, :width]
    padded = tf.pad(kept, [[0, 0], [0, width - tf.shape(kept)[1]]])
    return tf.ensure_shape(padded, [None, width])
