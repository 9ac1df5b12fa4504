"""The union of the heads' rankings."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.consistency import rank_order
from model.head_union import union_by_rank
from tests.oracle import union


def run(rankings: list[list[int]], size: int, width: int) -> list[int]:
    position = np.zeros((1, 1, len(rankings), width), np.int32)
    valid = np.zeros(position.shape, bool)
    for a, ranking in enumerate(rankings):
        position[0, 0, a, : len(ranking)] = ranking
        valid[0, 0, a, : len(ranking)] = True
    return union_by_rank(tf.constant(position), tf.constant(valid), size)[0, 0].numpy().tolist()


def test_takes_rank_1_of_every_head_then_rank_2() -> None:
    assert run([[7, 3, 1], [7, 5, 2], [4, 7, 9]], 5, 3) == [7, 4, 3, 5, 1]


def test_fewer_behaviours_than_wanted_leave_minus_one() -> None:
    assert run([[1, 0], [0, 1]], 4, 2) == [1, 0, -1, -1]
    assert run([[], []], 3, 2) == [-1, -1, -1]


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 10), st.randoms(use_true_random=False))
def test_equals_the_loop_over_ranks(heads: int, length: int, size: int, random: object) -> None:
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    rankings = [rng.permutation(length).tolist()[:size] for _ in range(heads)]
    found = run(rankings, size, size)
    expected = union(rankings, size)
    assert found == expected + [-1] * (size - len(expected))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_rank_order_continues_the_union_to_the_last_behaviour(heads: int, length: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(heads, length))
    rankings = [np.argsort(-s).tolist() for s in scores]
    assert rank_order(scores).tolist() == union(rankings, length)
