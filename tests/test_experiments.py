"""`twin experiment` on a small simulated data set, from raw tables to the report."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.ranker import TwinRanker
from model.train import Progress
from pipelines.experiments import lives, runner, study
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.cells import CellStore
from pipelines.experiments.charts import bars, lines
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.overall import verdict
from pipelines.experiments.report import Outcome, Table, p_value, render
from pipelines.experiments.request import HEADINGS, ExperimentRequest
from pipelines.experiments.runner import EXPERIMENTS, run_experiment
from pipelines.experiments.scored import Scored, Scorer
from pipelines.experiments.statistics import best, closed, mean_and_std, paired_p
from pipelines.experiments.training import fit_further
from pipelines.tfx.fingerprints import code_fingerprint
from tests.counted import Counted

TINY = dataclasses.replace(
    BUDGETS["quick"],
    rate_factors=(1.0,),
    simulation=(20, 300, 100, 900),
    timing_rounds=2,
    config={**BUDGETS["quick"].config, "history_length": 128, "retrieved": 20},
)


def run(out: Path, name: str = "overall", models: str = "twin,avg_pooling") -> tuple[dict[str, Any], Counted]:
    display = Counted()
    command = f"twin experiment {name} --out {out}"
    request = ExperimentRequest(name, None, out, None, models, "quick", "", None, command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUDGETS, "quick", TINY)
        return run_experiment(request, display), display


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def first(out: Path) -> tuple[dict[str, Any], Counted]:
    return run(out)


def test_overall_measures_every_model(first: tuple[dict[str, Any], Counted]) -> None:
    result, display = first
    assert set(result["models"]) == {"twin", "avg_pooling"}
    for values in result["models"].values():
        assert 0.3 < values["auc"] < 1 and 0.3 < values["gauc"] < 1 and 0 < values["logloss"] < 2
        assert values["auc_std"] is None and values["p_against_twin"] is None
    assert result["models"]["avg_pooling"]["oracle_distance_closed_percent"] == 0
    assert 0.5 < result["oracle"]["auc"] < 1
    assert display.expected == len(display.made) == 2


def test_the_report_holds_what_makes_it_again(first: tuple[dict[str, Any], Counted], out: Path) -> None:
    report = (out / "overall" / "report.html").read_text()
    result = json.loads((out / "overall" / "result.json").read_text())
    for part in ("Avg-Pooling", "oracle", "<svg", "p against TWIN", "factors 1 on both learning rates"):
        assert part in report
    for part in ("command", "code_version", "data_fingerprint", "config"):
        assert result["record"][part]
    assert f"twin experiment overall --out {out}" in report
    assert result["record"]["data_fingerprint"] in report
    assert "src=" not in report and "href=" not in report, "the report must need nothing beside it"
    picture = (out / "overall" / "auc.svg").read_text()
    assert picture.startswith("<svg xmlns=") and picture.strip() in report


def test_a_finished_cell_is_not_made_again(first: tuple[dict[str, Any], Counted], out: Path) -> None:
    (twin,) = (out / "cells").glob("twin-seed1-*.json")
    (lost,) = (out / "cells").glob("avg_pooling-seed1-*.json")
    untouched, before = twin.stat().st_mtime_ns, json.loads(lost.read_text())
    state = lost.with_suffix("") / "files.json"
    weights = state.stat().st_mtime_ns
    lost.unlink()
    result, display = run(out)
    assert display.made == ["avg_pooling-seed1-rate1"]
    assert twin.stat().st_mtime_ns == untouched
    assert state.stat().st_mtime_ns > weights, "metrics and weights must be of one training"
    again = json.loads(lost.read_text())
    assert again["fingerprint"] == before["fingerprint"]
    assert again["result"]["test"]["auc"] == pytest.approx(before["result"]["test"]["auc"], abs=0.01)
    assert result["models"]["twin"]["auc"] == first[0]["models"]["twin"]["auc"]


def test_a_catalog_too_small_for_its_clusters_is_told(first: tuple[dict[str, Any], Counted], out: Path) -> None:
    result, _ = run(out, models="sim_cluster_plus")
    (cell,) = (out / "cells").glob("sim_cluster_plus-seed1-*.json")
    clusters = json.loads(cell.read_text())["result"]["train"]["clusters"]
    assert 1 < clusters <= 50, "of 100 items"
    told = (
        f"SIM Cluster+: {clusters} of 10,000 clusters hold items: there are at most half as many as items in training"
    )
    assert any(warning.startswith(told) for warning in result["warnings"])


def test_rolling_tests_each_period_before_it_is_learned_from(
    first: tuple[dict[str, Any], Counted], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []

    class Watched(Scorer):
        def __call__(self, files: Sequence[str]) -> Scored:
            seen.append(("tested", list(files)))
            return super().__call__(files)

    def learned(ranker: TwinRanker, data: Prepared, files: Sequence[str], progress: Progress) -> None:
        seen.append(("learned", list(files)))
        fit_further(ranker, data, files, progress)

    monkeypatch.setattr(study, "Scorer", Watched)
    monkeypatch.setattr(study, "fit_further", learned)
    result, display = run(out, "rolling", "twin")
    (evaluated, one, then, two) = seen
    assert evaluated[0] == "learned" and "Split-eval" in evaluated[1][0]
    assert one[0] == "tested" and then == ("learned", one[1])
    assert two[0] == "tested" and two[1] != one[1]
    assert display.made == ["rolling-twin-seed1-rate1"]
    assert len(result["auc_by_period"]["twin"]) == 2
    # All test targets, each once.
    cut = json.loads(next((out / "cells").glob("twin-seed1-*.json")).read_text())["result"]["test"]
    assert sum(result["targets_by_period"]) == cut["targets"]
    assert 0.3 < result["models"]["twin"]["auc"] < 1
    assert result["models"]["twin"]["auc"] != cut["auc"]
    assert "AUC by period" in (out / "rolling" / "report.html").read_text()


def test_length_trains_anew_at_each_shorter_history(first: tuple[dict[str, Any], Counted], out: Path) -> None:
    result, display = run(out, "length", "twin")
    assert result["lengths"] == [26, 128]
    assert display.made == ["twin-seed1-rate1-length26"]
    by_length = result["models"]["twin"]
    assert by_length["128"]["auc"] == first[0]["models"]["twin"]["auc"] != by_length["26"]["auc"]
    (short,) = (out / "cells").glob("twin-seed1-rate1-length26-*.json")
    assert "history_length: 26\n" in json.loads(short.read_text())["identity"]["config"]
    assert "Leads are not tested for significance; seeds of each training: 1." in result["warnings"]
    assert "GAUC by history length" in (out / "length" / "report.html").read_text()


def test_lives_compares_whole_clustered_lives_with_the_latest_behaviours(
    first: tuple[dict[str, Any], Counted], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {name: lives.VARIANTS[name] for name in ("twin_v2", "twin")}
    monkeypatch.setattr(lives, "VARIANTS", two)
    result, display = run(out, "lives", "twin")
    assert display.made == ["lives-twin_v2-seed1", "lives-twin-seed1"]
    assert result["record"]["seeds"] == [1]
    assert "TWIN-V2, clustering the histories" in display.shown
    assert result["record"]["search_space"].startswith("TWIN, whose rates all variants take: ")
    variants = result["variants"]
    # Nobody has more than 450 events, of which TWIN sees 128; whole lives in clusters hold them all.
    assert variants["twin_v2"]["clusters"]["max_size"] <= 20
    assert 0.05 < variants["twin_v2"]["clusters"]["compression"] < 0.9
    for values in variants.values():
        assert 0.3 < values["gauc"] < 1 and values["p_against_twin_v2"] is None
        assert values["retrieval"]["targets"] > 10 and values["retrieval"]["distinct_categories"] > 1
        assert 0 < values["retrieval"]["hit_percent"] <= 100
    assert "What the search retrieves" in (out / "lives" / "report.html").read_text()


def test_other_experiments_share_the_trainings(first: tuple[dict[str, Any], Counted], out: Path) -> None:
    result, display = run(out, "case", "twin,din")
    assert display.made == ["case-twin"]
    assert result["record"]["seeds"] == [1]
    assert "DIN (100 most recent): asked for, and nothing that case compares." in result["warnings"]
    values = result["models"]["twin"]
    assert 0 < values["retrieved"] <= 20
    assert [row["rank"] for row in values["searched"]] == list(range(1, len(values["searched"]) + 1))
    assert "topics" in result["items"][str(result["target"]["item_id"])]
    assert "most attention" in (out / "case" / "report.html").read_text()


def test_a_fresh_table_finds_what_attention_would_choose(first: tuple[dict[str, Any], Counted], out: Path) -> None:
    result, _ = run(out, "consistency", "twin")
    assert result["models"]["twin"]["targets"] > 10
    assert result["models"]["twin"]["hit_at"]["20"] > 99.9
    by_age = result["twin_by_table_age"]["hit_at_k_by_age"]
    assert by_age["0"] > 99.9 > by_age["10"] > 50
    assert result["twin_by_table_age"]["training_steps"] >= 5
    assert result["verdicts"][0].startswith("TWIN finds 100.0 of the ESU's own top 20")
    theme = result["models"]["twin"]["theme"]
    assert theme["targets"] > 10
    assert 20 < theme["found"] <= 100 and 20 < theme["attended"] <= 100
    assert "which only the simulator sees" in (out / "consistency" / "report.html").read_text()


def test_a_servable_is_timed_in_a_process_of_its_own(
    first: tuple[dict[str, Any], Counted], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early: set[str] = set()
    asked: set[str] = set()
    for module, modules in ((runner, early), (study, asked)):

        def fingerprint(name: str, modules: set[str] = modules) -> str:
            modules.add(name)
            return code_fingerprint(name)

        monkeypatch.setattr(module, "code_fingerprint", fingerprint)
    result, display = run(out, "efficiency", "twin")
    assert asked and asked <= early  # of the code as it was when the experiment began
    assert display.made == ["serving-twin-round1", "serving-twin-round2"]
    values = result["models"]["twin"]
    assert values["training_targets_per_s"] > 0 and values["servable_mb"] > 0
    assert 0 < values["p50_ms"] <= values["p99_ms"]
    assert 0 < values["model_rss_mb"] < values["peak_rss_mb"]


def test_a_servable_is_timed_with_no_more_candidates_than_it_takes(
    first: tuple[dict[str, Any], Counted], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(TINY, config={**TINY.config, "max_candidates": 7})
    monkeypatch.setitem(globals(), "TINY", few)
    result, _ = run(out, "efficiency", "avg_pooling")
    assert result["models"]["avg_pooling"]["p50_ms"] > 0
    assert "and 7 candidates a request" in (out / "efficiency" / "report.html").read_text()


def test_a_cell_of_another_identity_is_not_taken(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.put("a", {"seed": 1}, {"auc": 0.5}, {})
    assert store.find("a", {"seed": 1}) == {"auc": 0.5}
    assert store.find("a", {"seed": 2}) is None
    for damaged in ("half a fi", "[]"):
        store.file("a", {"seed": 1}).write_text(damaged)
        assert store.find("a", {"seed": 1}) is None


def test_statistics_by_hand() -> None:
    mean, std = mean_and_std([1.0, 3.0, None])
    assert mean == 2 and std == pytest.approx(2**0.5)
    assert mean_and_std([1.0]) == (1.0, None)
    # Differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom.
    assert paired_p([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == pytest.approx(0.0742, abs=1e-4)
    assert paired_p([1.0], [2.0]) is None
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert closed(0.75, 0.7, 0.8) == pytest.approx(50)
    assert closed(0.75, None, 0.8) is None
    assert best({"a": 0.5, "b": None, "c": 0.7}, ["a", "b"]) == "a"


def test_a_twin_that_is_not_first_is_told_first() -> None:
    means: dict[str, dict[str, float | None]] = {"twin": {"auc": 0.7}, "eta": {"auc": 0.8}, "din": {"auc": 0.6}}
    verdicts, warnings = verdict(["twin", "eta", "din"], means, {"eta": 0.001})
    assert verdicts == []
    assert warnings[0].startswith("TWIN is NOT first on these data: ETA has AUC 0.8000, TWIN 0.7000")
    html = render("x", Outcome(verdicts, warnings, [Table("t", ["a"], [[1.5]])], {}), [])
    assert html.index("NOT first") < html.index("<table")
    means["twin"]["auc"] = 0.9
    verdicts, warnings = verdict(["twin", "eta", "din"], means, {"eta": 0.001})
    assert verdicts[0].startswith("TWIN is first: AUC 0.9000; the best rival, ETA") and warnings == []
    means["twin_raw_mhta"] = {"auc": 0.91}
    _, warnings = verdict(["twin", "eta", "din", "twin_raw_mhta"], means, {"eta": 0.001})
    assert warnings == ["TWIN w/ Raw MHTA, an ablation of TWIN, is ahead of it: AUC 0.9100."]


def test_a_tiny_p_is_not_zero() -> None:
    assert [p_value(p) for p in (None, 0.0421, 4.3e-7)] == ["–", "0.042", "4.3e-07"]


def test_every_experiment_has_a_heading() -> None:
    assert set(EXPERIMENTS) == set(HEADINGS)


def test_charts_survive_what_is_undefined() -> None:
    assert "–" in bars([("a", None, None), ("b", 0.7, 0.01)])
    assert "nothing to show" in lines({"a": [(1, None)]}, "x", "y")
    assert "&lt;b&gt;" in lines({"<b>": [(10, 1.0), (100, 2.0)]}, "x", "y")
