"""hit@k of a run's servable, fresh and against item tables of growing age."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from model.consistency import DEPTHS, Consistency, measure
from model.errors import UserError
from model.load import load_ranker
from model.ranker import TwinRanker
from model.request import RawBatch
from model.windows import window_dataset

_TARGETS_PER_USER = 4


@dataclasses.dataclass(frozen=True)
class ConsistencyReport:
    """What `twin consistency` prints.

    Attributes:
        servable: The servable measured.
        fresh: With the table that the servable was published with.
        by_age: Training steps since the table was made, to hit@100.
    """

    servable: Path
    fresh: Consistency
    by_age: dict[int, float]

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values; hits are percentages."""
        return {
            "servable": str(self.servable),
            "targets": self.fresh.targets,
            "mean_history": self.fresh.history,
            "fresh": {f"hit_at_{k}": value for k, value in self.fresh.hit_at.items()},
            "by_table_age_steps": {str(age): {"hit_at_100": value} for age, value in self.by_age.items()},
        }


def run_consistency(run_dir: Path, targets: int, ages: Sequence[int]) -> ConsistencyReport:
    """Measures the servable of a run on its eval split; ages by training on from it with the table held still.

    Args:
        run_dir: A run directory with `summary.json`.
        targets: About how many eval targets to measure.
        ages: Training steps after which to measure again, ascending.

    Raises:
        UserError: If the run has no summary.
    """
    summary = run_dir / "summary.json"
    if not summary.is_file():
        raise UserError(f"{run_dir}: not a finished run: summary.json is missing")
    paths = json.loads(summary.read_text())["paths"]
    servable = Path(paths["servable"])
    loaded = load_ranker(servable)
    ranker = loaded.ranker
    # Few targets of many users say more than many of one, and a window's scores stay small.
    small = dataclasses.replace(ranker.config, targets_per_window=_TARGETS_PER_USER, users_per_batch=1)
    examples = Path(paths["examples"])
    windows = window_dataset(_files(examples, "eval"), loaded.schema, small, shuffle=True)
    eval_batches = list(windows.take(-(-targets // _TARGETS_PER_USER)))
    fresh = measure(ranker, eval_batches, DEPTHS)
    train = window_dataset(_files(examples, "train"), loaded.schema, ranker.config, shuffle=True).repeat()
    by_age = {0: fresh.hit_at[100]} | _by_age(ranker, iter(train), eval_batches, ages)
    return ConsistencyReport(servable, fresh, by_age)


def _by_age(
    ranker: TwinRanker, train: Iterator[RawBatch], eval_batches: Sequence[RawBatch], ages: Sequence[int]
) -> dict[int, float]:
    ranker.compile(optimizer=ranker.optimizer_for_training())
    step = tf.function(ranker.train_step, reduce_retracing=True)
    done, hits = 0, {}
    for age in ages:
        for _ in range(age - done):
            step(next(train))
        done = age
        hits[age] = measure(ranker, eval_batches, [100]).hit_at[100]
    return hits


def _files(examples: Path, split: str) -> list[str]:
    return sorted(str(path) for path in (examples / f"Split-{split}").glob("*.gz"))
