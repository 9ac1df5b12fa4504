"""The mean of a training's weights, by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.config import ConfigError, TwinConfig
from model.train import fit_ranker
from model.weight_average import WeightAverage
from tests.toy import SMALL, toy_ranker, toy_schema
from tests.training_data import user_row, write


class _Recorder(tf.keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        del batch, logs
        self.seen.append([weight.numpy() for weight in self.model.trainable_variables])


def test_is_the_weighted_mean_of_the_weights_after_each_step() -> None:
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
    model.compile(tf.keras.optimizers.legacy.SGD(0.1), "mse")
    recorder = _Recorder()
    x = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], np.float32)
    y = np.array([[1.0], [2.0], [-1.0]], np.float32)
    model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0, callbacks=[recorder, WeightAverage(0.5)])
    # m = 1/2 and three steps: 1/8, 1/4, 1/2 over 7/8.
    for at, weight in enumerate(model.trainable_variables):
        first, second, third = (step[at] for step in recorder.seen)
        np.testing.assert_allclose(weight, (first + 2 * second + 4 * third) / 7, rtol=1e-6)
        assert not np.allclose(weight, third)


def test_a_second_training_averages_its_own_steps() -> None:
    average = WeightAverage(0.5)
    for _ in range(2):
        model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
        model.compile(tf.keras.optimizers.legacy.SGD(0.1), "mse")
        recorder = _Recorder()
        model.fit(np.ones([2, 2]), np.ones([2, 1]), batch_size=1, verbose=0, callbacks=[recorder, average])
        for at, weight in enumerate(model.trainable_variables):
            first, second = (step[at] for step in recorder.seen)
            np.testing.assert_allclose(weight, (first + 2 * second) / 3, rtol=1e-6)


def test_the_item_table_is_made_of_the_averages(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = write(tmp_path / "users.gz", [user_row(rng, 25, 10) for _ in range(8)])
    ranker = toy_ranker(dataclasses.replace(SMALL, ema_momentum=0.9, dense_learning_rate=0.03))
    recorder = _Recorder()
    fit_ranker(ranker, toy_schema(), [file], lambda steps: recorder)
    shares = 0.9 ** np.arange(len(recorder.seen))[::-1]
    for at, weight in enumerate(ranker.trainable_variables):
        expected = np.tensordot(shares / shares.sum(), np.stack([step[at] for step in recorder.seen]), 1)
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    stored = ranker.item_table.projection.numpy()
    ranker.item_table.refresh(ranker.project_rows)
    np.testing.assert_allclose(stored, ranker.item_table.projection, atol=1e-6)


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_a_momentum_out_of_range_is_refused(momentum: float) -> None:
    with pytest.raises(ConfigError, match="ema_momentum"):
        TwinConfig.from_yaml(f"ema_momentum: {momentum}")
