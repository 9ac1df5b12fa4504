"""What an experiment's cells depend on, and the choice of learning rates."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf

from model.config import TwinConfig
from model.errors import UserError
from model.train import DivergedError
from pipelines.experiments import ablation, case, efficiency, length, rolling
from pipelines.experiments import study as study_module
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.contenders import title
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.lives import lives
from pipelines.experiments.overall import compare
from pipelines.experiments.periods import Period
from pipelines.experiments.rolling import _undefined
from pipelines.experiments.scored import METRICS, Scored
from pipelines.experiments.study import Display, Setting, Study
from pipelines.experiments.training import _Clock
from tests.counted import Counted
from tests.training_data import user_row, write

RATES = (0.3, 1.0, 3.0)


def study(out: Path, monkeypatch: pytest.MonkeyPatch, eval_auc: dict[float, float | None]) -> Study:
    """A study whose trainings have these AUCs by rate."""

    def train(self: Study, setting: Setting) -> dict[str, Any]:
        metrics = dict.fromkeys(METRICS, 0.5) | {"auc": eval_auc[setting.rate]}
        return {"eval": metrics, "test": metrics}

    monkeypatch.setattr(Study, "train", train)
    budget = dataclasses.replace(BUDGETS["quick"], rate_factors=tuple(eval_auc))
    data = cast(Prepared, SimpleNamespace(fingerprint="f", oracle={}))
    return Study(data, TwinConfig(), budget, 2, ["twin", "eta"], out, cast(Display, None), {})


def test_the_rate_of_the_highest_eval_auc_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study(tmp_path, monkeypatch, {0.3: 0.6, 1.0: 0.8, 3.0: 0.7}).tuned_rate("twin") == 1.0
    assert study(tmp_path, monkeypatch, {0.3: None, 1.0: None, 3.0: 0.4}).tuned_rate("twin") == 3.0


def test_a_model_that_diverges_at_every_rate_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study(tmp_path, monkeypatch, dict.fromkeys(RATES)).tuned_rate("twin") == 0.3
    assert study(tmp_path, monkeypatch, {1.0: None}).tuned_rate("twin") == 1.0


def test_trainings_that_diverged_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.array([1, 1, 2]), np.array([5, 6, 5]), np.array([1.0, 0.0, 1.0])
    diverged = Scored(*numbers, np.array([0.5, math.nan, 0.5])).metrics()
    assert diverged == dict.fromkeys(METRICS) | {"targets": 3}
    well = Scored(*numbers, np.array([0.5, 0.4, 0.5])).metrics()
    runs = {"twin": [{"test": well}, {"test": well}], "eta": [{"test": diverged}, {"test": well}]}
    outcome = compare(study(tmp_path, monkeypatch, {1.0: 0.5}), runs)
    assert any(text.startswith("ETA: 1 of 2 trainings have no AUC") for text in outcome.warnings)
    json.dumps(outcome.values, allow_nan=False)


def test_a_pre_training_that_diverged_ends_one_model_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: Study, setting: Setting) -> None:
        raise DivergedError("the pre-trained embeddings are not numbers")

    monkeypatch.setattr(Study, "search", diverge)
    monkeypatch.setattr(Study, "catalog", lambda self: None)
    display = cast(Display, SimpleNamespace(expect=lambda cells: None, start=lambda text: None, done=lambda: None))
    data = cast(Prepared, SimpleNamespace(fingerprint="f", oracle={}))
    one = Study(data, TwinConfig(), BUDGETS["quick"], 1, ["sim_soft"], tmp_path, display, {})
    result = one.train(Setting("sim_soft"))
    assert result["eval"] == result["test"] == dict.fromkeys(METRICS)
    rolled = one.rolled("sim_soft", 1, [Period(0, []), Period(1, [])])
    assert [metrics["auc"] for metrics in (rolled["test"], *rolled["periods"])] == [None] * 3
    with pytest.raises(UserError, match="every training diverged"):
        one.sound_models()
    assert ablation.ablation(one).values["models"]["sim_soft"]["serving_p50_ms"] is None
    (text,) = [text for text in compare(one, {"sim_soft": [result]}).warnings if "diverged" in text]
    assert text.startswith("SIM Soft: 1 of 1 trainings have no AUC")


def test_lost_weights_are_trained_again_and_so_are_their_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aucs = iter([0.6, 0.7])
    monkeypatch.setattr(Study, "_train", lambda self, setting: {"eval": {"auc": next(aucs)}})
    monkeypatch.setattr(Study, "catalog", lambda self: None)
    monkeypatch.setattr(Study, "search", lambda self, setting: {})
    for unneeded in ("fresh_ranker", "load_state"):
        monkeypatch.setattr(study_module, unneeded, lambda *_: None)
    data = cast(Prepared, SimpleNamespace(fingerprint="f", oracle={}))

    def begin() -> Study:
        budget = dataclasses.replace(BUDGETS["quick"], rate_factors=(1.0,))
        return Study(data, TwinConfig(), budget, 1, ["twin"], tmp_path, Counted(), {})

    one = begin()
    one.display.expect(1)
    assert one.train(Setting("twin"))["eval"]["auc"] == 0.6
    one.ranker("twin")  # there is no folder of weights
    assert one.train(Setting("twin"))["eval"]["auc"] == begin().train(Setting("twin"))["eval"]["auc"] == 0.7


def test_the_training_speed_of_another_machine_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = study(tmp_path, monkeypatch, {1.0: 0.5})
    one.about, one.display = {"machine": "here"}, cast(Display, SimpleNamespace(expect=lambda cells: None))
    machines = {"twin": "here", "eta": "there"}

    def train(setting: Setting) -> dict[str, Any]:
        report = {"loss": 0.5, "targets_per_s": 5.0, "machine": machines[setting.model]}
        return {"eval": {"auc": 0.5}, "train": report}

    monkeypatch.setattr(one, "train", train)
    served = dict.fromkeys(("p50_ms", "p99_ms", "peak_rss_mb", "model_rss_mb", "servable_mb"), 1.0)
    monkeypatch.setattr(efficiency, "serving_costs", lambda study, models: dict.fromkeys(models, served))
    outcome = efficiency.efficiency(one)
    speeds = {model: values["training_targets_per_s"] for model, values in outcome.values["models"].items()}
    assert speeds == {"twin": 5.0, "eta": None}
    assert outcome.warnings == ["ETA was trained on another machine: its speed there is left out."]


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("diverged", ["twin", "twin_without_bias"])
def test_an_ablation_that_diverged_is_no_verdict(
    diverged: str, seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = study(tmp_path, monkeypatch, {1.0: 0.5})
    two.models, two.display = ["twin", "twin_without_bias"], cast(Display, SimpleNamespace(expect=lambda cells: None))
    known = two.train

    def train(setting: Setting) -> dict[str, Any]:
        failed = setting.model == diverged and (seeds == 2 or setting.seed == 1)
        test = known(setting)["test"] | {"gauc": None if failed else 0.6}
        return {"eval": test, "test": test, "train": {"loss": None if failed else 0.5}}

    def costs(study: Study, models: Sequence[str]) -> dict[str, dict[str, float]]:
        assert diverged not in models
        return {model: {"p50_ms": 1.0} for model in models}

    monkeypatch.setattr(two, "train", train)
    monkeypatch.setattr(ablation, "serving_costs", costs)
    outcome = ablation.ablation(two)
    assert outcome.verdicts == []
    told = "has no GAUC: nothing to compare." if seeds == 2 else "was not timed: its first training diverged."
    assert outcome.warnings == [f"{title(diverged)} {told}"]


@pytest.mark.parametrize(
    ("theirs", "slower", "expected"),
    [
        ([0.50, 0.51, 0.52], 1.0, ("verdict", "Against the claim")),
        ([0.59, 0.61, 0.60], 1.0, ("Not significant", "Against the claim")),
        ([0.59, 0.61, 0.60], 2.0, ("Not significant", "Not significant")),
        ([0.601, 0.611, 0.620], 2.0, ("Not significant", "verdict")),
        ([0.50, 0.51, 0.52], 2.0, ("verdict", "Against the claim")),
        ([0.70, 0.71, 0.72], 2.0, ("Against the claim", "Against the claim")),
    ],
)
def test_a_verdict_on_an_ablation_needs_significance(
    theirs: list[float],
    slower: float,
    expected: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second of a pair is of raw MHTA, which is meant to be as good and slower; the first of an ablation."""
    one = study(tmp_path, monkeypatch, {1.0: 0.5})
    one.models, one.seeds = ["twin", "twin_raw_mhta", "twin_without_bias"], [1, 2, 3]
    one.display = cast(Display, SimpleNamespace(expect=lambda cells: None))
    known = one.train

    def train(setting: Setting) -> dict[str, Any]:
        gauc = [0.600, 0.612, 0.621][setting.seed - 1] if setting.model == "twin" else theirs[setting.seed - 1]
        test = known(setting)["test"] | {"gauc": gauc}
        return {"eval": test, "test": test, "train": {"loss": 0.5}}

    monkeypatch.setattr(one, "train", train)
    costs = {model: {"p50_ms": slower if model == "twin_raw_mhta" else 1.0} for model in one.models}
    monkeypatch.setattr(ablation, "serving_costs", lambda study, models: costs)
    outcome = ablation.ablation(one)
    for model, kind in zip(("twin_without_bias", "twin_raw_mhta"), expected, strict=True):
        told = outcome.verdicts if kind == "verdict" else [w for w in outcome.warnings if w.startswith(kind)]
        assert any(f"{title(model)}: GAUC" in sentence for sentence in told)


def test_rolling_pairs_periods_where_one_seed_allows_no_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {model: [{"test": dict.fromkeys(METRICS, auc)}] for model, auc in {"twin": 0.7, "eta": 0.8}.items()}
    by_period = {"twin": [0.6, 0.7, 0.8], "eta": [0.7, 0.81, 0.9]}
    one = study(tmp_path, monkeypatch, {1.0: 0.5})
    assert any("(-0.1000; fewer than two seeds to pair" in text for text in compare(one, runs).warnings)
    outcome = compare(one, runs, by_period)
    assert any("(-0.1000; paired t-test over periods: p = " in text for text in outcome.warnings)
    assert outcome.values["models"]["eta"]["p_against_twin"] == pytest.approx(0.001, rel=0.1)


def test_models_whose_training_diverged_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = study(tmp_path, monkeypatch, {1.0: 0.5})
    expected: list[int] = []
    one.display = cast(Display, SimpleNamespace(expect=expected.append))
    loss = {"twin": 0.6, "eta": None}
    monkeypatch.setattr(Study, "train", lambda self, s: {"train": {"loss": loss[s.model]}, "eval": {"auc": 0.5}})
    assert one.sound_models() == (["twin"], ["ETA was left out: its training diverged."])
    assert expected == [-1]


def test_lives_ends_where_there_is_nothing_to_cluster_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = study(tmp_path, monkeypatch, {1.0: 0.5})
    one.display = cast(Display, SimpleNamespace(expect=lambda cells: None))
    monkeypatch.setattr(Study, "train", lambda self, s: {"train": {"loss": None}, "eval": {"auc": None}})
    with pytest.raises(UserError, match="TWIN's training diverged, so there are no vectors to cluster by"):
        lives(one)


def test_rolling_counts_the_targets_that_no_model_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = study(tmp_path, monkeypatch, {1.0: 0.5})
    one.models, one.display = ["sim_soft"], cast(Display, SimpleNamespace(expect=lambda cells: None))
    undefined = dict.fromkeys(METRICS) | {"targets": 0}
    monkeypatch.setattr(Study, "rolled", lambda *_: {"test": undefined, "periods": [undefined] * 2})
    file = write(tmp_path / "users.gz", [user_row(np.random.default_rng(0), 25, 10)])
    monkeypatch.setattr(rolling, "read_periods", lambda *_: [Period(10, [file]), Period(20, [])])
    outcome = rolling.rolling(one)
    assert outcome.values["targets_by_period"] == [10, 0]
    (told,) = [text for text in outcome.warnings if text.startswith("Period")]
    assert told == "Period 2, which begins at 20 ms, has no AUC: it has no target."


def test_periods_without_an_auc_are_told() -> None:
    periods = [Period(10, ["a"]), Period(20, []), Period(30, ["b"])]
    scored = {"auc": 0.6, "logloss": 0.5}
    undefined = dict.fromkeys(scored)
    sound = {"periods": [scored, undefined, {"auc": None, "logloss": 0.5}]}
    diverged = {"periods": [undefined] * 3}
    texts = _undefined(periods, [5, 0, 7], [diverged, sound])
    assert texts == [
        "Period 2, which begins at 20 ms, has no AUC: it has no target.",
        "Period 3, which begins at 30 ms, has no AUC: its 7 targets are of one class.",
    ]
    assert _undefined(periods, [5, 0, 7], [diverged]) == texts[:1]


def test_a_step_is_timed_with_its_share_of_a_refresh() -> None:
    clock = _Clock(lambda done, total, text: None)
    clock._seconds = [9.0, 1.0, 1.0, 4.0, 1.0, 1.0, 4.0, 1.0]
    assert clock.median_step(3) == 2.0
    assert clock.median_step(20) == pytest.approx(22 / 8)


def test_of_equal_lengths_one_is_trained() -> None:
    budget = dataclasses.replace(BUDGETS["full"], lengths=(0.01, 0.1, 0.3))
    short = SimpleNamespace(config=TwinConfig(history_length=10), budget=budget)
    assert length.lengths_of(cast(Study, short)) == [1, 3, 10]


def test_a_case_is_new_to_what_the_models_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two targets of one window with 3 and 6 behaviours before them, of which models see 3; item 7 came first."""
    window = {
        "user": tf.constant([1], tf.int64),
        "label": tf.constant([[1.0, 1.0]]),
        "weight": tf.constant([[1.0, 1.0]]),
        "candidate/item_id": tf.constant([[7, 7]], tf.int64),
        "candidate/history_end": tf.constant([[3, 6]]),
        "request/timestamp": tf.constant([[30, 60]], tf.int64),
        "history/item_id": tf.constant([[7, 1, 2, 3, 4, 5]], tf.int64),
    }
    config = TwinConfig(history_length=3, interest="twin_v2")  # a case's Examples are not clustered
    monkeypatch.setattr(case, "user_windows", lambda files, schema, config: [window] * (not config.clustered))
    data = SimpleNamespace(files=lambda split: [], schema=None)
    found, about = case._the_case(cast(Study, SimpleNamespace(data=data, config=config)))
    assert about == {"item_id": 7, "timestamp": 60, "label": 1.0, "seen": False, "history": 3}
    assert int(found["candidate/history_end"][0, 0]) == 6
    # Of targets that see as many, the first.
    window["candidate/item_id"] = tf.constant([[9, 9]], tf.int64)
    _, about = case._the_case(cast(Study, SimpleNamespace(data=data, config=config)))
    assert about["timestamp"] == 30
