"""A batch of histories, encoded: what both stages read."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from model.encoders import AGE_BOUNDARIES_MS
from model.schema import AGE
from model.top_k import spread


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
    """

    row: tf.Tensor
    position: tf.Tensor
    timestamp: tf.Tensor
    cross: Mapping[str, tf.Tensor]
    start: tf.Tensor
    end: tf.Tensor
    target_timestamp: tf.Tensor

    def visible(self) -> tf.Tensor:
        """Known items among the candidate's last behaviours, bool [B, N', L]; lengths, never a value, tell padding."""
        within = (self.position < self.end[..., tf.newaxis]) & (self.position >= self.start[..., tf.newaxis])
        return within & (self.row > 0)[:, tf.newaxis, :]

    def bias(self, tables: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """(K_c W_a^c) beta of every behaviour, -inf where it is invisible (Eq. 5, 6).

        Args:
            tables: {cross feature: float32 [buckets, h]}, from `Relevance.bias_tables`.

        Returns:
            float32 [B, h, N', L].
        """
        bias = tf.where(self.visible(), 0.0, -float("inf"))[:, tf.newaxis]  # [B, 1, N', L]
        shared = [tf.gather(tables[f], index) for f, index in self.cross.items()]  # each [B, L, h]
        if shared:
            bias += tf.transpose(tf.add_n(shared), [0, 2, 1])[:, :, tf.newaxis]
        if AGE in tables:
            age = self._age(self.timestamp[:, tf.newaxis, :])  # [B, N', L]
            # One gather of scalars per head writes [B, h, N', L] directly; gathering rows would need a transpose of it.
            bias += tf.stack([tf.gather(column, age) for column in tf.unstack(tables[AGE], axis=1)], axis=1)
        return bias

    def spread(self) -> "History":
        """The same behaviours in the order of `model.top_k.spread`: what was liked of late lies close in time."""
        order = spread(tf.shape(self.row)[1])
        return dataclasses.replace(
            self,
            row=tf.gather(self.row, order, axis=1),
            position=order,
            timestamp=tf.gather(self.timestamp, order, axis=1),
            cross={f: tf.gather(index, order, axis=1) for f, index in self.cross.items()},
        )

    def cross_at(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        """Cross-feature indices of retrieved behaviours: int32 [B, N', K] positions to {feature: int32 [B, N', K]}."""
        at = {f: tf.gather(index, position, batch_dims=1) for f, index in self.cross.items()}
        at[AGE] = self._age(tf.gather(self.timestamp, position, batch_dims=1))
        return at

    def _age(self, timestamp: tf.Tensor) -> tf.Tensor:
        age = self.target_timestamp[:, :, tf.newaxis] - timestamp
        return 1 + tf.raw_ops.Bucketize(input=age, boundaries=AGE_BOUNDARIES_MS)


def bias_of_retrieved(tables: Mapping[str, tf.Tensor], cross: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """(K_c W_a^c) beta of retrieved behaviours (Eq. 5, 6).

    Args:
        tables: As for `History.bias`.
        cross: {cross feature: int32 [B, N', K]}, from `History.cross_at`.

    Returns:
        float32 [B, N', h, K]; 0 without cross features.
    """
    terms = [tf.gather(table, cross[feature]) for feature, table in tables.items()]
    return tf.linalg.matrix_transpose(tf.add_n(terms)) if terms else tf.zeros([])
