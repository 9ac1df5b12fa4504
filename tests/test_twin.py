"""The two stages are twins."""

import numpy as np

from model.consistency import measure
from tests.toy import tensors, toy_ranker, toy_request


def test_both_stages_hold_one_relevance_layer() -> None:
    twin = toy_ranker().twin
    assert twin.cp_gsu.relevance is twin.esu.relevance is twin.relevance


def test_a_stale_table_changes_the_search_but_not_the_esu() -> None:
    ranker = toy_ranker()
    raw = tensors(toy_request(np.random.default_rng(0), users=4, length=19, unknown=0))
    fresh = ranker.score(raw)[1]
    ranker.item_table.projection.assign(-ranker.item_table.projection)
    stale = ranker.score(raw)[1]
    assert (fresh.position.numpy() != stale.position.numpy()).any()
    both = np.intersect1d(fresh.position[0, 0], stale.position[0, 0])
    for position in both[both >= 0]:
        a = fresh.attended.relevance[0, 0].numpy()[:, fresh.position[0, 0].numpy() == position]
        b = stale.attended.relevance[0, 0].numpy()[:, stale.position[0, 0].numpy() == position]
        np.testing.assert_allclose(a, b, rtol=1e-6)


def batches(rng: np.random.Generator) -> list[dict]:
    raw = toy_request(rng, users=4, candidates=3, length=30, unknown=0.1)
    raw["history/length"][:] = 30
    raw["weight"] = np.ones((4, 3), np.float32)
    return [tensors(raw)]


def test_a_fresh_table_retrieves_everything_that_attention_would_choose() -> None:
    found = measure(toy_ranker(), batches(np.random.default_rng(1)), depths=(2, 5, 10))
    assert found.targets == 12
    assert found.hit_at == {2: 100.0, 5: 100.0, 10: 100.0}


def test_hits_fall_when_the_table_is_damaged_and_return_with_depth() -> None:
    ranker = toy_ranker()
    noise = np.random.default_rng(0).normal(size=ranker.item_table.projection.shape.as_list()[1:])
    ranker.item_table.projection.assign(ranker.item_table.projection * noise)
    found = measure(ranker, batches(np.random.default_rng(1)), depths=(5, 10, 30)).hit_at
    assert found[5] < 90 < found[30]
    assert found[5] < found[10] <= found[30]
