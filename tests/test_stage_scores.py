"""What a stage ranks first is what it retrieves, for every model that searches."""

import numpy as np
import pytest

from model.consistency import measure, rank_order
from model.errors import UserError
from model.stage_scores import stage_scores
from pipelines.experiments.contenders import TWO_STAGE
from tests.rivals import rival_ranker
from tests.toy import tensors, toy_request


@pytest.mark.parametrize("name", TWO_STAGE)
def test_the_first_k_of_the_search_scores_are_what_is_retrieved(name: str) -> None:
    ranker = rival_ranker(name)
    raw = tensors(toy_request(np.random.default_rng(5), users=3, candidates=4, length=18))
    searched = stage_scores(ranker, raw)[0].numpy()
    position = ranker.score(raw)[1].position.numpy()
    compared = 0
    for b, n in np.ndindex(*position.shape[:2]):
        retrieved = position[b, n][position[b, n] >= 0]
        allowed = np.flatnonzero(np.isfinite(searched[b, 0, n]))[::-1]
        first = allowed[rank_order(searched[b, :, n, allowed].T)][: ranker.config.retrieved]
        # Of behaviours that score the same, either may be the one.
        expected, got = (sorted(map(tuple, searched[b, :, n, at])) for at in (first, retrieved))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        compared += len(first)
    assert compared > 10


@pytest.mark.parametrize("name", ["twin", "twin_raw_mhta", "twin_without_bias"])
def test_a_search_with_the_parameters_of_attention_finds_all(name: str) -> None:
    raw = tensors(_window(np.random.default_rng(6)))
    found = measure(rival_ranker(name), [raw], [5])
    assert found.targets > 0
    assert found.hit_at[5] == 100


def test_a_search_with_parameters_of_its_own_misses_some() -> None:
    raw = tensors(_window(np.random.default_rng(6)))
    for name in ("eta", "sim_hard", "twin_without_consistency"):
        assert measure(rival_ranker(name), [raw], [5]).hit_at[5] < 95


def test_a_model_without_a_search_is_refused() -> None:
    with pytest.raises(UserError, match="'avg_pooling' has no search"):
        stage_scores(rival_ranker("avg_pooling"), tensors(toy_request(np.random.default_rng(0))))


def _window(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {**toy_request(rng, users=4, candidates=3, length=18), "weight": np.ones([4, 3], np.float32)}
