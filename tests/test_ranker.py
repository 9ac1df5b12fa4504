"""The whole model against the oracle, and what must not change its scores."""

import numpy as np
import pytest
import tensorflow as tf

from model.ranker import TwinRanker
from tests.oracle import Oracle
from tests.toy import ITEM_IDS, SMALL, tensors, toy_ranker, toy_request


@pytest.fixture(scope="module")
def ranker() -> TwinRanker:
    return toy_ranker()


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_the_oracle(ranker: TwinRanker, seed: int) -> None:
    raw = toy_request(np.random.default_rng(seed))
    scores = ranker(tensors(raw)).numpy()
    oracle = Oracle(ranker)
    for b, n in np.ndindex(scores.shape):
        expected = oracle.pctr(
            raw, b, n, raw["history/length"][b], raw["request/timestamp"][b], raw["context/page_position"][b]
        )
        assert scores[b, n] == pytest.approx(expected, abs=1e-5)


def test_a_training_window_scores_each_target_at_its_own_time(ranker: TwinRanker) -> None:
    rng = np.random.default_rng(5)
    raw = toy_request(rng, users=1, candidates=4)
    ends = np.array([[0, 3, 3, 11]])
    times = raw["history/timestamp"][:, -1:] + np.array([[10, 10**6, 10**8, 10**10]])
    positions = np.array([[0, 1, 2, 3]])
    window = {
        **raw,
        "candidate/history_end": ends,
        "request/timestamp": times,
        "context/page_position": positions,
        "history/length": np.array([12]),
    }
    scores = ranker(tensors(window)).numpy()
    oracle = Oracle(ranker)
    for n in range(4):
        expected = oracle.pctr(raw, 0, n, ends[0, n], times[0, n], positions[0, n])
        assert scores[0, n] == pytest.approx(expected, abs=1e-5)


def test_padding_of_any_amount_and_content_changes_nothing(ranker: TwinRanker) -> None:
    raw = toy_request(np.random.default_rng(1))
    padded = dict(raw)
    for name, values in raw.items():
        if name.startswith("history/") and values.ndim == 2:
            filler = np.repeat(values[:, :1], 30, axis=1)
            padded[name] = np.concatenate([values, filler], axis=1)
    # Behind `history/length`, content must not matter either.
    for b, length in enumerate(raw["history/length"]):
        padded["history/item_id"][b, length:] = ITEM_IDS[0]
    np.testing.assert_allclose(ranker(tensors(raw)), ranker(tensors(padded)), atol=1e-6)


def test_candidates_do_not_influence_each_other(ranker: TwinRanker) -> None:
    raw = toy_request(np.random.default_rng(2), candidates=6)
    order = np.array([4, 2, 0, 5, 1, 3])
    shuffled = {**raw, "candidate/item_id": raw["candidate/item_id"][:, order]}
    np.testing.assert_allclose(ranker(tensors(raw)).numpy()[:, order], ranker(tensors(shuffled)), atol=1e-6)


def test_empty_history_unknown_candidate_and_no_candidate_are_defined(ranker: TwinRanker) -> None:
    raw = toy_request(np.random.default_rng(3))
    raw["history/length"][:] = 0
    raw["candidate/item_id"][0, 0] = 999_999_999
    assert np.isfinite(ranker(tensors(raw))).all()
    none = {name: v[:, :0] if name.startswith("history/") and v.ndim == 2 else v for name, v in raw.items()}
    np.testing.assert_allclose(ranker(tensors(none)), ranker(tensors(raw)), atol=1e-6)
    raw["candidate/item_id"] = raw["candidate/item_id"][:, :0]
    assert ranker(tensors(raw)).shape == (2, 0)


def test_gradients_are_finite_and_none_reaches_the_table(ranker: TwinRanker) -> None:
    raw = toy_request(np.random.default_rng(4))
    raw["history/length"][:] = [0, 12]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ranker.logits(tensors(raw)))
    gradients = tape.gradient(loss, ranker.trainable_variables, unconnected_gradients="zero")
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)
    with tf.GradientTape() as tape:
        tape.watch(ranker.item_table.projection)
        loss = tf.reduce_sum(ranker.logits(tensors(raw)))
    assert tape.gradient(loss, ranker.item_table.projection) is None


def test_training_lowers_the_loss_and_uses_both_optimisers() -> None:
    ranker = toy_ranker()
    rng = np.random.default_rng(6)
    raw = toy_request(rng, users=4, candidates=8)
    raw["label"] = (raw["candidate/item_id"] % 2).astype(np.float32)
    raw["weight"] = np.ones_like(raw["label"])
    ranker.compile(optimizer=ranker.optimizer_for_training())
    batch = tensors(raw)
    before = float(ranker.compute_loss(batch))
    embeddings = [v.numpy() for v in ranker.embedding_variables()]
    dense = [v.numpy() for v in ranker.dense_variables()]
    step = tf.function(ranker.train_step)
    step(batch)
    # The first step of either optimiser is as long as its rate, but where AdaGrad's gradient is near zero.
    moved = [np.abs(a - b.numpy()).max() for a, b in zip(embeddings, ranker.embedding_variables(), strict=True)]
    assert 0.5 * SMALL.embedding_learning_rate < max(moved) <= SMALL.embedding_learning_rate * 1.001
    moved = [np.abs(a - b.numpy()).max() for a, b in zip(dense, ranker.dense_variables(), strict=True)]
    assert 0.9 * SMALL.dense_learning_rate < max(moved) <= SMALL.dense_learning_rate * 1.001
    assert len(embeddings) + len(dense) == len(ranker.trainable_variables)
    for _ in range(29):
        step(batch)
    assert float(ranker.compute_loss(batch)) < 0.7 * before
    assert any((a != b.numpy()).any() for a, b in zip(embeddings, ranker.embedding_variables(), strict=True))
    assert all((a != b.numpy()).any() for a, b in zip(dense[:3], ranker.dense_variables()[:3], strict=True))


def test_padding_targets_have_no_weight(ranker: TwinRanker) -> None:
    raw = toy_request(np.random.default_rng(7), users=2, candidates=3)
    raw["label"] = np.array([[0, 1, 1], [1, 0, 1]], np.float32)
    raw["weight"] = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    p = ranker(tensors(raw)).numpy()
    expected = -(np.log(1 - p[0, 0]) + np.log(p[0, 1]) + np.log(p[1, 0])) / 3
    assert float(ranker.compute_loss(tensors(raw))) == pytest.approx(expected, rel=1e-4)
