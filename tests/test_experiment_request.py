"""What `twin experiment` is asked for, and what it says of mistakes."""

import dataclasses
from pathlib import Path

import pytest

from model.errors import UserError
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.contenders import MODELS, choose, not_compared
from pipelines.experiments.request import ExperimentRequest


def request(
    out: Path, name: str = "overall", models: str = "", budget: str = "quick", rates: str = ""
) -> ExperimentRequest:
    return ExperimentRequest(name, None, out, None, models, budget, rates, None, "")


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model dine; there are twin, avg_pooling, "):
        request(tmp_path, models="twin,dine")
    with pytest.raises(UserError, match="--models: expected names separated by commas, got ','"):
        request(tmp_path, models=",")
    with pytest.raises(UserError, match=r"NAME: expected overall, rolling, consistency, .* got 'everything'"):
        request(tmp_path, "everything")
    with pytest.raises(UserError, match=r"--models: ablation compares twin, sim_soft, .*; got eta, din"):
        request(tmp_path, "ablation", "eta,din")


@pytest.mark.parametrize("rates", ["fast", "1,,3", "1,1", "0", "-1", "nan", "inf"])
def test_unusable_rates_are_told(rates: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--rates: expected different factors above 0, .* got '{rates}'"):
        request(tmp_path, budget="full", rates=rates)


def test_a_file_is_no_folder_of_results(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.touch()
    with pytest.raises(UserError, match=r"--out .*results: a file; expected a folder"):
        request(file)
    with pytest.raises(UserError, match=r"--out .*results/below: cannot be written \(Not a directory\)"):
        request(file / "below").make_out()
    for name in ("cells", "prepared", "overall"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match=rf"--out .*/{name}: cannot be written \(File exists\)"):
            request(tmp_path).make_out()
        (tmp_path / name).unlink()


def test_given_rates_take_the_place_of_the_budgets(tmp_path: Path) -> None:
    for rates, expected in (("", BUDGETS["full"].rate_factors), ("0.5, 2", (0.5, 2.0))):
        chosen = request(tmp_path, budget="full", rates=rates).chosen_budget()
        assert chosen == dataclasses.replace(BUDGETS["full"], rate_factors=expected)


def test_models_are_chosen_in_one_order() -> None:
    assert choose("din, twin", "overall") == ["twin", "din"]
    assert choose("", "overall") == list(MODELS)
    assert choose("twin, din, eta", "consistency") == ["twin", "eta"]
    assert choose("", "lives") == ["twin"]
    assert choose("SIM-hard, twin-without-bias", "case") == ["sim_hard", "twin_without_bias"]


def test_what_is_asked_for_and_not_compared_is_named() -> None:
    assert not_compared("din, twin, Avg-Pooling, din", "case") == ["din", "avg_pooling"]
    assert not_compared("din, twin", "overall") == not_compared("", "case") == []
