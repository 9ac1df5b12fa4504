"""Trains one model and keeps its state."""

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import tensorflow as tf

from model.catalog import CatalogRows
from model.config import TwinConfig
from model.errors import UserError
from model.keras_check import require_keras_2
from model.ranker import TwinRanker
from model.search_features import SearchArray
from model.train import Progress, TableRefresh, assign_search, build_ranker, count_targets, fit_ranker
from pipelines.experiments.dataset import Prepared, made_aside

_STATE = "state"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained ranker, its item table fresh, and what the training did (JSON values; no `loss` where it diverged)."""

    ranker: TwinRanker
    report: dict[str, Any]


def fit(
    data: Prepared, config: TwinConfig, catalog: CatalogRows, search: Mapping[str, SearchArray], progress: Progress
) -> Trained:
    """Trains on the train split, as the pipeline's trainer does.

    Args:
        data: The data set.
        config: The configuration, `interest` and `seed` among it.
        catalog: The items.
        search: What the search of `config.interest` reads of items.
        progress: Receives steps done and in all.

    Raises:
        TrainingError: If there is no target to train on.
    """
    ranker = fresh_ranker(data, config, catalog, search)
    clock = _Clock(progress)
    fitted = fit_ranker(ranker, data.schema, data.files("train"), clock.expecting)
    report = {
        "steps": len(clock.ends),
        "targets": fitted.targets,
        "seconds": fitted.seconds,
        # The targets are those of all steps, which a training that diverged has not done.
        "targets_per_s": fitted.targets / clock.total / clock.median_step(config.table_refresh_steps),
        "loss": fitted.loss if math.isfinite(fitted.loss) else None,
    }
    return Trained(ranker, report)


def fit_further(ranker: TwinRanker, data: Prepared, files: Sequence[str], progress: Progress) -> None:
    """Trains on with the targets of per-user Examples; does nothing where they hold none."""
    if count_targets(files, ranker.config.targets_per_window)[0]:
        fit_ranker(ranker, data.schema, files, _Clock(progress).expecting)


def fresh_ranker(
    data: Prepared, config: TwinConfig, catalog: CatalogRows, search: Mapping[str, SearchArray]
) -> TwinRanker:
    """A ranker with first weights."""
    require_keras_2()
    # Nothing of the models before it shall stay in memory.
    tf.keras.backend.clear_session()
    gc.collect()
    tf.keras.utils.set_random_seed(config.seed)
    ranker = build_ranker(data.schema, config, data.encoders, catalog)
    assign_search(ranker, catalog, search)
    return ranker


def save_state(ranker: TwinRanker, folder: Path) -> None:
    """Writes all trained weights and the optimiser's state; the item table is made of them anew."""
    with made_aside(folder) as made:
        _checkpoint(ranker).write(str(made / _STATE))


def load_state(ranker: TwinRanker, folder: Path) -> None:
    """Puts what `save_state` wrote into a ranker of the same configuration, and refreshes its item table.

    `fit_further` goes on from there with the optimiser as it was.

    Raises:
        UserError: If what is there cannot be read.
    """
    ranker.compile(optimizer=ranker.optimizer_for_training())
    try:
        _checkpoint(ranker).read(str(folder / _STATE)).assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError, IndexError) as error:  # IndexError: a file that was cut off
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder}: the trained state cannot be read ({reason}); delete the folder to train again"
        ) from None
    TableRefresh(ranker).now()


def _checkpoint(ranker: TwinRanker) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        dense=ranker.dense_variables(), embeddings=ranker.embeddings_by_name(), optimizer=ranker.optimizer
    )


class _Clock(tf.keras.callbacks.Callback):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress, self.total = progress, 0
        self._begin = 0.0
        self.ends: list[float] = []
        self._seconds: list[float] = []

    def expecting(self, steps: int) -> Self:
        """This clock, told how many steps are to come."""
        self.total = steps
        return self

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        del batch, logs
        self._begin = self.ends[-1] if self.ends else time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        del batch
        self.ends.append(time.perf_counter())
        self._seconds.append(self.ends[-1] - self._begin)
        self._progress(len(self.ends), self.total, f"loss {(logs or {}).get('loss', float('nan')):.4f}")

    def median_step(self, together: int) -> float:
        """Seconds of a step: the median over all runs of `together` steps, one of which refreshes the item table.

        The median leaves out the tracing of the first step, and what else the machine was doing.
        """
        runs = range(max(1, len(self._seconds) - together + 1))
        return statistics.median(statistics.fmean(self._seconds[start : start + together]) for start in runs)
