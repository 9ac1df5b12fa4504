"""UBR4CTR: BM25, the selection of features and its policy gradient, on paper."""

import math

import numpy as np
import pytest
import tensorflow as tf

from model.ranker import policy_loss
from model.rivals.feature_selection import FeatureSelection
from model.rivals.ubr4ctr import UBR4CTR, log_probability, most_likely
from tests.rivals import HAND, hand_history, hand_world

FIVE = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0], [2.0, 2.0]]
TOPICS = [[2, 3], [3, 4], [4, 1], [2, 3], [5, 1]]  # 1 = out of vocabulary, no term
K1, B = 1.2, 0.75


@pytest.fixture(scope="module")
def ubr() -> UBR4CTR:
    inherent, cross, table = hand_world(FIVE, topics=TOPICS)
    return UBR4CTR(HAND, inherent, cross, table, ["topics"])


def test_bm25_by_hand(ubr: UBR4CTR) -> None:
    # Item 1 has terms {id 1, topic 2, topic 3}; it sees items 2, 4, 5, 1, and one whose item is unknown.
    history = hand_history([3, 2, 4, 5, 1, 0, 1], end=6, start=1)
    scores = ubr.bm25(history, tf.constant([[1]]), tf.constant([[[True, True]]])).numpy()[0, 0]

    def idf(holders: int) -> float:
        return math.log(1 + (4 - holders + 0.5) / (holders + 0.5))

    def of_length(length: int) -> float:
        mean = (3 + 3 + 2 + 3) / 4
        return (K1 + 1) / (1 + K1 * (1 - B + B * length / mean))

    inf = math.inf
    topic_2, topic_3, id_1 = idf(2), idf(3), idf(1)
    expected = [
        -inf,  # before its history
        topic_3 * of_length(3),  # item 2
        (topic_2 + topic_3) * of_length(3),  # item 4
        -inf,  # item 5 shares nothing
        (id_1 + topic_2 + topic_3) * of_length(3),  # item 1
        -inf,
        -inf,  # after it
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_items_without_an_embedding_of_their_own_are_terms_too() -> None:
    inherent, cross, table = hand_world(FIVE, topics=TOPICS)
    table.index["item_id"].assign(tf.zeros_like(table.index["item_id"]))
    ubr = UBR4CTR(HAND, inherent, cross, table, ["topics"])
    found = np.isfinite(ubr.bm25(hand_history([4, 1]), tf.constant([[1]]), tf.constant([[[True, False]]])))[0, 0]
    np.testing.assert_array_equal(found, [False, True])


@pytest.mark.parametrize(("categorical", "found"), [(["topics"], [False, True]), ([], [True, True])])
def test_what_a_vocabulary_does_not_hold_is_no_term_but_a_first_bucket_is(
    categorical: list[str], found: list[bool]
) -> None:
    ubr = UBR4CTR(HAND, *hand_world(FIVE, topics=TOPICS), categorical)
    scores = ubr.bm25(hand_history([5, 2]), tf.constant([[3]]), tf.constant([[[False, True]]]))
    np.testing.assert_array_equal(np.isfinite(scores)[0, 0], found)


def test_shorter_behaviours_score_higher(ubr: UBR4CTR) -> None:
    scores = ubr.bm25(hand_history([2, 3]), tf.constant([[3]]), tf.constant([[[False, True]]])).numpy()[0, 0]
    assert scores[1] > scores[0] > 0  # both hold topic 4, the second holds one term less


def test_the_query_holds_the_selected_features_alone(ubr: UBR4CTR) -> None:
    history, row = hand_history([4, 1]), tf.constant([[1, 1, 1]])
    selected = tf.constant([[[True, False], [False, True], [False, False]]])
    found = np.isfinite(ubr.bm25(history, row, selected))[0]
    # By id only item 1; by topics also item 4; by nothing none.
    np.testing.assert_array_equal(found, [[False, True], [True, True], [False, False]])


def test_serving_takes_the_likely_features_and_all_if_none_is(ubr: UBR4CTR) -> None:
    likely = most_likely(tf.constant([[[0.9, 0.2], [0.5, 0.6], [0.1, 0.2]]]))
    np.testing.assert_array_equal(likely, [[[True, False], [True, True], [True, True]]])
    row = tf.constant([[1]])
    target = ubr.inherent(ubr.table.features(row))
    interest = ubr(target, hand_history([2, 4, 5, 1]), row)
    np.testing.assert_array_equal(interest.position, [[[3, 1, 0]]])
    np.testing.assert_array_equal(interest.position, ubr.search(target, hand_history([2, 4, 5, 1]), row))
    assert interest.log_policy is None


def test_training_samples_the_query_and_says_how_likely_it_was(ubr: UBR4CTR) -> None:
    row = tf.ones([1, 200], tf.int32)
    interest = ubr(ubr.inherent(ubr.table.features(row)), hand_history([2, 4, 5, 1]), row, training=True)
    probability = ubr.selection(ubr.table.features(row)).numpy()[0, 0]  # starts with most features in
    assert (probability > 0.5).all()
    p, q = probability
    possible = np.log([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)])
    found = interest.log_policy.numpy()[0]
    assert np.abs(found[:, None] - possible).min(axis=1).max() < 1e-5
    assert len(np.unique(found.round(5))) >= 2


def test_log_probability_by_hand() -> None:
    probability = tf.constant([[[0.8, 0.5, 0.25]]])
    found = log_probability(probability, tf.constant([[[True, False, False]]]))
    assert float(found[0, 0]) == pytest.approx(math.log(0.8 * 0.5 * 0.75), rel=1e-5)


def test_policy_loss_by_hand() -> None:
    # Log-likelihoods ln 0.9 and ln 0.5; their mean is the baseline.
    logits = tf.constant([math.log(9.0), 0.0])
    log_policy = tf.Variable([-1.0, -2.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = policy_loss(log_policy, tf.constant([1.0, 0.0]), logits)
    half = (math.log(0.9) - math.log(0.5)) / 2
    assert float(loss) == pytest.approx(-(half * -1.0 - half * -2.0) / 2, rel=1e-5)
    to_policy, to_logits = tape.gradient(loss, [log_policy, logits])
    np.testing.assert_allclose(to_policy, [-half / 2, half / 2], rtol=1e-5)  # the better one becomes likelier
    assert to_logits is None


def test_selection_equals_the_loop_and_leaves_the_embeddings_alone() -> None:
    inherent, _, table = hand_world(FIVE, topics=TOPICS)
    inherent.embeddings["topics"].table.assign([[0.0], [9.0], [1.0], [-2.0], [0.5], [3.0]])
    selection = FeatureSelection(inherent, 3)
    rng = np.random.default_rng(0)
    for variable in [*selection.feature_kernels.values(), *selection.kernels, *selection.mlp.trainable_variables]:
        variable.assign(rng.normal(size=variable.shape))
    with tf.GradientTape() as tape:
        probability = selection(table.features(tf.constant([[2]])))
    embedded = {"item_id": np.array([0.0, 1.0]), "topics": np.array([-2.0 + 0.5])}
    features = np.stack([embedded[f] @ selection.feature_kernels[f].numpy() for f in embedded])
    query, key, value = (features @ kernel.numpy() for kernel in selection.kernels)
    weight = np.exp(query @ key.T / math.sqrt(3))
    hidden = features + weight / weight.sum(axis=1, keepdims=True) @ value
    first, second, last = selection.mlp.layers
    for layer in (first, second):
        hidden = np.maximum(hidden @ layer.kernel.numpy() + layer.bias.numpy(), 0)
    logits = (hidden @ last.kernel.numpy() + last.bias.numpy())[:, 0]
    np.testing.assert_allclose(probability[0, 0], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    assert tape.gradient(probability, inherent.embeddings["topics"].table) is None
