"""ETA and SDIM: signatures, Hamming distance and collisions, on paper."""

import numpy as np
import pytest
import tensorflow as tf

from model.rivals import lsh
from model.rivals.eta import ETA
from model.rivals.lsh import count_bits, differing_bits, differing_bits_of_items, signatures
from model.rivals.sdim import SDIM, collisions
from tests.rivals import HAND, hand_history, hand_world

# Angles to the first: 0, 90, 180, 10 and 45 degrees.
ANGLES = np.radians([0, 90, 180, 10, 45])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def bits_of(value: int, bits: int) -> list[int]:
    return [(value >> i) & 1 for i in range(bits)]


def test_a_bit_is_the_side_of_its_hyperplane() -> None:
    vectors = np.random.default_rng(0).normal(size=[5, 3]).astype(np.float32)
    packed = signatures(tf.constant(vectors), 64, tf.ones(3)).numpy()
    planes = np.random.default_rng(lsh._SEED).normal(size=[3, 64]).astype(np.float32)
    for value, vector in zip(packed, vectors, strict=True):
        assert bits_of(int(value), 64) == (vector @ planes > 0).astype(int).tolist()
    np.testing.assert_array_equal(signatures(tf.constant(vectors), 64, tf.ones(3)), packed)  # the same ones every time


def test_only_the_direction_counts_and_opposites_differ_in_every_bit() -> None:
    vector = tf.constant([[0.3, -2.0, 1.0]])
    one, longer, opposite = (signatures(v, 48, tf.ones(3)) for v in (vector, 10 * vector, -vector))
    assert one.numpy() == longer.numpy()
    assert int(one[0]) ^ int(opposite[0]) == 2**48 - 1
    with pytest.raises(ValueError, match="1 to 64 bits, got 65"):
        signatures(vector, 65, tf.ones(3))


def test_hamming_distance_by_hand() -> None:
    targets, behaviours = tf.constant([[0b1100, -1]], tf.int64), tf.constant([[0b1010, 0, -1]], tf.int64)
    distance = count_bits(differing_bits(targets, behaviours))
    np.testing.assert_array_equal(distance, [[[2, 2, 62], [62, 64, 0]]])


def test_collisions_by_hand() -> None:
    # Rounds of three bits, from the right: equal, one bit differs, all differ, equal.
    differing = tf.constant([0b000_111_010_000, 0, 0b111_111_111_111, 0b001_100_010_001], tf.int64)
    np.testing.assert_array_equal(collisions(differing, 12, 3), [2, 4, 0, 0])


def test_distance_grows_with_the_angle_as_the_theory_says() -> None:
    rng = np.random.default_rng(1)
    distances = {degrees: [] for degrees in (20, 45, 90)}  # type: dict[int, list[float]]
    for _ in range(200):
        basis = np.linalg.qr(rng.normal(size=[40, 2]))[0]
        for degrees, found in distances.items():
            angle = np.radians(degrees)
            pair = np.stack([basis[:, 0], basis @ [np.cos(angle), np.sin(angle)]]).astype(np.float32)
            packed = signatures(tf.constant(pair), 64, tf.ones(40))
            found.append(float(count_bits(packed[0] ^ packed[1])))
    for degrees, found in distances.items():
        # 64 t / pi bits; a standard error of four bits over 200 pairs is 0.3.
        assert np.mean(found) == pytest.approx(64 * degrees / 180, abs=1.2)


def test_eta_retrieves_by_hamming_distance() -> None:
    inherent, cross, table = hand_world(CIRCLE)
    eta = ETA(HAND, inherent, cross, table)
    history = hand_history([3, 5, 2, 4, 1, 0, 3])
    row = tf.constant([[1]])
    target = inherent(table.features(row))
    planes = np.random.default_rng(lsh._SEED).normal(size=[2, 64])
    sides = CIRCLE @ planes > 0
    expected = [-float((sides[item - 1] != sides[0]).sum()) for item in (3, 5, 2, 4, 1)]
    scores = eta.scores(target, history, row).numpy()[0, 0]
    np.testing.assert_array_equal(scores[:5], expected)
    assert scores[4] == 0 and scores[0] == -64 and np.isneginf(scores[5])
    np.testing.assert_array_equal(eta.search(target, history, row), [[[4, 3, 1]]])  # 0, 10 and 45 degrees


def test_sdim_retrieves_by_rounds_of_collision() -> None:
    inherent, cross, table = hand_world(CIRCLE)
    sdim = SDIM(HAND, inherent, cross, table)
    history = hand_history([3, 5, 2, 4, 1])
    row = tf.constant([[1]])
    planes = np.random.default_rng(lsh._SEED).normal(size=[2, 48])
    equal = ((CIRCLE @ planes > 0) == (CIRCLE[0] @ planes > 0)).reshape(5, 16, 3).all(axis=2).sum(axis=1)
    expected = [float(equal[item - 1]) or -float("inf") for item in (3, 5, 2, 4, 1)]
    scores = sdim.scores(inherent(table.features(row)), history, row)
    np.testing.assert_array_equal(scores, [[expected]])
    assert expected[4] == 16 and np.isneginf(expected[0])  # itself always, the opposite never


def test_a_feature_counts_by_its_width() -> None:
    # Ids are 2 wide and topics 1: hashed, a topic has the square root of a half of its length.
    inherent, _, table = hand_world(CIRCLE, topics=[1, 1, 2, 2, 1])
    inherent.embeddings["topics"].table.assign([[0.0], [1.5], [-1.5]])
    history, row = hand_history([1, 2, 3, 4, 5]), tf.constant([[2]])
    found = differing_bits_of_items(inherent, table, inherent(table.features(row)), history, 64)
    topics = np.sqrt(0.5) * np.array([[1.5], [1.5], [-1.5], [-1.5], [1.5]])
    planes = np.random.default_rng(lsh._SEED).normal(size=[3, 64])
    sides = np.concatenate([CIRCLE, topics], axis=1) @ planes > 0
    np.testing.assert_array_equal(count_bits(found), [[(sides != sides[1]).sum(axis=1)]])


@pytest.mark.parametrize("rival", [ETA, SDIM])
def test_the_search_follows_the_embeddings(rival: type) -> None:
    inherent, cross, table = hand_world(CIRCLE)
    layer = rival(HAND, inherent, cross, table)
    history, row = hand_history([2, 4, 3]), tf.constant([[1]])
    embedding = inherent.embeddings["item_id"].table
    before = int(layer.search(inherent(table.features(row)), history, row)[0, 0, 0])
    embedding.assign(tf.gather(embedding, [0, 3, 2, 3, 4, 5]))  # item 1 turns to where item 3 is
    after = int(layer.search(inherent(table.features(row)), history, row)[0, 0, 0])
    assert (before, after) == (1, 2)
