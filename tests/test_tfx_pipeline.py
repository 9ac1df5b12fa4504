"""The whole pipeline, small: one process and one run directory for all tests, as importing TFX takes half a minute."""

import dataclasses
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from model.config import TwinConfig
from model.errors import UserError
from model.schema import load_schema
from model.servable_table import TableRows, read_table, replace_table
from pipelines.score_metrics import score_metrics, within_item_auc
from pipelines.scoring import read_scores
from pipelines.tfx.kubeflow_runner import compile_pipeline
from pipelines.tfx.local_runner import run
from pipelines.tfx.plan import make_plan
from pipelines.tfx.servable_check import check_servable

DAY_MS = 86_400_000
USERS, ITEMS, EVENTS = 60, 80, 120
CONFIG = TwinConfig(
    heads=2,
    head_dim=4,
    retrieved=10,
    history_length=64,
    short_term_length=8,
    id_width=8,
    feature_width=4,
    mlp=(16,),
    users_per_batch=4,
    targets_per_window=8,
    epochs=3,
    dense_learning_rate=0.01,
    quantile_buckets=8,
    min_auc=0.7,
    max_auc_drop=0.05,
)
RESOLVERS = {"LastBlessedBase", "LastBlessedBaseline"}


def write_data(folder: Path, days: int, inverted: bool = False) -> Path:
    """A log of `days` days on which users like the items of even authors; train, eval and test are the last six days.

    With `inverted`, a broken log: the clicks of the training period are the wrong way round.
    """
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(USERS), EVENTS)
    item = rng.integers(0, ITEMS, len(user))
    time = np.sort(rng.integers(0, 20 * DAY_MS, [USERS, EVENTS]), axis=1).ravel()
    click = rng.random(len(user)) < np.where(item % 2 == 0, 0.9, 0.1)
    borders = [day * DAY_MS for day in (days - 6, days - 2, days - 1, days)]
    if inverted:
        click ^= (time >= borders[0]) & (time < borders[1])
    events = pa.table(
        {
            "user_id": user,
            "item_id": item,
            "timestamp": time,
            "click": click.astype(np.int64),
            "is_behaviour": (rng.random(len(user)) < 0.8).astype(np.int64),
            "play_seconds": pa.array(rng.exponential(20, len(user)), pa.float32()),
            "completion": pa.array(rng.random(len(user)), pa.float32()),
            "liked": rng.integers(0, 2, len(user)),
            "page_position": rng.integers(0, 5, len(user)),
        }
    )
    items = pa.table(
        {
            "item_id": np.arange(ITEMS),
            "author_id": np.arange(ITEMS) % 4,
            "topics": [[i % 3, i % 5] for i in range(ITEMS)],
            "duration_seconds": pa.array(rng.exponential(60, ITEMS), pa.float32()),
        }
    )
    users = pa.table(
        {"user_id": np.arange(USERS), "age_group": np.arange(USERS) % 3, "activity": ["low", "high"] * (USERS // 2)}
    )
    folder.mkdir()
    pq.write_table(events.filter(pa.array(time < borders[3])), folder / "events.parquet")
    pq.write_table(items, folder / "items.parquet")
    pq.write_table(users, folder / "users.parquet")
    names = ("train_start_ms", "eval_start_ms", "test_start_ms", "end_ms")
    content = {"schema": "simulated", "oracle": None, "split": dict(zip(names, borders, strict=True))}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@dataclasses.dataclass
class Runs:
    """Summaries of the runs, in their order, all in one run directory; and the progress events of the first."""

    run_dir: Path
    first: Mapping[str, Any]
    progress: list[Mapping[str, Any]]
    again: Mapping[str, Any]
    stricter: Mapping[str, Any]
    second_span: Mapping[str, Any]
    second_span_again: Mapping[str, Any]
    broken: Mapping[str, Any]
    versions: list[str]
    folder_removed: Mapping[str, Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("tfx")
    run_dir = folder / "runs" / "one"
    versions: list[str] = []

    def run_broken() -> Mapping[str, Any]:
        summary = run(run_dir, broken, "simulated", CONFIG)
        versions.extend(sorted(p.name for p in (run_dir / "servable").iterdir() if p.name.isdecimal()))
        return summary

    def run_without_folder() -> Mapping[str, Any]:
        (run_dir / "servable").rename(run_dir / "removed")
        return run(run_dir, span_2, "simulated", CONFIG)

    span_1, span_2 = write_data(folder / "span_1", 14), write_data(folder / "span_2", 20)
    broken = write_data(folder / "broken", 20, inverted=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TWIN_PROGRESS_FILE", raising=False)
        first = run(run_dir, span_1, "simulated", CONFIG)
        progress = [json.loads(line) for line in (run_dir / "progress.jsonl").read_text().splitlines()]
        yield Runs(
            run_dir,
            first,
            progress,
            again=run(run_dir, span_1, "simulated", CONFIG),
            stricter=run(run_dir, span_1, "simulated", dataclasses.replace(CONFIG, min_auc=0.999)),
            second_span=run(run_dir, span_2, "simulated", CONFIG),
            second_span_again=run(run_dir, span_2, "simulated", CONFIG),
            broken=run_broken(),
            versions=versions,
            folder_removed=run_without_folder(),
        )


def ran(summary: Mapping[str, Any]) -> set[str]:
    """Components that did not come from the cache; resolvers look anew every time."""
    return {name for name, figures in summary["components"].items() if not figures["cached"]} - RESOLVERS


def test_first_run_is_blessed_and_pushed(runs: Runs) -> None:
    assert runs.first["blessed"]
    assert runs.first["pushed"]
    assert runs.first["version"] == 1
    assert runs.first["servable_check"] == "passed"
    assert runs.first["training"]["base_model"] is None
    assert runs.first["metrics"]["eval"]["auc"] > 0.75
    assert runs.first["anomalies"] == {}
    assert len(ran(runs.first)) == 14


def test_pushed_servable_is_whole(runs: Runs) -> None:
    servable = runs.run_dir / "servable" / "1"
    for name in ("saved_model.pb", "assets.extra/twin.json", "assets.extra/tf_serving_warmup_requests"):
        assert (servable / name).is_file()
    about = json.loads((servable / "assets.extra" / "twin.json").read_text())
    assert about["table_rows"] == ITEMS + 1
    assert about["table_coverage"] == 1.0
    assert set(tf.saved_model.load(str(servable)).signatures) == {
        "serving_default",
        "explain",
        "project_items",
        "serve_examples",
    }
    assert not list(servable.parent.glob(".tmp-*"))


def test_tfma_agrees_with_exact_metrics_of_the_same_scores(runs: Runs) -> None:
    scores = read_scores((Path(runs.first["paths"]["scores"]) / "Split-eval").glob("*.gz"), "prediction")
    exact = score_metrics(list(zip(scores["label"], scores["prediction"], strict=True)))
    found = runs.first["metrics"]["eval"]
    assert found["targets"] == exact["targets"] == runs.first["counts"]["events"]["target_eval"]
    assert found["auc"] == pytest.approx(exact["auc"], abs=1e-3)
    assert found["auc"] == pytest.approx(
        roc_auc_score(np.concatenate(scores["label"]), np.concatenate(scores["prediction"])), abs=1e-3
    )
    assert found["positives"] == sum(int(labels.sum()) for labels in scores["label"])
    flat = (np.concatenate(scores[name]) for name in ("item_id", "label", "prediction"))
    assert found["auc_within_item"] == within_item_auc(*flat)
    for name in ("gauc", "logloss", "calibration"):
        assert found[name] == pytest.approx(exact[name], rel=1e-5), name
    by_slice = runs.first["metrics"]["eval_by_history_length"]
    assert sum(part["targets"] for part in by_slice.values()) == exact["targets"]


def test_progress_and_latest(runs: Runs) -> None:
    assert [e["component"] for e in runs.progress if e["event"] == "started"][-1] == "Pusher"
    finished = {e["component"] for e in runs.progress if e["event"] == "finished"}
    assert finished == set(runs.first["components"])
    steps = [e for e in runs.progress if e["event"] == "progress" and e["component"] == "TwinTrainer"]
    assert steps[-1]["done"] == steps[-1]["total"]
    assert (runs.run_dir.parent / "latest").read_text().strip() == str(runs.run_dir)
    assert all(figures["peak_rss_gb"] > 0 for figures in runs.first["components"].values())


def test_rerun_without_change_is_all_cached(runs: Runs) -> None:
    assert ran(runs.again) == set()
    assert runs.again["metrics"] == runs.first["metrics"]
    assert runs.again["version"] == 1


def test_stricter_threshold_runs_the_evaluation_alone_and_refuses(runs: Runs) -> None:
    assert ran(runs.stricter) == {"Evaluator", "Pusher"}
    assert not runs.stricter["blessed"]
    assert not runs.stricter["pushed"]


def test_second_span_starts_from_the_last_blessed_model_and_is_compared_with_it(runs: Runs) -> None:
    assert "TwinTrainer" in ran(runs.second_span)
    # The first span's training targets end on day 12, the second's begin on day 14: a warm start learns none twice.
    base_model = runs.second_span["training"]["base_model"]
    assert "servable" in base_model
    assert runs.second_span["training"]["warm_start"] == f"from {base_model}"
    assert runs.second_span["metrics"]["last_blessed_on_eval"]["auc"] > 0.7
    assert runs.second_span["blessed"]
    assert runs.second_span["version"] == 2
    assert ran(runs.second_span_again) == set()


def test_a_model_of_the_same_time_range_is_not_started_from(runs: Runs) -> None:
    training = runs.broken["training"]
    assert training["base_model"] is None
    # Trained to day 18, as the second span was; its own targets begin on day 14.
    assert training["warm_start"] == (
        "none: the last blessed model was trained on targets up to 1970-01-19 00:00:00 UTC, this train split starts "
        "at 1970-01-15 00:00:00 UTC: it would learn the targets between twice"
    )


def test_model_of_a_broken_log_is_neither_blessed_nor_pushed(runs: Runs) -> None:
    metrics = runs.broken["metrics"]
    assert metrics["eval"]["auc"] < metrics["last_blessed_on_eval"]["auc"] - CONFIG.max_auc_drop
    assert not runs.broken["blessed"]
    assert not runs.broken["pushed"]
    assert runs.broken["servable_check"] == "passed"
    assert runs.versions == ["1", "2"]


def test_a_removed_folder_gets_its_model_back(runs: Runs) -> None:
    assert ran(runs.folder_removed) == {"Pusher"}
    assert (runs.run_dir / "servable" / "1" / "saved_model.pb").is_file()


def test_what_the_user_can_mend_is_reported_as_such(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.json: missing"):
        run(tmp_path / "run", tmp_path, "simulated", CONFIG)
    last = json.loads((tmp_path / "run" / "progress.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["user_error"]) == ("failed", True)


def test_a_damaged_table_does_not_pass_the_servable_check(runs: Runs, tmp_path: Path) -> None:
    servable = runs.run_dir / "servable" / "1"
    assert check_servable(servable) is None
    rows = read_table(servable)
    damaged = TableRows(
        rows.ids, rows.projection + np.float32(1), rows.scale, rows.index | {"author_id": 0 * rows.index["author_id"]}
    )
    replace_table(servable, damaged, tmp_path / "damaged")
    assert "differ" in str(check_servable(tmp_path / "damaged"))
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"no model")
    assert "does not load" in str(check_servable(tmp_path / "damaged"))


def test_compiles_for_kubeflow(runs: Runs, tmp_path: Path) -> None:
    plan = make_plan(runs.run_dir.parents[1] / "span_1", load_schema("simulated"), CONFIG, tmp_path)
    compile_pipeline(plan, "gs://bucket/twin", "registry.example/twin:1", tmp_path / "pipeline.json")
    spec = json.loads((tmp_path / "pipeline.json").read_text())["pipelineSpec"]
    executors = spec["deploymentSpec"]["executors"]
    classes = {
        args[args.index("--executor_class_path") + 1]
        for executor in executors.values()
        if (args := executor.get("container", {}).get("args"))
    }
    assert len(classes) >= 12
    own = sorted(path for path in classes if path.startswith("pipelines."))
    assert {path.rsplit(".", 2)[-2] for path in own} >= {"trainer", "example_gen", "item_projector", "target_scorer"}
    for path in own:
        # What the container does with it.
        module, name = path.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), name)
