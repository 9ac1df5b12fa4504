"""hit@k of a run's servable, fresh and against item tables of growing age."""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model.config import TableDtype, TwinConfig
from model.consistency import DEPTHS, Consistency, measure
from model.errors import UserError
from model.load import load_ranker
from model.ranker import TwinRanker
from model.request import RawBatch
from model.schema import DatasetSchema
from model.train import count_targets
from model.windows import window_dataset
from pipelines.score_metrics import user_auc

_TARGETS_PER_WINDOW = 4
_SEED = 1
# A servable holds no optimiser's slots, and the first steps without them are far larger than any of a running training.
_OPTIMISER_STEPS = 50


@dataclasses.dataclass(frozen=True)
class TableDtypeReport:
    """What storing the projections in a type costs and saves.

    Attributes:
        hit_at_100: Percentage.
        auc: Over all measured targets together; None where a class is missing.
        projection_bytes: Size of the projections.
    """

    hit_at_100: float
    auc: float | None
    projection_bytes: int


@dataclasses.dataclass(frozen=True)
class ConsistencyReport:
    """What `twin consistency` prints.

    Attributes:
        servable: The servable measured.
        fresh: With the table that the servable was published with.
        by_age: Training steps since the table was made, to hit@100.
        by_dtype: Type of the stored projections, to what a fresh table of it does.
    """

    servable: Path
    fresh: Consistency
    by_age: dict[int, float]
    by_dtype: dict[TableDtype, TableDtypeReport]

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values; hits are percentages."""
        return {
            "servable": str(self.servable),
            "targets": self.fresh.targets,
            "mean_history": self.fresh.history,
            "fresh": {f"hit_at_{k}": value for k, value in self.fresh.hit_at.items()},
            "by_table_age_steps": {str(age): {"hit_at_100": value} for age, value in self.by_age.items()},
            "by_table_dtype": {dtype: dataclasses.asdict(report) for dtype, report in self.by_dtype.items()},
        }


def run_consistency(
    run_dir: Path, targets: int, ages: Sequence[int], dtypes: Sequence[TableDtype] = ()
) -> ConsistencyReport:
    """Measures the servable of a run on its eval split, and item tables of growing age.

    Ages by training on from it: some steps fill the optimiser's slots, the table is refreshed, and then held still.

    Args:
        run_dir: A run directory with `summary.json`.
        targets: About how many eval targets to measure.
        ages: Training steps after which to measure again, ascending.
        dtypes: Types of the stored projections to compare, each with a table made from the servable's weights.

    Raises:
        UserError: If the run has no summary, or no target sees more behaviours than the search retrieves.
    """
    summary = run_dir / "summary.json"
    if not summary.is_file():
        raise UserError(f"{run_dir}: not a finished run: summary.json is missing")
    paths = json.loads(summary.read_text())["paths"]
    servable = Path(paths["servable"])
    loaded = load_ranker(servable)
    ranker = loaded.ranker
    examples = Path(paths["examples"])
    eval_batches = eval_windows(_files(examples, "eval"), loaded.schema, ranker.config, targets)
    fresh = measure(ranker, eval_batches, DEPTHS)
    if not fresh.targets:
        raise UserError(
            f"{examples}: none of the {targets} eval targets drawn sees more than retrieved = "
            f"{ranker.config.retrieved} behaviours, so search and attention "
            "could only agree; raise --targets, or train with a smaller retrieved"
        )
    train = window_dataset(_files(examples, "train"), loaded.schema, ranker.config, shuffle=True).repeat()
    by_dtype: dict[TableDtype, TableDtypeReport] = {
        dtype: _with_dtype(servable, dtype, eval_batches) for dtype in dtypes
    }
    by_age = {0: fresh.hit_at[100]} | hits_by_age(ranker, iter(train), eval_batches, ages)
    return ConsistencyReport(servable, fresh, by_age, by_dtype)


def eval_windows(files: Sequence[str], schema: DatasetSchema, config: TwinConfig, targets: int) -> list[RawBatch]:
    """About `targets` targets of per-user Examples, in windows of a few drawn from those of all users and times."""
    # Few targets of many users say more than many of one, and a window's scores stay small.
    small = dataclasses.replace(config, targets_per_window=_TARGETS_PER_WINDOW, users_per_batch=1)
    of_all = count_targets(files, _TARGETS_PER_WINDOW)[1]
    wanted = min(math.ceil(targets / _TARGETS_PER_WINDOW), of_all)
    drawn = np.zeros(of_all, bool)
    drawn[np.random.default_rng(_SEED).choice(of_all, wanted, replace=False)] = True
    windows = window_dataset(files, schema, small, shuffle=False).enumerate()
    return [window for _, window in windows.filter(lambda at, _: tf.gather(drawn, at))]


def _with_dtype(servable: Path, dtype: TableDtype, batches: Sequence[RawBatch]) -> TableDtypeReport:
    ranker = load_ranker(servable, dtype).ranker
    score = tf.function(ranker, reduce_retracing=True, autograph=False)
    real = [batch["weight"].numpy() > 0 for batch in batches]
    predictions = np.concatenate([score(b).numpy()[at] for b, at in zip(batches, real, strict=True)])
    labels = np.concatenate([b["label"].numpy()[at] for b, at in zip(batches, real, strict=True)])
    table = ranker.item_table.projection
    return TableDtypeReport(
        hit_at_100=measure(ranker, batches, [100]).hit_at[100],
        auc=user_auc(labels, predictions),
        projection_bytes=int(tf.size(table)) * table.dtype.size,
    )


def hits_by_age(
    ranker: TwinRanker,
    train: Iterator[RawBatch],
    eval_batches: Sequence[RawBatch],
    ages: Sequence[int],
    retrieved: int = 100,
) -> dict[int, float]:
    """Trains on with the item table held still, and gives hit@`retrieved`, a percentage, at each age.

    Args:
        ranker: Trained; it goes on with its optimiser. Where that is forgotten, some steps fill a new one's slots
            before the table is made.
        train: Batches to train on.
        eval_batches: Batches to measure on.
        ages: Training steps since the table was made, ascending.
        retrieved: Depth of the search.
    """
    step = tf.function(ranker.train_step, reduce_retracing=True)
    if ranker.optimizer is None:
        ranker.compile(optimizer=ranker.optimizer_for_training())
        for _ in range(_OPTIMISER_STEPS):
            step(next(train))
    ranker.item_table.refresh(ranker.project_rows)
    done, hits = 0, {}
    for age in ages:
        for _ in range(age - done):
            step(next(train))
        done = age
        hits[age] = measure(ranker, eval_batches, [retrieved]).hit_at[retrieved]
    return hits


def _files(examples: Path, split: str) -> list[str]:
    return sorted(str(path) for path in (examples / f"Split-{split}").glob("*.gz"))
