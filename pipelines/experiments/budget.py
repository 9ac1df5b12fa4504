"""How much an experiment may cost."""

import dataclasses
from typing import Any, Literal

from model.config import TwinConfig

BudgetName = Literal["quick", "full"]


@dataclasses.dataclass(frozen=True)
class Budget:
    """Sizes of an experiment, the same for every model.

    Attributes:
        name: `quick` or `full`.
        seeds: Trainings of each model with its best learning rates.
        rate_factors: The search space: factors on both learning rates of the configuration. Each is tried once by
            every model, with the first seed; the highest AUC on the eval split wins.
        config: Configuration values that it sets.
        lengths: Shares of the history length at which `length` trains besides the whole.
        simulation: Users, events per user, items and targets (None = 30 % of the events) of the data simulated where
            none are given.
        periods: Parts of the test range for `rolling`, where the data set names none.
        measured_targets: Targets whose search `consistency` looks into.
        table_ages: Training steps by which `consistency` ages TWIN's item table.
        requests: Requests that `efficiency` and `ablation` time for each model in a round.
        timing_rounds: Rounds in which each model's requests are timed.
        candidates: Candidates of each of them.
    """

    name: BudgetName
    seeds: int
    rate_factors: tuple[float, ...]
    config: dict[str, Any]
    lengths: tuple[float, ...]
    simulation: tuple[int, int, int, int | None]
    periods: int
    measured_targets: int
    table_ages: tuple[int, ...]
    requests: int
    timing_rounds: int
    candidates: int

    def apply(self, config: TwinConfig) -> TwinConfig:
        """`config` with the values that the budget sets."""
        return dataclasses.replace(config, **self.config)


BUDGETS: dict[str, Budget] = {
    "quick": Budget(
        name="quick",
        seeds=1,
        rate_factors=(1.0,),
        config={
            "heads": 2,
            "head_dim": 16,
            "id_width": 16,
            "search_width": 16,
            "mlp": (64, 32),
            "history_length": 384,
            "users_per_batch": 4,
            "targets_per_window": 32,
        },
        lengths=(0.2,),
        simulation=(40, 450, 800, 3_000),
        periods=2,
        measured_targets=40,
        table_ages=(1, 10),
        requests=50,
        timing_rounds=1,
        candidates=50,
    ),
    "full": Budget(
        name="full",
        seeds=5,
        rate_factors=(0.3, 1.0, 3.0),
        config={},
        lengths=(0.01, 0.1, 0.3),
        simulation=(200, 13_000, 20_000, 200_000),
        periods=5,
        measured_targets=400,
        table_ages=(1, 3, 10, 30, 100),
        requests=200,
        timing_rounds=3,
        candidates=100,
    ),
}
