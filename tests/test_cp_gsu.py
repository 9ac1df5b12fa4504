"""The search against the oracle's loops."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from model.cp_gsu import rank_union
from tests.oracle import Oracle, union
from tests.toy import SMALL, tensors, toy_ranker, toy_request


def test_hand_made_scores() -> None:
    none = -np.inf
    # Head 1 ranks 2, 0, 3; head 2 ranks 3, 2, 0; behaviour 1 is invisible to both.
    scores = tf.constant([[[[0.5, none, 0.9, -3.0]], [[-2.0, none, 0.1, 7.0]]]])  # [B, h, N, L]
    np.testing.assert_array_equal(rank_union(scores, 2), [[[2, 3]]])
    np.testing.assert_array_equal(rank_union(scores, 4), [[[2, 3, 0, -1]]])


@pytest.mark.parametrize("seed", range(4))
def test_retrieves_what_the_oracle_retrieves(seed: int) -> None:
    ranker = toy_ranker(seed=seed)
    raw = toy_request(np.random.default_rng(seed), users=3, candidates=2, length=15, unknown=0.3)
    position = ranker.score(tensors(raw))[1].position.numpy()
    oracle = Oracle(ranker)
    for b, n in np.ndindex(position.shape[:2]):
        expected = oracle.search(raw, b, n, raw["history/length"][b], raw["request/timestamp"][b], SMALL.retrieved)
        assert position[b, n].tolist() == expected + [-1] * (SMALL.retrieved - len(expected))


def test_padding_unknown_items_and_the_future_never_take_a_slot() -> None:
    ranker = toy_ranker(dataclasses.replace(SMALL, retrieved=20))
    raw = toy_request(np.random.default_rng(9), users=4, candidates=3, length=15, unknown=0.4)
    raw["candidate/history_end"] = np.random.default_rng(1).integers(0, 16, (4, 3))
    raw["request/timestamp"] = np.repeat(raw["request/timestamp"][:, None], 3, axis=1)
    raw["context/page_position"] = np.repeat(raw["context/page_position"][:, None], 3, axis=1)
    position = ranker.score(tensors(raw))[1].position.numpy()
    for b, n in np.ndindex(position.shape[:2]):
        end = raw["candidate/history_end"][b, n]
        visible = {i for i in range(end) if raw["history/item_id"][b, i] != 3}
        assert set(position[b, n]) - {-1} == visible


def test_permuting_the_history_permutes_what_is_retrieved() -> None:
    ranker = toy_ranker()
    raw = toy_request(np.random.default_rng(3), users=1, length=12, unknown=0)
    raw["history/length"][:] = 12
    order = np.random.default_rng(0).permutation(12)
    moved = {n: v[:, order] if n.startswith("history/") and v.ndim == 2 else v for n, v in raw.items()}
    before = ranker.score(tensors(raw))[1].position.numpy()
    after = ranker.score(tensors(moved))[1].position.numpy()
    np.testing.assert_array_equal(order[after], before)


@pytest.mark.parametrize("agreement", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_that_agree_are_searched_deeper(agreement: float, heads: int) -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(2, 1, 5, 200)), rng.normal(size=(2, heads, 5, 200))
    scores = (agreement * shared + (1 - agreement) * own).astype(np.float32)
    scores[0, :, 0, 20:] = -np.inf  # fewer behaviours than wanted
    found = rank_union(tf.constant(scores), 30).numpy()
    for b, n in np.ndindex(2, 5):
        visible = np.flatnonzero(np.isfinite(scores[b, 0, n]))
        rankings = [visible[np.argsort(-scores[b, a, n, visible])].tolist() for a in range(heads)]
        expected = union(rankings, 30)
        assert found[b, n].tolist() == expected + [-1] * (30 - len(expected))
