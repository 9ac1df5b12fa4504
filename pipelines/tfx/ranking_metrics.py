"""The ranking metrics as TFMA metrics over one Example per user, whose labels and predictions are lists."""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from tensorflow_model_analysis.metrics import metric_types

from pipelines.score_metrics import log_losses, user_auc

Floats = npt.NDArray[np.floating[Any]]


class Gauc(metric_types.Metric):
    """Group AUC: `sum_u n_u AUC_u / sum_u n_u` over the users u with both classes, n_u samples each, ties one half.

    NaN where no user has both classes. Section 4.3 of the paper.
    """

    def __init__(self, name: str = "gauc") -> None:
        super().__init__(_computations(_GaucCombiner), name=name)


class LogLoss(metric_types.Metric):
    """Mean cross entropy of the targets (TFMA's own averages over Examples, here users)."""

    def __init__(self, name: str = "logloss") -> None:
        super().__init__(_computations(_LogLossCombiner), name=name)


class TargetCount(metric_types.Metric):
    """Number of targets (TFMA's own counts Examples, here users)."""

    def __init__(self, name: str = "targets") -> None:
        super().__init__(_computations(_TargetCountCombiner), name=name)


class PositiveCount(metric_types.Metric):
    """Number of targets with label 1."""

    def __init__(self, name: str = "positives") -> None:
        super().__init__(_computations(_PositiveCountCombiner), name=name)


for _metric in (Gauc, LogLoss, TargetCount, PositiveCount):
    metric_types.register_metric(_metric)

Sums = tuple[float, float]
"""Sum of the values, sum of their weights."""


class _UserCombiner(beam.CombineFn, abc.ABC):  # type: ignore[misc]
    def __init__(self, key: metric_types.MetricKey) -> None:
        self._key = key

    @abc.abstractmethod
    def of_user(self, labels: Floats, predictions: Floats) -> Sums:
        """What one user adds; both arrays [T]."""

    def create_accumulator(self) -> Sums:
        return 0.0, 0.0

    def add_input(self, accumulator: Sums, element: metric_types.StandardMetricInputs) -> Sums:
        value, weight = self.of_user(self._of_model(element.label), self._of_model(element.prediction))
        return accumulator[0] + value, accumulator[1] + weight

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        merged = list(accumulators)
        return sum(value for value, _ in merged), sum(weight for _, weight in merged)

    def extract_output(self, accumulator: Sums) -> dict[metric_types.MetricKey, float]:
        value, weight = accumulator
        return {self._key: value / weight if weight else float("nan")}

    def _of_model(self, values: Any) -> Floats:
        # With two models TFMA hands over a dictionary by model name; with one, the bare array.
        return np.ravel(values[self._key.model_name] if isinstance(values, Mapping) else values)


class _GaucCombiner(_UserCombiner):
    def of_user(self, labels: Floats, predictions: Floats) -> Sums:
        auc = user_auc(labels, predictions)
        return (0.0, 0.0) if auc is None else (auc * labels.size, float(labels.size))


class _LogLossCombiner(_UserCombiner):
    def of_user(self, labels: Floats, predictions: Floats) -> Sums:
        return float(log_losses(labels, predictions).sum()), float(labels.size)


class _CountCombiner(_UserCombiner):
    def extract_output(self, accumulator: Sums) -> dict[metric_types.MetricKey, float]:
        return {self._key: accumulator[0]}


class _TargetCountCombiner(_CountCombiner):
    def of_user(self, labels: Floats, predictions: Floats) -> Sums:
        return float(labels.size), 0.0


class _PositiveCountCombiner(_CountCombiner):
    def of_user(self, labels: Floats, predictions: Floats) -> Sums:
        return float((labels > 0.5).sum()), 0.0


def _computations(combiner: type[_UserCombiner]) -> Callable[..., list[metric_types.MetricComputation]]:
    # TFMA passes what it finds among the parameter names.
    def computations(name: str, model_names: Sequence[str] | None = None) -> list[metric_types.MetricComputation]:
        keys = [metric_types.MetricKey(name=name, model_name=model) for model in model_names or [""]]
        return [metric_types.MetricComputation([key], preprocessors=None, combiner=combiner(key)) for key in keys]

    return computations
