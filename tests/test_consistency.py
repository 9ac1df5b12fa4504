"""`twin consistency` on a small exported model."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.consistency import Consistency
from model.errors import UserError
from model.export import export
from pipelines import consistency
from pipelines.consistency import ConsistencyReport, eval_windows, hits_by_age, run_consistency
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, SMALL, tensors, toy_ranker, toy_request, toy_schema
from tests.training_data import user_row, write


def write_run(run: Path, history: int) -> Path:
    """A run of an untrained model, whose users have so many behaviours."""
    fast = dataclasses.replace(
        SMALL, retrieved=100, history_length=300, dense_learning_rate=0.1, embedding_learning_rate=0.1
    )
    export(toy_ranker(fast), toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, run / "servable")
    rng = np.random.default_rng(0)
    for split in ("train", "eval"):
        (run / "examples" / f"Split-{split}").mkdir(parents=True)
        write(run / "examples" / f"Split-{split}" / "part.gz", [user_row(rng, history, 12) for _ in range(8)])
    paths = {"servable": str(run / "servable"), "examples": str(run / "examples")}
    (run / "summary.json").write_text(json.dumps({"paths": paths}))
    return run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ConsistencyReport:
    run = write_run(tmp_path_factory.mktemp("run"), history=300)
    return run_consistency(run, targets=32, ages=[3], dtypes=["float32", "int8"])


def test_histories_too_short_to_search_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path, history=60)
    with pytest.raises(UserError, match="none of the 32 eval targets drawn sees more than retrieved = 100 behaviours"):
        run_consistency(run, targets=32, ages=[])


def test_a_fresh_table_finds_all_that_attention_would_choose(report: ConsistencyReport) -> None:
    assert report.fresh.targets >= 20
    assert set(report.fresh.hit_at.values()) == {100.0}
    assert report.fresh.history > 100
    assert report.by_dtype["float32"].hit_at_100 == 100.0


def test_an_older_table_finds_less(report: ConsistencyReport) -> None:
    assert 50 < report.by_age[3] < 100


def test_a_smaller_type_finds_a_little_less(report: ConsistencyReport) -> None:
    whole, quarter = report.by_dtype["float32"], report.by_dtype["int8"]
    assert whole.projection_bytes == 4 * quarter.projection_bytes
    assert 85 <= quarter.hit_at_100 <= 100
    assert whole.auc is not None and quarter.auc is not None
    assert abs(whole.auc - quarter.auc) < 0.05
    assert report.as_json()["by_table_dtype"]["int8"]["projection_bytes"] == quarter.projection_bytes


@pytest.mark.parametrize("keeps_optimiser", [True, False])
def test_a_table_ages_under_the_optimiser_that_is_there(keeps_optimiser: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker, steps = toy_ranker(), 0
    monkeypatch.setattr(consistency, "_OPTIMISER_STEPS", 4)
    monkeypatch.setattr(consistency, "measure", lambda *_: Consistency({2: float(steps)}, 1, 1.0))
    raw = toy_request(np.random.default_rng(0))
    raw["label"] = np.zeros(raw["candidate/item_id"].shape, np.float32)
    raw["weight"] = np.ones_like(raw["label"])

    def batches() -> Iterator[dict[str, tf.Tensor]]:
        nonlocal steps
        while True:
            steps += 1
            yield tensors(raw)

    if keeps_optimiser:
        ranker.compile(optimizer=ranker.optimizer_for_training())
    before = ranker.optimizer
    hits = hits_by_age(ranker, batches(), [], [1, 3], retrieved=2)
    filling = 0 if keeps_optimiser else 4
    assert hits == {1: filling + 1, 3: filling + 3}
    assert (ranker.optimizer is before) == keeps_optimiser


def test_what_is_measured_comes_from_all_users_and_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users = [user_row(rng, 30, 40) for _ in range(10)]
    file = write(tmp_path / "eval.gz", users)
    config = dataclasses.replace(SMALL, history_length=30)
    windows = eval_windows([file], toy_schema(), config, targets=40)
    assert sum(int(np.count_nonzero(window["weight"])) for window in windows) == 40
    first_of = [int(window["request/timestamp"][0, 0]) for window in windows]
    owners = [next(u for u, row in enumerate(users) if at in row["target/timestamp"]) for at in first_of]
    assert len(set(owners)) > 4
    places = {list(users[u]["target/timestamp"]).index(at) for u, at in zip(owners, first_of, strict=True)}
    assert len(places) > 4


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a finished run: summary\.json is missing"):
        run_consistency(tmp_path, 10, [])
