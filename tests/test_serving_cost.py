"""Servables are timed in turns, and the median of the rounds counts."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from model.config import TwinConfig
from pipelines.experiments import serving_cost
from pipelines.experiments.ablation import ablation
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.efficiency import efficiency
from pipelines.experiments.report import Outcome
from pipelines.experiments.scored import METRICS
from pipelines.experiments.serving_cost import serving_costs
from pipelines.experiments.study import Setting, Study
from tests.counted import Counted

MODELS = ["twin", "sim_soft", "twin_raw_mhta"]
BUDGET = dataclasses.replace(BUDGETS["full"], timing_rounds=3)


def test_the_median_of_rounds_in_which_models_take_turns_counts() -> None:
    """The machine is slow in the second round, and stumbles over one model in the third."""
    times = {"twin": [2.0, 6.0, 2.5], "eta": [1.0, 3.0, 90.0]}
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def cell(name: str, identity: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        asked.append((name, identity))
        return {"p50_ms": times[identity["model"]][identity["round"] - 1], "servable_mb": 7.0}

    study = SimpleNamespace(
        budget=BUDGET,
        config=TwinConfig(),
        about={"machine": "here"},
        identity_of=lambda model, module, **more: {"model": model} | more,
        cell=cell,
    )
    costs = serving_costs(cast(Study, study), ["twin", "eta"])
    assert costs == {"twin": {"p50_ms": 2.5, "servable_mb": 7.0}, "eta": {"p50_ms": 3.0, "servable_mb": 7.0}}
    assert [name for name, _ in asked] == [f"serving-{m}-round{n}" for n in (1, 2, 3) for m in ("twin", "eta")]
    assert all(identity["machine"] == "here" for _, identity in asked)


def test_the_full_budget_has_a_median() -> None:
    assert BUDGETS["full"].timing_rounds >= 3


@pytest.mark.parametrize("diverged", [None, "twin", "sim_soft"])
@pytest.mark.parametrize("experiment", [efficiency, ablation])
def test_progress_counts_every_round(
    experiment: Callable[[Study], Outcome], diverged: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(self: Study, setting: Setting) -> dict[str, Any]:
        report = {"loss": None if setting.model == diverged else 0.5, "targets_per_s": 5.0, "machine": "here"}
        metrics = dict.fromkeys(METRICS, 0.5)
        return {"train": report, "eval": metrics, "test": metrics | {"targets": 9}}

    def measure(study: Study, model: str, servable: Path) -> dict[str, float]:
        return dict.fromkeys(("p50_ms", "p99_ms", "peak_rss_mb", "model_rss_mb", "servable_mb"), 1.0)

    monkeypatch.setattr(Study, "_train", train)
    monkeypatch.setattr(serving_cost, "_measure", measure)
    data = cast(Prepared, SimpleNamespace(fingerprint="f", oracle={}))

    def run() -> Counted:
        display = Counted()
        experiment(Study(data, TwinConfig(), BUDGET, 2, MODELS, tmp_path, display, {"machine": "here"}))
        return display

    first, again = run(), run()
    timed = 3 * (3 if diverged is None else 2)
    trained = 3 * len(BUDGET.rate_factors) + (3 if experiment is ablation else 0)
    assert (first.expected, len(first.made)) == (trained + timed, trained + timed)
    assert (again.expected, len(again.made)) == (0, 0)
