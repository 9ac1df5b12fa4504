"""Avg-Pooling and DIN against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from model.ranker import TwinRanker
from model.rivals.avg_pooling import AvgPooling
from model.rivals.behaviours import shared_reading
from model.rivals.din import DIN
from tests.oracle import Oracle
from tests.rivals import HAND, hand_history, hand_world, rival_ranker
from tests.toy import tensors, toy_request

ENDS, TIMES = np.array([[0, 5, 12]]), np.array([[10**6, 10**8, 10**10]])


@pytest.fixture(scope="module", params=["request", "window"])
def raw(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """One user with 12 behaviours and three candidates: all at one time, or each at its own."""
    made = toy_request(np.random.default_rng(1), users=1, candidates=3, unknown=0.3)
    made["history/length"] = np.array([12])
    if request.param == "window":
        made["candidate/history_end"] = ENDS
        made["request/timestamp"] = made["history/timestamp"][:, -1:] + TIMES
        made["context/page_position"] = np.array([[1, 2, 3]])
    return made


def behaviours(oracle: Oracle, raw: dict[str, np.ndarray], n: int) -> list[np.ndarray]:
    """K of the known behaviours that candidate n sees, oldest first."""
    end = raw["candidate/history_end"][0, n] if "candidate/history_end" in raw else 12
    time = raw["request/timestamp"].flat[n if raw["request/timestamp"].ndim == 2 else 0]
    return [
        np.concatenate([oracle.inherent(item), *oracle.cross(raw, 0, i, time).values()])
        for i, item in enumerate(raw["history/item_id"][0, :end])
        if int(item) in oracle.rows
    ]


def test_avg_pooling_is_the_mean_of_every_visible_known_behaviour(raw: dict[str, np.ndarray]) -> None:
    ranker = rival_ranker("avg_pooling")
    _, interest = ranker.score(tensors(raw))
    for n in range(3):
        seen = behaviours(Oracle(ranker), raw, n)
        expected = np.mean(seen, axis=0) if seen else np.zeros(ranker.long_term.width)
        np.testing.assert_allclose(interest.attended.output[0, n], expected, atol=1e-6)


def test_avg_pooling_by_hand() -> None:
    inherent, cross, table = hand_world([[1, 2], [3, 6], [100, 100]])
    pooled = AvgPooling(HAND, inherent, cross, table)
    row = tf.constant([[3, 3, 3]])
    history = hand_history([1, 0, 2, 2, 3], end=[4, 1, 0])
    output = pooled(inherent(table.features(row)), history, row).attended.output
    np.testing.assert_allclose(output, [[[7 / 3, 14 / 3], [1.0, 2.0], [0.0, 0.0]]], rtol=1e-6)


def activation_unit(din: DIN, ranker: TwinRanker, behaviour: np.ndarray, target: np.ndarray) -> float:
    """DIN's feed-forward network on behaviour, target and their product, one pair."""
    shared = len(target)
    first = np.concatenate([behaviour, target, behaviour[:shared] * target]) @ np.concatenate(
        [din.behaviour_kernel, din.target_kernel, din.product_kernel]
    )
    hidden = prelu(first + din.first_bias.numpy(), din.activation)
    hidden = prelu(hidden @ din.second.kernel.numpy() + din.second.bias.numpy(), din.second_activation)
    return float((hidden @ din.last.kernel.numpy() + din.last.bias.numpy())[0])


def prelu(x: np.ndarray, layer: tf.keras.layers.PReLU) -> np.ndarray:
    return np.where(x > 0, x, x * layer.alpha.numpy().ravel())


@pytest.mark.parametrize("recent", [3, 8], ids=["each target its own", "all targets together"])
def test_din_weighs_the_most_recent_by_its_activation_unit(raw: dict[str, np.ndarray], recent: int) -> None:
    ranker = rival_ranker("din", recent_length=recent)
    din, oracle = ranker.long_term, Oracle(ranker)
    _, interest = ranker.score(tensors(raw))
    for n in range(3):
        seen = behaviours(oracle, raw, n)[-recent:]
        target = oracle.inherent(raw["candidate/item_id"][0, n])
        weights = [activation_unit(din, ranker, behaviour, target) for behaviour in seen]
        expected = sum((w * b for w, b in zip(weights, seen, strict=True)), np.zeros(din.width)) / np.sqrt(recent)
        np.testing.assert_allclose(interest.attended.output[0, n], expected, atol=1e-4, rtol=1e-4)
        found, attention = interest.position.numpy()[0, n] >= 0, interest.attended.attention.numpy()[0, n, 0]
        np.testing.assert_allclose(attention[found], weights[::-1], atol=1e-4)
        if recent == 3:
            assert found[: len(seen)].all()
        assert not attention[~found].any()


def test_users_of_a_window_are_read_together_as_far_back_as_any_needs() -> None:
    row = tf.constant([[1] * 6, [1, 1, 1, 1, 0, 1]])
    read, seen = shared_reading(tf.constant([[[1, 0], [1, 0]], [[5, 3], [3, 2]]]), row)
    np.testing.assert_array_equal(read, [[[1, 0, -1, -2]], [[5, 4, 3, 2]]])
    np.testing.assert_array_equal(seen, np.array([[[1, 1, 0, 0], [1, 1, 0, 0]], [[1, 0, 1, 0], [0, 0, 1, 1]]]) > 0)


def test_targets_far_apart_are_read_each_for_itself() -> None:
    position = tf.constant([[[5, 4], [1, 0]]])
    read, seen = shared_reading(position, tf.ones([1, 6], tf.int32))
    np.testing.assert_array_equal(read, position)
    assert np.all(seen)


def test_din_by_hand() -> None:
    inherent, cross, table = hand_world([[1, 2], [3, 1], [2, 0]])
    din = DIN(HAND, inherent, cross, table)
    assert din.recent == 100
    for variable in din.trainable_variables:
        if "embedding" not in variable.name and variable is not inherent.embeddings["item_id"].table:
            variable.assign(tf.zeros_like(variable))
    # One hidden unit of each layer carries 0.5 + sum(behaviour * target), the last doubles it.
    din.product_kernel[:, 0].assign([1.0, 1.0])
    din.first_bias[0].assign(0.5)
    din.second.kernel[0, 0].assign(1.0)
    din.last.kernel[0, 0].assign(2.0)
    row = tf.constant([[3]])  # (2, 0): weights 2 * (0.5 + 2) = 5 and 2 * (0.5 + 6) = 13
    interest = din(inherent(table.features(row)), hand_history([1, 2]), row)
    np.testing.assert_allclose(interest.attended.attention[0, 0, 0, :3], [13, 5, 0], rtol=1e-6)
    np.testing.assert_array_equal(interest.position[0, 0, :3], [1, 0, -1])
    np.testing.assert_allclose(interest.attended.output[0, 0], np.array([13 * 3 + 5, 13 + 5 * 2]) / 10, rtol=1e-6)


def test_din_reads_as_many_as_configured() -> None:
    assert rival_ranker("din").long_term.recent == 100
    assert rival_ranker("din", recent_length=1000).long_term.recent == 1000
