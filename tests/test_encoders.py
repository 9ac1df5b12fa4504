"""Raw values to indices."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from model.encoders import AGE_BOUNDARIES_MS, Boundaries, Encoders, Vocabulary, make_encoder


def test_integers() -> None:
    encode = make_encoder(Vocabulary("int64", (70, -3, 5)), "f")
    values = tf.constant([[70, -3, 5], [-1, 6, 2**62]], tf.int64)
    np.testing.assert_array_equal(encode(values), [[2, 3, 4], [0, 1, 1]])


def test_the_largest_integer_is_unknown_unless_in_the_vocabulary() -> None:
    largest = 2**63 - 1
    assert make_encoder(Vocabulary("int64", (1,)), "f")(tf.constant([largest], tf.int64)).numpy() == [1]


def test_strings() -> None:
    encode = make_encoder(Vocabulary("string", ("yes", "naïve", "no")), "f")
    np.testing.assert_array_equal(encode(tf.constant(["naïve", "no", "", "maybe", "yes"])), [3, 4, 0, 1, 2])


def test_an_empty_vocabulary_knows_nothing() -> None:
    np.testing.assert_array_equal(make_encoder(Vocabulary("string", ()), "f")(tf.constant(["a", ""])), [1, 0])
    np.testing.assert_array_equal(make_encoder(Vocabulary("int64", ()), "f")(tf.constant([4, -1], tf.int64)), [1, 0])


def test_numbers() -> None:
    encode = make_encoder(Boundaries((1.0, 2.5)), "f")
    values = tf.constant([0.9, 1.0, 2.4, 2.5, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(encode(values), [1, 2, 2, 3, 3, 1, 0])


def test_sizes_leave_room_for_every_index() -> None:
    encoders = Encoders({"user/a": Vocabulary("int64", (1, 2, 3)), "cross/x": Boundaries((1.0,))})
    assert encoders.size("user/a") == 5
    assert encoders.size("cross/x") == 3
    assert encoders.size("cross/age") == len(AGE_BOUNDARIES_MS) + 2


def test_round_trip(tmp_path: Path) -> None:
    encoders = Encoders({"user/a": Vocabulary("string", ("ä", "b")), "cross/x": Boundaries((0.1, 2.0))})
    encoders.save(tmp_path / "e.json")
    assert Encoders.load(tmp_path / "e.json") == encoders
