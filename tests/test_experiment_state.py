"""A trained model's state on disk: whoever goes on from it trains as if there had been no pause."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.errors import UserError
from model.ranker import TwinRanker
from pipelines.experiments.training import load_state, save_state
from tests.toy import tensors, toy_ranker, toy_request

RNG = np.random.default_rng(5)


def window() -> dict[str, tf.Tensor]:
    raw = toy_request(RNG)
    raw["label"] = RNG.integers(0, 2, raw["candidate/item_id"].shape).astype(np.float32)
    raw["weight"] = np.ones_like(raw["label"])
    return tensors(raw)


def learn(ranker: TwinRanker, windows: list[dict[str, tf.Tensor]]) -> None:
    for one in windows:
        ranker.train_step(one)
    ranker.item_table.refresh(ranker.project_rows)


def weights(ranker: TwinRanker) -> list[np.ndarray]:
    return [variable.numpy() for variable in (*ranker.trainable_variables, ranker.item_table.projection)]


def test_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    before, after = [window() for _ in range(3)], [window() for _ in range(2)]
    ranker = toy_ranker()
    ranker.compile(optimizer=ranker.optimizer_for_training())
    learn(ranker, before)
    save_state(ranker, tmp_path / "state")
    trained = weights(ranker)
    learn(ranker, after)

    another = toy_ranker()
    load_state(another, tmp_path / "state")
    for ours, theirs in zip(weights(another), trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    learn(another, after)
    for ours, theirs in zip(weights(another), weights(ranker), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_of_two_states_of_one_training_the_first_stays(tmp_path: Path) -> None:
    ranker = toy_ranker()
    ranker.compile(optimizer=ranker.optimizer_for_training())
    learn(ranker, [window()])
    save_state(ranker, tmp_path / "state")
    first = ranker.trainable_variables[0].numpy()
    learn(ranker, [window()])
    save_state(ranker, tmp_path / "state")
    another = toy_ranker()
    load_state(another, tmp_path / "state")
    np.testing.assert_array_equal(another.trainable_variables[0].numpy(), first)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    message = r"state: the trained state cannot be read .* delete the folder"
    with pytest.raises(UserError, match=message):
        load_state(toy_ranker(), tmp_path / "state")
    ranker = toy_ranker()
    ranker.compile(optimizer=ranker.optimizer_for_training())
    save_state(ranker, tmp_path / "state")
    (data,) = (tmp_path / "state").glob("*data*")
    os.truncate(data, 100)
    with pytest.raises(UserError, match=message):
        load_state(toy_ranker(), tmp_path / "state")
