"""Eq. 3."""

import numpy as np
import pytest
import tensorflow as tf

from model.config import Pooling
from model.embedding import Embedding, FeatureEmbeddings


def embedding(pooling: Pooling | None) -> Embedding:
    made = Embedding(3, 2, pooling)
    made.table.assign([[0.0, 0.0], [1.0, 2.0], [3.0, -4.0]])
    return made


def test_absent_is_zero() -> None:
    np.testing.assert_array_equal(embedding(None)(tf.constant([[0, 1], [2, 0]])), [[[0, 0], [1, 2]], [[3, -4], [0, 0]]])
    np.testing.assert_array_equal(embedding(None).dictionary(), [[0, 0], [1, 2], [3, -4]])
    np.testing.assert_array_equal(Embedding(3, 2).table[0], [0, 0])


@pytest.mark.parametrize("pooling", [None, "sum", "mean"])
def test_absent_stays_zero_in_training(pooling: Pooling | None) -> None:
    made = embedding(pooling)
    optimizer = tf.keras.optimizers.legacy.Adagrad(1.0, initial_accumulator_value=1e-6)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(made(tf.constant([[0, 1], [0, 0]]))) + tf.reduce_sum(made.dictionary())
        optimizer.minimize(loss, [made.table], tape=tape)
    np.testing.assert_array_equal(made.table[0], [0, 0])
    assert np.all(made.table[1:].numpy() != [[1, 2], [3, -4]])


@pytest.mark.parametrize(("pooling", "pair", "twice"), [("sum", [4, -2], [2, 4]), ("mean", [2, -1], [1, 2])])
def test_multi_hot(pooling: Pooling, pair: list[float], twice: list[float]) -> None:
    found = embedding(pooling)(tf.constant([[1, 2, 0], [1, 1, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(found, np.array([pair, twice, [0.0, 0.0]]))


def test_multi_hot_by_root_of_number() -> None:
    made = Embedding(6, 2, "sqrtn")
    made.table.assign([[0.0, 0.0], *[[1.0, 2.0]] * 5])
    found = made(tf.constant([[1, 0, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]]))
    # Four values: (4, 8) / sqrt 4.
    np.testing.assert_array_equal(found, [[1, 2], [2, 4], [0, 0]])


def test_relative_widths() -> None:
    features = FeatureEmbeddings({"author": (3, 4, None), "topics": (3, 1, "sum")})
    np.testing.assert_array_equal(features.relative_widths(), [1, 1, 1, 1, 0.25])
