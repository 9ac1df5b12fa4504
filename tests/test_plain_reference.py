"""The servable's graph equals the plain one: what is retrieved, and every score."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.plain_reference import PlainReference
from tests.toy import SMALL, tensors, toy_ranker, toy_request, toy_schema

RANKER = toy_ranker(dataclasses.replace(SMALL, history_length=2_000))
_fast = tf.function(RANKER, reduce_retracing=True, autograph=False)
_plain = tf.function(PlainReference(RANKER, toy_schema()).scores, reduce_retracing=True, autograph=False)


@settings(max_examples=30, deadline=None)
@given(
    users=st.integers(1, 3),
    candidates=st.integers(1, 5),
    length=st.one_of(st.integers(1, 70), st.integers(150, 1_400)),
    unknown=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_match_on_random_requests(users: int, candidates: int, length: int, unknown: float, seed: int) -> None:
    raw = toy_request(np.random.default_rng(seed), users, candidates, length, unknown)
    np.testing.assert_allclose(_fast(tensors(raw)), _plain(tensors(raw)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [50, 1_000])
def test_scores_match_where_behaviours_tie(length: int) -> None:
    # 40 items over 1,000 behaviours of one minute: most relevances occur many times, also at the cut.
    raw = toy_request(np.random.default_rng(0), 2, 4, length, 0)
    raw["history/length"][:] = length
    raw["history/timestamp"][:] = raw["request/timestamp"][:, np.newaxis] - 90_000
    for feature in ("play_seconds", "completion", "liked"):
        raw[f"history/{feature}"][:] = 1
    np.testing.assert_allclose(_fast(tensors(raw)), _plain(tensors(raw)), rtol=1e-5, atol=1e-6)
