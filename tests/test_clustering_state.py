"""Runs that go on from earlier ones: nothing is lost, nothing counted twice."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clustering.entries import Entries
from pipelines.clustering.example_columns import ExampleError
from pipelines.clustering.state import NOTHING_CLUSTERED, ClusteredLife, advance, decode_life, encode_life
from tests.clustering_support import CONFIG, SCHEMA, entries, example_of, random_life, random_vectors, vectors_of

ONE = vectors_of({1: [0.0], 2: [10.0]})


def unique(life: Entries) -> Entries:
    """Without repetitions of time and item, in order."""
    return life.take(np.unique(np.stack([life.time, life.item]), axis=1, return_index=True)[1])


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([40, 10_000]))
@settings(max_examples=40, deadline=None)
def test_run_after_run_every_behaviour_is_there_once(seed: int, whole_lives: bool, span: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(20)
    life = unique(random_life(rng, 120, 23, span, vectors))
    borders = np.sort(rng.integers(0, span, 3)).tolist()
    state, start = None, 0
    for end in [*borders, span]:
        batch = life.take((life.time < end) & (life.time >= (0 if whole_lives else start)))
        step = advance(state, batch, SCHEMA, CONFIG, vectors, b"u")
        assert step.counts["behaviours"] == sum(
            step.counts[n] for n in ("duplicates", "already_clustered", "already_single", "new")
        )
        assert step.life.history.size.sum() == step.counts["new"] + step.counts["earlier"] == (life.time < end).sum()
        assert step.counts["duplicates"] == 0
        # It comes back from a record as it was.
        user, state = decode_life(encode_life(b"u", step.life), SCHEMA)
        assert (user, state.through_ms, state.clusters) == (b"u", step.life.through_ms, step.life.clusters)
        assert np.all(np.diff(state.history.time) >= 0)
        singles = state.history.slice(state.clusters, len(state.history))
        assert np.all(singles.size == 1)
        assert len(singles) >= min(CONFIG.short_term_length, (life.time < end).sum())
        assert np.array_equal(
            singles.item, life.item[: (life.time < end).sum()][-len(singles) :] if len(singles) else []
        )
        clustered = int(state.history.size[: state.clusters].sum())
        assert clustered == (life.time <= state.through_ms).sum()
        start = end


def test_the_same_run_again_changes_nothing() -> None:
    vectors = random_vectors(20)
    life = unique(random_life(np.random.default_rng(0), 120, 23, 10_000, vectors))
    first = advance(None, life, SCHEMA, CONFIG, vectors, b"u").life
    again = advance(first, life, SCHEMA, CONFIG, vectors, b"u")
    assert again.counts["new"] == 0
    assert again.life.history.item.tolist() == first.history.item.tolist()
    assert again.life.history.size.tolist() == first.history.size.tolist()
    assert again.life.through_ms == first.through_ms


def test_duplicates_and_late_ones_are_counted() -> None:
    first = advance(None, entries([1, 1, 2, 1, 2, 1], [1, 1, 2, 3, 4, 5]), SCHEMA, CONFIG, ONE, b"u")
    assert first.counts == {
        "behaviours": 6, "duplicates": 1, "already_clustered": 0, "already_single": 0, "new": 5, "earlier": 0
    }  # fmt: skip
    assert first.life.through_ms == 2
    late = advance(first.life, entries([2, 1, 9], [1, 5, 6]), SCHEMA, CONFIG, ONE, b"u")
    assert late.counts == {
        "behaviours": 3, "duplicates": 0, "already_clustered": 1, "already_single": 1, "new": 1, "earlier": 5
    }  # fmt: skip
    assert late.life.history.size.sum() == 6
    assert late.life.through_ms == 3


def test_a_life_too_short_for_a_cluster() -> None:
    step = advance(None, entries([1, 2], [1, 2]), SCHEMA, CONFIG, ONE, b"u")
    assert (step.life.clusters, step.life.through_ms) == (0, NOTHING_CLUSTERED)
    _, life = decode_life(encode_life(b"u", step.life), SCHEMA)
    assert life.history.item.tolist() == [1, 2]
    nothing = advance(None, entries([], []), SCHEMA, CONFIG, ONE, b"u").life
    assert len(decode_life(encode_life(b"u", nothing), SCHEMA)[1].history) == 0


def test_new_vectors_are_used_for_earlier_clusters() -> None:
    # Clusters around items 1 and 2; then the model is trained anew, and item 3 lies at item 2 instead of item 1.
    config = dataclasses.replace(CONFIG, short_term_length=1)
    before = vectors_of({1: [0.0], 2: [10.0], 3: [0.1]})
    after = vectors_of({1: [0.0], 2: [10.0], 3: [9.9]})
    state = advance(
        None, entries([1, 2, 1, 2, 2], range(5)), SCHEMA, dataclasses.replace(config, max_cluster_size=3), before, b"u"
    )
    config = dataclasses.replace(config, max_cluster_size=9)
    sizes = {}
    for vectors in (before, after):
        life = advance(state.life, entries([3, 1], [5, 6]), SCHEMA, config, vectors, b"u").life
        sizes[vectors is after] = dict(zip(life.history.item[:2].tolist(), life.history.size[:2].tolist(), strict=True))
    assert sizes == {False: {1: 3, 2: 3}, True: {1: 2, 2: 4}}


def test_a_record_without_state_is_refused() -> None:
    with pytest.raises(ExampleError, match=r"user 'u': feature 'history/cluster_size': expected 1 values, got 0"):
        decode_life(example_of(entries([1], [1]), []), SCHEMA)
    with pytest.raises(ExampleError, match="sizes of 1 or more"):
        decode_life(encode_life(b"u", ClusteredLife(entries([1], [1], size=[0]), 5)), SCHEMA)
