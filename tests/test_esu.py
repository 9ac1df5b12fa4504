"""Eq. 7 and 8."""

import numpy as np
import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.esu import ExactSearchUnit
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance
from tests.oracle import Oracle
from tests.toy import tensors, toy_ranker, toy_request


def one_head() -> tuple[ExactSearchUnit, History]:
    """One head of width 1, one feature of width 1: K_h is 1 for item 10, 3 for item 20; no cross features."""
    inherent = FeatureEmbeddings({"item_id": (3, 1, None)})
    inherent.embeddings["item_id"].table.assign([[0.0], [1.0], [3.0]])
    table = ItemTable({"item_id": None}, 1, 1, "float32")
    table.assign(np.array([10, 20]), {"item_id": np.array([1, 2], np.int32)})
    relevance = Relevance(1, 1, 1, FeatureEmbeddings({}))
    relevance.inherent_kernel.assign([[1.0]])
    esu = ExactSearchUnit(relevance, inherent, table)
    esu.value_kernel.assign([[[2.0]]])
    esu.output_kernel.assign([[10.0]])
    history = History(
        row=tf.constant([[1, 2]]),
        position=tf.range(2),
        timestamp=tf.zeros([1, 2], tf.int64),
        cross={},
        start=tf.constant([[0]]),
        end=tf.constant([[2]]),
        target_timestamp=tf.zeros([1, 1], tf.int64),
    )
    return esu, history


def test_attention_by_hand() -> None:
    esu, history = one_head()
    attended = esu(tf.constant([[[[0.5]]]]), history, tf.constant([[[0, 1]]]), {})
    # alpha = 0.5 * (1, 3); softmax = (1, e) / (1 + e); output = softmax . (1, 3) * 2 * 10.
    e = np.exp(1.0)
    np.testing.assert_allclose(attended.relevance, [[[[0.5, 1.5]]]])
    np.testing.assert_allclose(attended.attention, [[[[1 / (1 + e), e / (1 + e)]]]], rtol=1e-6)
    np.testing.assert_allclose(attended.output, [[[(1 + 3 * e) / (1 + e) * 20]]], rtol=1e-6)


def test_absent_behaviours_weigh_nothing() -> None:
    esu, history = one_head()
    query = tf.constant([[[[0.5]]]])
    alone = esu(query, history, tf.constant([[[1]]]), {})
    with_absent = esu(query, history, tf.constant([[[1, -1, -1]]]), {})
    np.testing.assert_allclose(alone.output, with_absent.output)
    np.testing.assert_allclose(with_absent.attention, [[[[1, 0, 0]]]])
    assert np.isneginf(with_absent.relevance.numpy()[0, 0, 0, 1:]).all()
    nothing = esu(query, history, tf.constant([[[-1, -1]]]), {})
    np.testing.assert_array_equal(nothing.output, [[[0.0]]])


def test_pooling_before_projecting_equals_projecting_before_pooling() -> None:
    ranker = toy_ranker()
    raw = toy_request(np.random.default_rng(0), unknown=0)
    raw["history/length"][:] = 12
    interest = ranker.score(tensors(raw))[1]
    oracle = Oracle(ranker)  # projects every behaviour's value, then pools
    for b, n in np.ndindex(2, 3):
        positions = interest.position[b, n].numpy().tolist()
        target = oracle.inherent(raw["candidate/item_id"][b, n])
        expected = oracle.attend(ranker.twin.esu, raw, b, target, positions, raw["request/timestamp"][b])
        np.testing.assert_allclose(interest.attended.output[b, n], expected, atol=1e-5)


def test_attention_sums_to_one_per_head() -> None:
    ranker = toy_ranker()
    raw = toy_request(np.random.default_rng(0), unknown=0)
    raw["history/length"][:] = [12, 2]
    attention = ranker.score(tensors(raw))[1].attended.attention
    np.testing.assert_allclose(tf.reduce_sum(attention, -1), np.ones((2, 3, 2)), rtol=1e-6)
