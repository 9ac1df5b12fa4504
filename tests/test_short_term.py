"""Which behaviours are the most recent ones."""

import numpy as np
import tensorflow as tf

from model.short_term import recent_positions


def test_newest_first_from_each_candidates_own_end() -> None:
    found = recent_positions(tf.constant([[0, 0, 0]]), tf.constant([[5, 2, 0]]), 3)
    np.testing.assert_array_equal(found, [[[4, 3, 2], [1, 0, -1], [-1, -1, -1]]])


def test_candidates_with_one_end_share_their_behaviours() -> None:
    found = recent_positions(tf.constant([[0]]), tf.constant([[2]]), 2)
    np.testing.assert_array_equal(found, [[[1, 0]]])


def test_a_candidate_sees_no_more_than_the_length_of_its_history() -> None:
    found = recent_positions(tf.constant([[3, 0]]), tf.constant([[5, 2]]), 3)
    np.testing.assert_array_equal(found, [[[4, 3, -1], [1, 0, -1]]])
