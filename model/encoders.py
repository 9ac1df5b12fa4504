"""Raw feature values to embedding indices, with the statistics that Transform's full pass found."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.feature import AGE, Dtype, Feature

ABSENT = 0
"""Index of a missing value; its embedding is zero."""
OUT_OF_VOCABULARY = 1
"""Index of a value that the vocabulary does not hold."""

AGE_BOUNDARIES_MS = tuple(60_000.0 * 2**step for step in range(24))
"""Borders of the buckets of the cross feature `age`: one minute, doubled 23 times (16 years)."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The known values of a categorical feature, most frequent first; value i has index 2 + i."""

    dtype: Dtype
    values: tuple[int, ...] | tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of indices: absent, out of vocabulary, and one per value."""
        return 2 + len(self.values)


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Ascending borders of a numeric feature's buckets; x has index 1 + (number of borders <= x), NaN has 0."""

    values: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of indices: absent, and one per bucket."""
        return 2 + len(self.values)


@dataclasses.dataclass(frozen=True)
class Encoders:
    """The encoder of every feature, keyed `inherent/<f>`, `cross/<f>`, `context/<f>` or `user/<f>`."""

    features: Mapping[str, Vocabulary | Boundaries]

    def size(self, key: str) -> int:
        """Number of embedding rows that the feature needs."""
        return len(AGE_BOUNDARIES_MS) + 2 if key == f"cross/{AGE}" else self.features[key].size

    def save(self, file: Path) -> None:
        """Writes the encoders as JSON."""
        content = {
            key: {"boundaries": list(value.values)}
            if isinstance(value, Boundaries)
            else {"dtype": value.dtype, "values": list(value.values)}
            for key, value in self.features.items()
        }
        file.write_text(json.dumps(content))

    @classmethod
    def load(cls, file: Path) -> "Encoders":
        """Reads what `save` wrote."""
        features: dict[str, Vocabulary | Boundaries] = {}
        for key, value in json.loads(file.read_text()).items():
            if "boundaries" in value:
                features[key] = Boundaries(tuple(value["boundaries"]))
            else:
                features[key] = Vocabulary(value["dtype"], tuple(value["values"]))
        return cls(features)


def feature_key(feature: Feature) -> str:
    """The key of a feature in `Encoders`: its role and name."""
    return f"{feature.role.value}/{feature.name}"


class VocabularyEncoder(tf.Module):
    """Categorical values of any shape to int32 indices: 0 missing (-1 or ""), 1 unknown, 2... known.

    The vocabulary is a sorted int64 variable searched by bisection; strings enter by their 63-bit fingerprint. A lookup
    is one vectorised op and a load is one read, unlike a hash table filled key by key.
    """

    def __init__(self, vocabulary: Vocabulary, name: str) -> None:
        super().__init__(name=name)
        self._is_string = vocabulary.dtype == "string"
        keys = (
            _fingerprint(tf.constant(vocabulary.values, tf.string)).numpy()
            if self._is_string
            else np.asarray(vocabulary.values, np.int64)
        )
        order = np.argsort(keys, kind="stable")
        # One sentinel keeps the arrays from being empty; it answers only to itself, and then with "unknown".
        sentinel = np.iinfo(np.int64).max
        self.keys = tf.Variable(np.append(keys[order], sentinel), dtype=tf.int64, trainable=False, name="keys")
        self.indices = tf.Variable(
            np.append(2 + order, OUT_OF_VOCABULARY), dtype=tf.int32, trainable=False, name="indices"
        )

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Encodes int64 or string `values` [...] to int32 [...]."""
        missing = tf.equal(values, "" if self._is_string else tf.constant(-1, tf.int64))
        keys = _fingerprint(values) if self._is_string else values
        position = tf.reshape(tf.searchsorted(self.keys, tf.reshape(keys, [-1])), tf.shape(keys))
        # The sentinel is the largest int64, so `position` is always a valid row.
        known = tf.equal(tf.gather(self.keys, position), keys)
        index = tf.where(known, tf.gather(self.indices, position), OUT_OF_VOCABULARY)
        return tf.where(missing, ABSENT, index)


class BucketEncoder(tf.Module):
    """Numbers of any shape to int32 bucket indices: 0 for NaN, else 1 + (number of boundaries <= x)."""

    def __init__(self, boundaries: Boundaries, name: str) -> None:
        super().__init__(name=name)
        self._boundaries = list(boundaries.values)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Encodes float32 or int64 `values` [...] to int32 [...]."""
        bucket = 1 + tf.raw_ops.Bucketize(input=values, boundaries=self._boundaries)
        if not values.dtype.is_floating:
            return bucket
        return tf.where(tf.math.is_nan(values), ABSENT, bucket)


def make_encoder(statistics: Vocabulary | Boundaries, name: str) -> VocabularyEncoder | BucketEncoder:
    """The graph module of an entry of `Encoders`."""
    if isinstance(statistics, Boundaries):
        return BucketEncoder(statistics, name)
    return VocabularyEncoder(statistics, name)


def _fingerprint(strings: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(strings, np.iinfo(np.int64).max)
