"""Scores the targets of Examples with a ranker, and says how good the scores are."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.ranker import TwinRanker
from model.schema import DatasetSchema
from model.windows import user_example_spec, windows_of
from pipelines.score_metrics import score_metrics, within_item_auc

METRICS = ("auc", "gauc", "auc_within_item", "logloss")
_HASHES = 2**62


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scored targets.

    Attributes:
        user: int64 [M], a hash of the user's id.
        item: int64 [M].
        label, pctr: float32 [M].
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray
    pctr: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All targets of several parts."""
        none = np.zeros(0, np.float32)
        parts = parts or [cls(none.astype(np.int64), none.astype(np.int64), none, none)]
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def where(self, wanted: np.ndarray) -> "Scored":
        """The targets for which `wanted` bool [M] is true."""
        return Scored(self.user[wanted], self.item[wanted], self.label[wanted], self.pctr[wanted])

    def metrics(self) -> dict[str, Any]:
        """AUC, GAUC, AUC within the targets of one item, log loss and counts; None where undefined.

        The scores of a training that diverged are no numbers: nothing is defined then but the number of targets.
        """
        if not np.isfinite(self.pctr).all():
            return dict.fromkeys(METRICS) | {"targets": len(self.pctr)}
        order = np.argsort(self.user, kind="stable")
        borders = np.flatnonzero(np.diff(self.user[order])) + 1
        of_user = list(zip(*(np.split(values[order], borders) for values in (self.label, self.pctr)), strict=True))
        if not len(self.user):
            of_user = []
        return score_metrics(of_user) | {"auc_within_item": within_item_auc(self.item, self.label, self.pctr)}


class Scorer:
    """Scores per-user Examples; traced once for all of them.

    Args:
        ranker: With a fresh item table; what it learns later counts.
        schema: The data set's columns.
    """

    def __init__(self, ranker: TwinRanker, schema: DatasetSchema) -> None:
        self._config, self._schema = ranker.config, schema
        spec = user_windows([], schema, ranker.config).element_spec
        self._score = tf.function(ranker.call, input_signature=[spec], autograph=False)

    def __call__(self, files: Sequence[str]) -> Scored:
        """The targets of TFRecord files of per-user Examples."""
        parts = []
        for batch in user_windows(files, self._schema, self._config):
            real = batch["weight"].numpy() > 0
            user = np.broadcast_to(batch["user"].numpy()[:, np.newaxis], real.shape)
            columns = (batch["candidate/item_id"].numpy(), batch["label"].numpy(), self._score(batch).numpy())
            parts.append(Scored(user[real], *(column[real] for column in columns)))
        return Scored.joined(parts)


def user_windows(files: Sequence[str], schema: DatasetSchema, config: TwinConfig) -> tf.data.Dataset:
    """The windows of `model.windows.window_dataset` in the order of the files, with `user` int64 [B], who it is."""
    spec = user_example_spec(schema, config.clustered)

    def with_user(serialized: tf.Tensor) -> tf.data.Dataset:
        example = tf.io.parse_single_example(serialized, spec)
        user = _user_hash(example["user_id"])
        return windows_of(example, schema, config).map(lambda window: window | {"user": user})

    records = tf.data.TFRecordDataset(list(files), compression_type="GZIP")
    return records.flat_map(with_user).padded_batch(config.users_per_batch).prefetch(2)


def behaviours_by_user(files: Sequence[str]) -> dict[int, int]:
    """Number of behaviours by `Scored.user`, from per-user Examples, one a user."""
    spec = {
        "user_id": tf.io.FixedLenFeature([], tf.string),
        "history/item_id": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    }
    parsed = tf.data.TFRecordDataset(list(files), compression_type="GZIP").map(
        lambda record: tf.io.parse_single_example(record, spec)
    )
    counted = parsed.map(lambda p: (_user_hash(p["user_id"]), tf.size(p["history/item_id"])))
    return {int(user): int(count) for user, count in counted.as_numpy_iterator()}


def _user_hash(user_id: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(user_id, _HASHES)
