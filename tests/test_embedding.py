"""Eq. 3."""

import numpy as np
import pytest
import tensorflow as tf

from model.config import Pooling
from model.embedding import Embedding


def embedding(pooling: Pooling | None) -> Embedding:
    made = Embedding(3, 2, pooling)
    made.table.assign([[9.0, 9.0], [1.0, 2.0], [3.0, -4.0]])
    return made


def test_absent_is_zero_whatever_its_row_holds() -> None:
    np.testing.assert_array_equal(embedding(None)(tf.constant([[0, 1], [2, 0]])), [[[0, 0], [1, 2]], [[3, -4], [0, 0]]])
    np.testing.assert_array_equal(embedding(None).dictionary(), [[0, 0], [1, 2], [3, -4]])


@pytest.mark.parametrize(("pooling", "pair", "twice"), [("sum", [4, -2], [2, 4]), ("mean", [2, -1], [1, 2])])
def test_multi_hot(pooling: Pooling, pair: list[float], twice: list[float]) -> None:
    found = embedding(pooling)(tf.constant([[1, 2, 0], [1, 1, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(found, np.array([pair, twice, [0.0, 0.0]]))
