"""Measures training at the paper's widths, and where its time goes."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from model.config import TwinConfig
from model.ranker import TwinRanker
from model.request import RawBatch
from model.train import TableRefresh
from model.windows import window_dataset
from pipelines.bench_ranker import NOW_MS, bench_ranker, bench_schema

_WARM_UP_STEPS = 3
_ALONE_REPEATS = 5


@dataclasses.dataclass(frozen=True)
class TrainingSpeed:
    """What `twin bench training` reports.

    Attributes:
        targets_per_s: Targets trained per second, everything included: reading, decoding, table refreshes, optimiser.
        peak_rss_gb: Largest resident memory seen after a step, 10^9 bytes.
        step_s: Median seconds of a step.
        share: Parts of the time. `input`: reading and cutting windows, measured alone; it overlaps with the others.
            `search`: the CP-GSU (id -> row, bias, scores, top-k, union), measured alone. `dense`: the MLP's forward and
            backward pass, measured alone. `table_refresh`: as it ran. `esu_and_embeddings`: the rest of a step (ESU,
            short-term module, embeddings, optimisers).
    """

    targets_per_s: float
    peak_rss_gb: float
    step_s: float
    share: dict[str, float]


def measure_training(folder: Path, config: TwinConfig, items: int, steps: int, seed: int) -> TrainingSpeed:
    """Trains on generated Examples with histories of `config.history_length` behaviours.

    Args:
        folder: Scratch directory.
        config: Widths, lengths and batch.
        items: Items in the table.
        steps: Steps to time, after a warm-up.
        seed: Seed of data and weights.
    """
    files = write_examples(folder, config, items, steps + _WARM_UP_STEPS, seed)
    ranker = bench_ranker(items, config, seed)
    ranker.compile(optimizer=ranker.optimizer_for_training())
    clock = _Clock(ranker)
    ranker.fit(window_dataset(files, bench_schema(), config, shuffle=True), verbose=0, callbacks=[clock])
    per_step = config.users_per_batch * config.targets_per_window
    seconds = clock.ends[-1] - clock.ends[_WARM_UP_STEPS - 1]
    step = statistics.median(np.diff(clock.ends[_WARM_UP_STEPS - 1 :]))
    timed = len(clock.ends) - _WARM_UP_STEPS
    batch = next(iter(window_dataset(files, bench_schema(), config, shuffle=False)))
    alone = {
        "input": _input_seconds(files, config),
        "search": _median_seconds(tf.function(lambda: _search(ranker, batch), autograph=False)),
        "dense": _median_seconds(tf.function(lambda: _dense(ranker, batch), autograph=False)),
    }
    share = {part: value * timed / seconds for part, value in alone.items()}
    share["table_refresh"] = sum(clock.refreshes[1:]) / seconds
    share["esu_and_embeddings"] = 1 - share["search"] - share["dense"] - share["table_refresh"]
    return TrainingSpeed(timed * per_step / seconds, clock.peak / 1e9, step, share)


def write_examples(folder: Path, config: TwinConfig, items: int, windows_per_user: int, seed: int) -> list[str]:
    """Per-user Examples of one batch of users, with targets for `windows_per_user` steps."""
    rng = np.random.default_rng(seed)
    files = []
    for user in range(config.users_per_batch):
        row = _user(rng, config, items, config.targets_per_window * windows_per_user)
        example = tf.train.Example(features=tf.train.Features(feature={k: _feature(v) for k, v in row.items()}))
        files.append(str(folder / f"user-{user}.gz"))
        with tf.io.TFRecordWriter(files[-1], tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            writer.write(example.SerializeToString())
    return files


def _user(rng: np.random.Generator, config: TwinConfig, items: int, targets: int) -> dict[str, np.ndarray]:
    length = config.history_length + targets
    time_ms = np.sort(NOW_MS - rng.integers(0, 2 * 10**10, length))
    # Popular items are looked up more often than others, as in life.
    popular = (items * rng.random(length + targets) ** 2).astype(np.int64)
    return {
        "user_id": np.array([b"u"], object),
        "user/age_group": np.array([1]),
        "user/activity": np.array([b"1"], object),
        "history/item_id": popular[:length],
        "history/timestamp": time_ms,
        "history/play_seconds": rng.gamma(2, 8, length).astype(np.float32),
        "history/completion": rng.gamma(2, 8, length).astype(np.float32),
        "history/liked": rng.integers(0, 2, length),
        "target/item_id": popular[length:],
        "target/timestamp": time_ms[-targets:],
        "target/label": rng.integers(0, 2, targets).astype(np.float32),
        "target/history_end": np.arange(length - targets, length),
        "target/page_position": rng.integers(0, 8, targets),
    }


def _feature(values: np.ndarray) -> tf.train.Feature:
    if values.dtype.kind == "O":
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


class _Clock(TableRefresh):
    """Refreshes as training does, and notes when each step ended and how long each refresh took."""

    def __init__(self, ranker: TwinRanker) -> None:
        super().__init__(ranker)
        self.ends: list[float] = []
        self.refreshes: list[float] = []
        self.peak = 0
        self._process = psutil.Process()

    def now(self) -> None:
        start = time.perf_counter()
        super().now()
        self.refreshes.append(time.perf_counter() - start)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch, logs
        self.ends.append(time.perf_counter())
        self.peak = max(self.peak, self._process.memory_info().rss)


def _search(ranker: TwinRanker, raw: RawBatch) -> tf.Tensor:
    history = ranker.request_encoder.history(raw)
    target = ranker.inherent(ranker.item_table.features(ranker.item_table.lookup(raw["candidate/item_id"])))
    twin = ranker.twin
    return twin.cp_gsu(twin.relevance.query(target), history, twin.relevance.bias_tables())


def _dense(ranker: TwinRanker, raw: RawBatch) -> list[tf.Tensor]:
    users, targets = raw["label"].shape
    inputs = tf.ones([users, targets, ranker.mlp.input_shape[-1]])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_mean(ranker.mlp(inputs))
    return tape.gradient(loss, [inputs, *ranker.mlp.trainable_variables])


def _input_seconds(files: list[str], config: TwinConfig) -> float:
    """Seconds per batch of reading alone."""
    start = time.perf_counter()
    batches = sum(1 for _ in window_dataset(files, bench_schema(), config, shuffle=True))
    return (time.perf_counter() - start) / batches


def _median_seconds(function: Callable[[], Any]) -> float:
    function()
    seconds = []
    for _ in range(_ALONE_REPEATS):
        start = time.perf_counter()
        result = function()
        tf.nest.map_structure(lambda tensor: tensor.numpy(), result)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
