"""A batch of histories, encoded: what both stages read."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from model.encoders import AGE_BOUNDARIES_MS
from model.feature import AGE, Dtype
from model.schema import DatasetSchema
from model.top_k import spread

CLUSTER_SIZE = "cluster_size"


@dataclasses.dataclass(frozen=True)
class History:
    """Behaviours of B users, padded; in time order, oldest first, unless `spread`.

    Attributes:
        row: int32 [B, L], item-table row; 0 = unknown item.
        position: int32 [L], place of each in the order of time.
        timestamp: int64 [B, L], ms.
        cross: {cross feature: int32 [B, L]}, without `age`.
        start, end: int32 [B, N'], N' = N or 1: candidate n may see the behaviours from `start` to before `end`.
        target_timestamp: int64 [B, N'], ms.
        log_size: float32 [B, L], ln n of the n behaviours that an entry stands for (TWIN-V2), or None where each is one
            behaviour.
    """

    row: tf.Tensor
    position: tf.Tensor
    timestamp: tf.Tensor
    cross: Mapping[str, tf.Tensor]
    start: tf.Tensor
    end: tf.Tensor
    target_timestamp: tf.Tensor
    log_size: tf.Tensor | None = None

    def visible(self) -> tf.Tensor:
        """Known items among the candidate's last behaviours, bool [B, N', L]; lengths, never a value, tell padding."""
        within = (self.position < self.end[..., tf.newaxis]) & (self.position >= self.start[..., tf.newaxis])
        return within & (self.row > 0)[:, tf.newaxis, :]

    def bias(self, tables: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """(K_c W_a^c) beta of every behaviour, -inf where it is invisible (Eq. 5, 6); TWIN-V2's ln n on top.

        Args:
            tables: {cross feature: float32 [buckets, h]}, from `Relevance.bias_tables`.

        Returns:
            float32 [B, h, N', L].
        """
        size = 0.0 if self.log_size is None else self.log_size[:, tf.newaxis]
        bias = tf.where(self.visible(), size, -float("inf"))[:, tf.newaxis]  # [B, 1, N', L]
        shared = [tf.gather(tables[f], index) for f, index in self.cross.items() if f in tables]  # each [B, L, h]
        if shared:
            bias += tf.transpose(tf.add_n(shared), [0, 2, 1])[:, :, tf.newaxis]
        if AGE in tables:
            age = self.ages()
            # One gather of scalars per head writes [B, h, N', L] directly; gathering rows would need a transpose of it.
            bias += tf.stack([tf.gather(column, age) for column in tf.unstack(tables[AGE], axis=1)], axis=1)
        return bias

    def ages(self) -> tf.Tensor:
        """Age buckets of all behaviours, int32 [B, N', L]."""
        return self._age(self.timestamp[:, tf.newaxis, :])

    def spread(self) -> "History":
        """The same behaviours in the order of `model.top_k.spread`: what was liked of late lies close in time."""
        order = spread(tf.shape(self.row)[1])
        return dataclasses.replace(
            self,
            row=tf.gather(self.row, order, axis=1),
            position=order,
            timestamp=tf.gather(self.timestamp, order, axis=1),
            cross={f: tf.gather(index, order, axis=1) for f, index in self.cross.items()},
            log_size=None if self.log_size is None else tf.gather(self.log_size, order, axis=1),
        )

    def cross_at(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        """Cross-feature indices of retrieved behaviours: int32 [B, N', K] positions to {feature: int32 [B, N', K]}."""
        at = {f: tf.gather(index, position, batch_dims=1) for f, index in self.cross.items()}
        at[AGE] = self.ages_at(position)
        return at

    def ages_at(self, position: tf.Tensor) -> tf.Tensor:
        """Age buckets of retrieved behaviours, int32 [B, N', K], of positions int32 [B, N' or 1, K]."""
        return self._age(tf.gather(self.timestamp, position, batch_dims=1))

    def bias_at(
        self, position: tf.Tensor, cross: Mapping[str, tf.Tensor], tables: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """What `bias` is of retrieved behaviours.

        Args:
            position: int32 [B, N', K].
            cross: {cross feature: int32 [B, N', K]}, from `cross_at`.
            tables: As for `bias`.

        Returns:
            float32, broadcast to [B, N', h, K].
        """
        terms = [tf.gather(table, cross[feature]) for feature, table in tables.items()]  # each [B, N', K, h]
        bias = tf.linalg.matrix_transpose(tf.add_n(terms)) if terms else tf.zeros([])
        if self.log_size is None:
            return bias
        return bias + tf.gather(self.log_size, position, batch_dims=1)[:, :, tf.newaxis]

    def _age(self, timestamp: tf.Tensor) -> tf.Tensor:
        age = self.target_timestamp[:, :, tf.newaxis] - timestamp
        return 1 + tf.raw_ops.Bucketize(input=age, boundaries=AGE_BOUNDARIES_MS)


def history_columns(schema: DatasetSchema, clustered: bool = False) -> dict[str, Dtype]:
    """The raw columns of a history, and their types: `history/<column>` in requests, windows and Examples.

    Args:
        schema: The data set's columns.
        clustered: Whether its entries have sizes, as TWIN-V2's do.
    """
    columns: dict[str, Dtype] = {"item_id": "int64", "timestamp": "int64", **{f.name: f.dtype for f in schema.cross}}
    return {**columns, CLUSTER_SIZE: "int64"} if clustered else columns
