"""Trains a ranker on per-user Examples and exports it."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.catalog import CatalogRows, read_catalog
from model.config import TwinConfig
from model.encoders import Encoders
from model.errors import UserError
from model.export import export
from model.keras_check import require_keras_2
from model.ranker import TwinRanker
from model.schema import DatasetSchema
from model.search_features import SearchArray, check_given, values_of
from model.sim_auxiliary import SimAuxiliary
from model.warm_start import known_ids_of, warm_start
from model.weight_average import weight_averages
from model.windows import window_dataset

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a line of text."""


class TrainingError(UserError):
    """Training cannot go on."""


class DivergedError(TrainingError):
    """What is trained is no longer numbers."""


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """What a training did. `auc` is that of the last epoch's training targets, `loss` that of its last batch.

    The loss holds what the long-term interest module learns by beside the targets, if anything.
    """

    steps: int
    targets: int
    seconds: float
    targets_per_s: float
    auc: float
    loss: float


def train(
    schema: DatasetSchema,
    config: TwinConfig,
    encoders: Encoders,
    train_files: Sequence[str],
    catalog_files: Sequence[str],
    out: Path,
    base: Path | None = None,
    progress: Progress = lambda done, total, text: None,
    trained_before_ms: int | None = None,
    search: Mapping[str, SearchArray] | None = None,
) -> TrainReport:
    """Trains and writes the servable to `out`.

    Args:
        schema: The data set's columns.
        config: The configuration of the run.
        encoders: Vocabularies and buckets.
        train_files: Per-user Examples of the training split.
        catalog_files: Examples of the items.
        out: Directory of the SavedModel, to be created.
        base: A servable to start from.
        progress: Receives steps done and in all.
        trained_before_ms: End of the training split's time range, recorded in the servable.
        search: What the search of `config.interest` reads of items, by name; see `model.search_features`.

    Raises:
        TrainingError: If there is no target to train on.
        DivergedError: If the loss is no longer a number.
        SearchFeatureError: If `search` is not what `config.interest` needs.
    """
    require_keras_2()
    tf.keras.utils.set_random_seed(config.seed)
    known_ids = known_ids_of(base) if base else ()
    catalog = read_catalog(catalog_files, schema, encoders, config, known_ids)
    ranker = build_ranker(schema, config, encoders, catalog)
    assign_search(ranker, catalog, search or {})
    if base:
        warm_start(ranker, encoders, base)
    fitted = fit_ranker(ranker, schema, train_files, lambda steps: Report(progress, steps))
    if not math.isfinite(fitted.loss):
        raise DivergedError("the loss is not a number; lower embedding_learning_rate or dense_learning_rate")
    export(ranker, schema, encoders, catalog.known_ids, catalog.coverage, out, trained_before_ms)
    return TrainReport(
        steps=int(ranker.optimizer.iterations),
        targets=fitted.targets,
        seconds=fitted.seconds,
        targets_per_s=fitted.targets / fitted.seconds,
        auc=fitted.auc,
        loss=fitted.loss,
    )


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What `fit_model` did: targets of all epochs, time, the last epoch's AUC, the last batch's loss, if not NaN."""

    targets: int
    seconds: float
    auc: float
    loss: float


def fit_ranker(
    ranker: TwinRanker,
    schema: DatasetSchema,
    files: Sequence[str],
    watch: Callable[[int], tf.keras.callbacks.Callback],
) -> Fitted:
    """`fit_model` of a ranker with an item table, which it keeps as fresh as configured and leaves fresh."""
    refresh = TableRefresh(ranker)
    fitted = fit_model(ranker, schema, files, lambda steps: [refresh, watch(steps)])
    refresh.now()
    return fitted


def fit_model(
    model: TwinRanker | SimAuxiliary,
    schema: DatasetSchema,
    files: Sequence[str],
    watch: Callable[[int], list[tf.keras.callbacks.Callback]],
) -> Fitted:
    """Trains a model by its configuration; stops where the loss is no number.

    A model trained before goes on with its optimiser: a new one's first steps are large.

    Args:
        model: The model.
        schema: The data set's columns.
        files: Per-user Examples.
        watch: Makes callbacks of the number of steps to come.

    Raises:
        TrainingError: If there is no target to train on.
    """
    config = model.config
    targets, windows = count_targets(files, config.targets_per_window)
    if not targets:
        raise TrainingError("the training split has no target; check the split's borders against the events' times")
    if model.optimizer is None:
        model.compile(optimizer=model.optimizer_for_training())
    steps = config.epochs * math.ceil(windows / config.users_per_batch)
    started = time.monotonic()
    history = model.fit(
        window_dataset(files, schema, config, shuffle=True),
        epochs=config.epochs,
        verbose=0,
        callbacks=[*watch(steps), tf.keras.callbacks.TerminateOnNaN(), *weight_averages(config.ema_momentum)],
    ).history
    seconds = time.monotonic() - started
    return Fitted(config.epochs * targets, seconds, float(history["auc"][-1]), float(history["loss"][-1]))


def build_ranker(schema: DatasetSchema, config: TwinConfig, encoders: Encoders, catalog: CatalogRows) -> TwinRanker:
    """A ranker with fresh weights whose item table holds the catalog."""
    ranker = TwinRanker(schema, encoders, config, len(catalog.known_ids), catalog.multi_hot_widths())
    ranker.item_table.assign(catalog.item_id, catalog.index)
    return ranker


def assign_search(ranker: TwinRanker, catalog: CatalogRows, search: Mapping[str, SearchArray]) -> None:
    """Fills the item table's `search` variables; items that an array does not hold get zero.

    Raises:
        SearchFeatureError: If `search` is not what the ranker's `interest` needs.
    """
    check_given(ranker.item_table.search, search, ranker.config.interest)
    for name, array in search.items():
        ranker.item_table.assign_search(name, values_of(catalog.item_id, array.ids, array.values))


def target_values(files: Sequence[str], name: str, dtype: tf.DType) -> list[np.ndarray]:
    """A column of the targets of per-user Examples, as `target/label`, one array an Example."""
    spec = {name: tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)}
    values = tf.data.TFRecordDataset(list(files), compression_type="GZIP").map(
        lambda record: tf.io.parse_single_example(record, spec)[name]
    )
    return list(values.as_numpy_iterator())


def count_targets(files: Sequence[str], per_window: int) -> tuple[int, int]:
    """Number of targets, and of windows of `per_window` targets, in per-user Examples."""
    counts = [len(labels) for labels in target_values(files, "target/label", tf.float32)]
    return sum(counts), sum(math.ceil(count / per_window) for count in counts)


class TableRefresh(tf.keras.callbacks.Callback):
    """Recomputes the projections every `table_refresh_steps` steps: training sees tables of the age serving sees."""

    def __init__(self, ranker: TwinRanker) -> None:
        super().__init__()
        self._ranker = ranker
        self._project = tf.function(
            ranker.project_rows, input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False
        )
        self._steps = 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Refreshes before steps 0, S, 2 S, ..."""
        del batch, logs
        if self._steps % self._ranker.config.table_refresh_steps == 0:
            self.now()
        self._steps += 1

    def now(self) -> None:
        """Recomputes all projections from current weights, if the search reads any."""
        if self._ranker.long_term.reads_projections:
            self._ranker.item_table.refresh(self._project)


class Report(tf.keras.callbacks.Callback):
    """Tells a `Progress` of every step."""

    def __init__(self, progress: Progress, total: int) -> None:
        super().__init__()
        self._progress, self._total, self._done = progress, total, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        del batch
        self._done += 1
        logs = logs or {}
        text = f"loss {logs.get('loss', math.nan):.4f} auc {logs.get('auc', math.nan):.4f}"
        self._progress(self._done, self._total, text)
