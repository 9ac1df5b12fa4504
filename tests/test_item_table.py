"""Id -> row -> features and projection."""

import numpy as np
import pytest
import tensorflow as tf

from model.item_table import ItemTable


def table(dtype: str = "float32") -> ItemTable:
    made = ItemTable({"item_id": None, "topics": 2}, 2, 2, dtype)  # type: ignore[arg-type]
    ids = np.array([-5, 3, 2**62])
    made.assign(ids, {"item_id": np.array([1, 2, 0], np.int32), "topics": np.array([[1, 2], [3, 0], [0, 0]], np.int32)})
    return made


def test_lookup_of_known_and_unknown_ids() -> None:
    ids = tf.constant([[3, -5, 2**62], [0, 2**63 - 1, -(2**63)]], tf.int64)
    np.testing.assert_array_equal(table().lookup(ids), [[2, 1, 3], [0, 0, 0]])
    assert table().lookup(tf.zeros([2, 0], tf.int64)).shape == (2, 0)


def test_an_empty_table_knows_nothing() -> None:
    empty = ItemTable({"item_id": None}, 1, 1, "float32")
    np.testing.assert_array_equal(empty.lookup(tf.constant([0, 1], tf.int64)), [0, 0])


def test_row_0_has_no_features_and_a_zero_projection() -> None:
    made = table()
    made.refresh(lambda row: tf.ones([1, 4]) * tf.cast(made.features(row)["item_id"], tf.float32)[:, tf.newaxis])
    features = made.features(tf.constant([0, 2]))
    np.testing.assert_array_equal(features["item_id"], [0, 2])
    np.testing.assert_array_equal(features["topics"], [[0, 0], [3, 0]])
    np.testing.assert_array_equal(made.projections(tf.constant([0, 1, 2])), [[0] * 4, [1] * 4, [2] * 4])


def test_unsorted_or_repeated_ids_are_refused() -> None:
    made = table()
    index = {"item_id": np.zeros(2, np.int32), "topics": np.zeros((2, 2), np.int32)}
    with pytest.raises(ValueError, match="ascending"):
        made.assign(np.array([2, 1]), index)
    with pytest.raises(ValueError, match="ascending"):
        made.assign(np.array([1, 1]), index)
    with pytest.raises(ValueError, match="'item_id' has 2 rows, expected 3"):
        made.assign(np.array([1, 2, 3]), index)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2**-8), ("int8", 0.5 / 127)])
def test_smaller_types_keep_projections_within_their_rounding(dtype: str, tolerance: float) -> None:
    made = table(dtype)
    exact = np.random.default_rng(0).uniform(-3, 3, (4, 4)).astype(np.float32)
    made.refresh(lambda row: tf.gather(exact, row))
    largest = np.abs(exact).reshape(4, 2, 2).max(axis=(0, 2)).repeat(2)
    assert (np.abs(made.projections(tf.range(4)) - exact) <= tolerance * largest * 1.01).all()
