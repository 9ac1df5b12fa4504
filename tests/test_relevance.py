"""Eq. 5 and 6 on numbers small enough for paper."""

import math

import numpy as np
import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.relevance import Relevance
from tests.toy import tensors, toy_ranker, toy_request


def small() -> Relevance:
    """Two heads of width 1, H = 2, one cross feature with three buckets and width 2."""
    cross = FeatureEmbeddings({"play": (3, 2, None)})
    cross.embeddings["play"].table.assign([[0.0, 0.0], [1.0, 2.0], [0.0, -1.0]])
    relevance = Relevance(2, 1, 2, cross)
    relevance.inherent_kernel.assign([[1.0, 0.0], [0.0, 2.0]])  # head 1 sees feature 1, head 2 twice feature 2
    relevance.query_kernel.assign([[3.0, 0.0], [0.0, 1.0]])
    relevance.cross_kernels["play"].assign([[1.0, 0.5], [1.0, 0.0]])
    relevance.beta.assign([2.0])
    return relevance


def test_relevance_by_hand() -> None:
    relevance = small()
    query = relevance.query(tf.constant([[[1.0, 1.0]]]))  # q W^q = (3, 1), sqrt(d_k) = 1
    keys = relevance.project(tf.constant([[[2.0, 0.0], [1.0, 5.0]]]))  # K_h W^h = (2, 0), (1, 10)
    np.testing.assert_allclose(keys, [[[2, 0], [1, 10]]])
    table = relevance.bias_tables()["play"]
    # Bucket 1: (1 + 2, 0.5) * 2 = (6, 1); bucket 2: (-1, 0) * 2; bucket 0 is absent: nothing.
    np.testing.assert_allclose(table, [[0, 0], [6, 1], [-2, 0]])
    bias = tf.transpose(tf.gather(table, [[1, 2]]), [0, 2, 1])[:, :, tf.newaxis]  # [B, h, 1, L]
    alpha = relevance.of_history(query, keys, bias)
    # Head 1: 2 * 3 + 6 = 12 and 1 * 3 - 2 = 1. Head 2: 0 * 1 + 1 = 1 and 10 * 1 + 0 = 10.
    np.testing.assert_allclose(alpha, [[[[12, 1]], [[1, 10]]]])


def test_both_stages_compute_the_same_number() -> None:
    relevance = small()
    rng = np.random.default_rng(0)
    query = relevance.query(tf.constant(rng.normal(size=(2, 3, 2)), tf.float32))
    inherent = tf.constant(rng.normal(size=(2, 4, 2)), tf.float32)
    whole = relevance.of_history(query, relevance.project(inherent), tf.zeros([]))  # [B, h, N, L]
    shared = relevance.of_retrieved(query, inherent[:, tf.newaxis], tf.zeros([]))  # [B, N, h, L]
    each = relevance.of_retrieved(query, tf.repeat(inherent[:, tf.newaxis], 3, axis=1), tf.zeros([]))
    np.testing.assert_allclose(tf.transpose(whole, [0, 2, 1, 3]), shared, rtol=1e-5)
    np.testing.assert_array_equal(shared, each)


def test_scores_are_divided_by_the_root_of_the_head_width() -> None:
    relevance = Relevance(1, 4, 1, FeatureEmbeddings({}))
    relevance.inherent_kernel.assign(tf.ones([1, 4]))
    relevance.query_kernel.assign(tf.ones([1, 4]))
    alpha = relevance.of_history(
        relevance.query(tf.ones([1, 1, 1])), relevance.project(tf.ones([1, 1, 1])), tf.zeros([])
    )
    assert float(alpha) == 4 / math.sqrt(4)


def test_both_stages_weigh_cross_features_alike() -> None:
    ranker = toy_ranker()
    raw = toy_request(np.random.default_rng(0), users=2, candidates=3, length=9, unknown=0)
    raw["history/length"][:] = 9
    history = ranker.request_encoder.history(tensors(raw))
    tables = ranker.twin.relevance.bias_tables()
    searched = history.bias(tables)[:, :, 0]  # [B, h, L]
    every = tf.broadcast_to(tf.range(9), [2, 1, 9])  # [B, 1, K = L]
    exact = history.bias_at(every, history.cross_at(every), tables)[:, 0]  # [B, h, L]
    np.testing.assert_allclose(exact, searched[:, :, :9], rtol=1e-5, atol=1e-6)
    assert np.isneginf(searched[:, :, 9:]).all()
    searched = searched[:, :, :9]
    assert np.ptp(searched) > 0.1


def test_started_as_similarity() -> None:
    relevance = Relevance(2, 4, 3, FeatureEmbeddings({}))
    relevance.start_as_similarity(tf.constant([2.0, 1.0, 0.0]))
    query = relevance.query(tf.constant([[[1.0, 3.0, 5.0]]]))
    keys = relevance.project(tf.constant([[[1.0, 0.0, 0.0], [2.0, -1.0, 7.0]]]))
    alpha = relevance.of_history(query, keys, tf.zeros([]))
    # No wider than a head, so not in expectation but exactly: 2 * 1 * 1 = 2 and 2 * 1 * 2 - 1 * 3 * 1 = 1.
    np.testing.assert_allclose(alpha, [[[[2, 1]], [[2, 1]]]], atol=1e-5)
    kernel = relevance.inherent_kernel.numpy()
    assert not np.allclose(kernel[:, :4], kernel[:, 4:])
