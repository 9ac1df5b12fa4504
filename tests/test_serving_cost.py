"""Servables are timed in turns, and the median of the rounds counts."""

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from model.config import TwinConfig
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.serving_cost import serving_costs
from pipelines.experiments.study import Study


def test_the_median_of_rounds_in_which_each_model_has_its_turn_counts() -> None:
    """The machine is slow in the second round, and stumbles over one model in the third."""
    times = {"twin": [2.0, 6.0, 2.5], "eta": [1.0, 3.0, 90.0]}
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def cell(name: str, identity: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        asked.append((name, identity))
        return {"p50_ms": times[identity["model"]][identity["round"] - 1], "servable_mb": 7.0}

    study = SimpleNamespace(
        budget=dataclasses.replace(BUDGETS["full"], timing_rounds=3),
        config=TwinConfig(),
        about={"machine": "here"},
        identity_of=lambda model, module, **more: {"model": model} | more,
        cell=cell,
    )
    costs = serving_costs(cast(Study, study), ["twin", "eta"])
    assert costs == {"twin": {"p50_ms": 2.5, "servable_mb": 7.0}, "eta": {"p50_ms": 3.0, "servable_mb": 7.0}}
    assert [name for name, _ in asked] == [f"serving-{m}-round{n}" for n in (1, 2, 3) for m in ("twin", "eta")]
    assert all(identity["machine"] == "here" for _, identity in asked)
