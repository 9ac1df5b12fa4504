"""Searches by category, cluster and pre-trained embedding, on paper."""

import numpy as np
import pytest
import tensorflow as tf

from model.rivals.behaviours import embed_items, most_recent, newest_first
from model.rivals.inverted_index import sum_over_shared_terms
from model.rivals.sim_cluster import SimCluster
from model.rivals.sim_cluster_plus import SimClusterPlus
from model.rivals.sim_hard import SimHard
from model.rivals.sim_soft import SimSoft
from tests.rivals import HAND, hand_history, hand_world

INF = float("inf")
FIVE = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0], [2.0, 2.0]]


def test_equal_scores_go_to_the_newest() -> None:
    scores = tf.constant([[[1.0, 2.0, 1.0, -INF, 1.0], [-INF, -INF, 3.0, -INF, -INF]]])
    np.testing.assert_array_equal(newest_first(scores, 3), [[[1, 4, 2], [2, -1, -1]]])
    np.testing.assert_array_equal(newest_first(scores[..., :2], 3), [[[1, 0, -1], [-1, -1, -1]]])


def test_the_most_recent_are_known_items_before_the_targets_own_end() -> None:
    history = hand_history([1, 0, 2, 3, 0, 4], end=[6, 5, 2], start=[0, 2, 0])
    np.testing.assert_array_equal(most_recent(history, 3), [[[5, 3, 2], [3, 2, -1], [0, -1, -1]]])


def test_items_are_embedded_once_each_and_put_everywhere() -> None:
    inherent, _, table = hand_world(FIVE)
    embedded = embed_items(inherent, table, tf.constant([[2, 0, 5], [2, 1, 1]]))
    np.testing.assert_array_equal(embedded, [[[0, 1], [0, 0], [2, 2]], [[0, 1], [1, 0], [1, 0]]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(embed_items(inherent, table, tf.constant([1, 1, 3])))
    gradient = tf.convert_to_tensor(tape.gradient(total, inherent.embeddings["item_id"].table))
    np.testing.assert_array_equal(gradient, [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0], [0, 0]])


def test_shared_terms_are_counted_once_and_only_where_visible() -> None:
    behaviours = tf.constant([[[7, 0], [8, 7], [7, 7], [9, 8], [7, 9]]], tf.int64)
    targets = tf.constant([[[7, 9], [8, 8], [5, 0]]], tf.int64)
    seen = []

    def weigh(holders: tf.Tensor) -> tf.Tensor:
        seen.append(holders.numpy())
        return tf.constant([[[10.0, 1.0], [100.0, 1000.0], [1.0, 1.0]]])

    history = hand_history([1, 1, 1, 1, 1], end=[5, 3, 5], start=[1, 0, 0])
    summed = sum_over_shared_terms(behaviours, targets, history, weigh)
    # Target 0 sees behaviours 1 to 4: term 7 in 1, 2 and 4, term 9 in 3 and 4. Target 1 sees 0 to 2: term 8 in 1.
    np.testing.assert_array_equal(summed, [[[0, 10, 10, 1, 11], [0, 100, 0, 0, 0], [0, 0, 0, 0, 0]]])
    np.testing.assert_array_equal(seen[0], [[[3, 2], [1, 0], [0, 0]]])


@pytest.mark.parametrize("seed", range(3))
def test_shared_terms_equal_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_behaviours, of_targets = rng.integers(0, 9, (2, 30, 3)), rng.integers(0, 9, (2, 4, 4))
    start = rng.integers(0, 10, (2, 4))
    end = start + rng.integers(0, 20, (2, 4))
    history = hand_history([1] * 30)
    history = type(history)(
        **{**vars(history), "start": tf.constant(start, tf.int32), "end": tf.constant(end, tf.int32)}
    )
    found = sum_over_shared_terms(
        tf.constant(of_behaviours),
        tf.constant(of_targets),
        history,
        lambda holders: 1.0 / tf.cast(holders + 1, tf.float32),
    )
    for b, n, i in np.ndindex(2, 4, 30):
        visible = range(start[b, n], end[b, n])
        shared = set(of_targets[b, n]) & set(of_behaviours[b, i]) - {0} if i in visible else set()
        expected = sum(1 / (1 + sum(term in of_behaviours[b, j] for j in visible)) for term in shared)
        assert found.numpy()[b, n, i] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("none", [0, 1])  # missing, out of vocabulary
def test_sim_hard_takes_the_category_newest_first(none: int) -> None:
    inherent, cross, table = hand_world(FIVE, topics=[2, 3, 2, none, 3])
    sim = SimHard(HAND, inherent, cross, table, category="topics")
    history = hand_history([1, 2, 3, 4, 5, 1, 3, 0])
    row = tf.constant([[1, 2, 4]])  # categories 2, 3 and none
    position = sim.search(inherent(table.features(row)), history, row)
    np.testing.assert_array_equal(position, [[[6, 5, 2], [4, 1, -1], [-1, -1, -1]]])


def test_sim_hard_prefers_more_shared_values_of_a_list() -> None:
    inherent, cross, table = hand_world(FIVE, topics=[[2, 3], [3, 4], [4, 1], [2, 3], [5, 1]])
    sim = SimHard(HAND, inherent, cross, table, category="topics")
    row = tf.constant([[1, 3]])
    scores = sim.scores(inherent(table.features(row)), hand_history([1, 2, 3, 4, 5]), row)
    np.testing.assert_array_equal(scores, [[[2, 1, -INF, 2, -INF], [-INF, 1, 1, -INF, -INF]]])


def test_sim_cluster_takes_the_cluster_and_never_items_without_one() -> None:
    inherent, cross, table = hand_world(FIVE, {"cluster": np.array([3, 3, 0, 0, 7], np.int32)})
    history = hand_history([1, 2, 3, 4, 5, 2], end=[6, 5, 6])
    row = tf.constant([[2, 1, 3]])
    for sim in (SimCluster, SimClusterPlus):
        position = sim(HAND, inherent, cross, table).search(inherent(table.features(row)), history, row)
        np.testing.assert_array_equal(position, [[[5, 1, 0], [1, 0, -1], [-1, -1, -1]]])
    assert (SimCluster.clusters, SimClusterPlus.clusters) == (1_000, 10_000)


def test_sim_soft_ranks_by_the_pre_trained_inner_product() -> None:
    pretrained = np.array([[1, 0], [0.5, 0.5], [0, 0], [0.9, -2], [-1, 0]], np.float32)
    inherent, cross, table = hand_world(FIVE, {"embedding": pretrained})
    sim = SimSoft(HAND, inherent, cross, table)
    history = hand_history([1, 2, 3, 4, 5, 0])
    row = tf.constant([[1, 3]])
    target = inherent(table.features(row))
    np.testing.assert_allclose(
        sim.scores(target, history, row), [[[1, 0.5, 0, 0.9, -1, -INF], [0, 0, 0, 0, 0, -INF]]], atol=1e-7
    )
    # The second target has no embedding: the newest.
    np.testing.assert_array_equal(sim.search(target, history, row), [[[0, 3, 1], [4, 3, 2]]])


def test_what_was_pre_trained_is_not_trained() -> None:
    inherent, cross, table = hand_world(FIVE, {"embedding": np.array(FIVE, np.float32)})
    sim = SimSoft(HAND, inherent, cross, table)
    assert table.search["embedding"].ref() not in {variable.ref() for variable in sim.trainable_variables}
