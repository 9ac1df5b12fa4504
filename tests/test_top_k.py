"""The fast top-k against `tf.math.top_k`, entry for entry."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.top_k import BLOCK, spread, top_k

_compiled = {
    k: tf.function(
        lambda scores, k=k: top_k(scores, k), input_signature=[tf.TensorSpec([None, None, None])], autograph=False
    )
    for k in (1, 7, 20)
}


def assert_same(scores: np.ndarray, k: int) -> None:
    expected = tf.math.top_k(scores, min(k, scores.shape[-1]))
    values, indices = _compiled[k](scores)
    np.testing.assert_array_equal(values, expected.values)
    present = expected.values.numpy() > -np.inf
    np.testing.assert_array_equal(indices.numpy()[present], expected.indices.numpy()[present])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([1, 7, 20]),
    st.one_of(st.integers(0, 20).map(lambda n: n * BLOCK), st.integers(1, 1500)),
    st.sampled_from(["different", "tied", "all tied", "mostly invisible", "invisible", "one block"]),
    st.integers(0, 2**32 - 1),
)
def test_equals_the_plain_one(rows: int, k: int, length: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=[2, rows, length]).astype(np.float32)
    if kind == "tied":
        scores = np.round(scores * 2)
    if kind == "all tied":
        scores[:] = 1.5
    if kind == "mostly invisible":
        scores[rng.random(scores.shape) < 0.95] = -np.inf
    if kind == "invisible":
        scores[:, 0] = -np.inf
    if kind == "one block":
        scores[..., : BLOCK // 4] += 100
    assert_same(scores, k)


@pytest.mark.parametrize("length", [1_280, 32_768, 65_536])
def test_long_rows(length: int) -> None:
    different = np.random.default_rng(0).normal(size=[1, 3, length]).astype(np.float32)
    assert_same(different, 20)
    assert_same(np.round(different), 20)  # many tie at the highest value
    best = different > np.sort(different, axis=-1)[..., -6:-5]
    assert_same(np.where(best, 9 * different, 1).astype(np.float32), 20)  # five above all others, which tie
    assert_same(np.concatenate([different, np.round(different)], axis=1), 20)


def test_the_short_cut_is_taken_where_it_applies() -> None:
    # Nothing but the choice of the k-th of the blocks' maxima needs this op.
    graph = tf.function(lambda scores: top_k(scores, 10)).get_concrete_function(tf.TensorSpec([None, None]))
    names = {node.op for function in graph.graph.as_graph_def().library.function for node in function.node_def}
    assert "NthElement" in names


def test_spread_puts_neighbours_into_different_blocks() -> None:
    order = spread(tf.constant(4 * BLOCK)).numpy()
    assert sorted(order) == list(range(4 * BLOCK))
    block_of = np.empty(4 * BLOCK, int)
    block_of[order] = np.arange(4 * BLOCK) // (BLOCK // 4)
    assert block_of[:16].tolist() == list(range(16))
