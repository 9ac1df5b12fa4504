"""Training end to end on a handful of users: export, reload, warm start."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.encoders import Encoders, Vocabulary
from model.load import load_ranker
from model.train import TrainingError, TrainReport, fit_ranker, train
from tests.toy import ENCODERS, ITEM_IDS, SMALL, tensors, toy_ranker, toy_request, toy_schema
from tests.training_data import catalog_rows, user_row, write

CONFIG = dataclasses.replace(SMALL, epochs=12, embedding_learning_rate=0.3, dense_learning_rate=0.03)


@dataclasses.dataclass(frozen=True)
class Trained:
    out: Path
    report: TrainReport
    steps_reported: list[tuple[int, int]]
    examples: list[dict[str, Any]]
    files: tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    users = [user_row(rng, 25, 10) for _ in range(8)]
    files = [write(folder / "u.gz", users)], [write(folder / "c.gz", catalog_rows(rng))]
    steps: list[tuple[int, int]] = []
    report = train(
        toy_schema(),
        CONFIG,
        ENCODERS,
        *files,
        folder / "out",
        progress=lambda done, total, text: steps.append((done, total)),
        trained_before_ms=1234,
    )
    return Trained(folder / "out", report, steps, users, files)


def test_learns_and_reports(trained: Trained) -> None:
    # 8 users x 10 targets in windows of 4 = 24 windows = 12 steps of 2, 12 times.
    assert trained.report.targets == 8 * 10 * 12
    assert trained.report.steps == 144
    assert trained.steps_reported[-1] == (144, 144)
    assert trained.report.auc > 0.95


def test_the_exported_table_is_that_of_the_last_weights(trained: Trained) -> None:
    ranker = load_ranker(trained.out).ranker
    stored = ranker.item_table.projection.numpy()
    ranker.item_table.refresh(ranker.project_rows)
    np.testing.assert_allclose(stored, ranker.item_table.projection, atol=1e-6)


def test_the_table_is_refreshed_every_few_steps(tmp_path: Path) -> None:
    ranker = toy_ranker(dataclasses.replace(SMALL, table_refresh_steps=2))
    rng = np.random.default_rng(0)
    files = [write(tmp_path / "u.gz", [user_row(rng, 25, 10) for _ in range(3)])]  # 9 windows, 5 steps
    fresh: list[bool] = []

    class Watch(tf.keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            rows = tf.range(tf.shape(ranker.item_table.ids)[0])
            fresh.append(np.allclose(ranker.item_table.projection, ranker.project_rows(rows), atol=1e-7))

    fit_ranker(ranker, toy_schema(), files, lambda steps: Watch())
    # Keras announces one step more, before it finds no batch for it.
    assert fresh[:5] == [True, False, True, False, True]


def test_scores_in_a_process_without_this_project(trained: Trained, tmp_path: Path) -> None:
    raw = toy_request(np.random.default_rng(1), users=3, candidates=5)
    np.savez(tmp_path / "request.npz", **{k: v.astype("S") if v.dtype == object else v for k, v in raw.items()})
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "signature = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "request = {k: tf.constant(v) for k, v in np.load(sys.argv[2]).items()}\n"
        "np.save(sys.argv[3], signature(**request)['pctr'].numpy())\n"
        "assert not {'model', 'pipelines', 'serving'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(trained.out), str(tmp_path / "request.npz"), str(tmp_path / "pctr.npy")]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "", "PYTHONSAFEPATH": "1"})
    expected = load_ranker(trained.out).ranker(tensors(raw))
    np.testing.assert_allclose(np.load(tmp_path / "pctr.npy"), expected, atol=1e-5)


def test_serve_examples_scores_every_target_of_every_user(trained: Trained) -> None:
    rng = np.random.default_rng(3)
    users = [user_row(rng, 15, 9), user_row(rng, 4, 2)]
    file = write(trained.out.parent / "eval.gz", users)
    serialized = list(tf.data.TFRecordDataset(file, compression_type="GZIP"))
    pctr = tf.saved_model.load(str(trained.out)).signatures["serve_examples"](examples=tf.stack(serialized))["pctr"]
    assert pctr.shape == (2, 9)
    np.testing.assert_array_equal(pctr[1, 2:], np.zeros(7))
    ranker = load_ranker(trained.out).ranker
    for b, row in enumerate(users):
        window = {k: np.asarray(v)[None] for k, v in row.items() if k.startswith("history/")}
        window["history/length"] = np.array([len(window["history/item_id"][0])])
        window |= {k: np.array([row[k]]) for k in ("user/age_group", "user/activity")}
        window["candidate/item_id"] = np.asarray(row["target/item_id"])[None]
        window["candidate/history_end"] = np.asarray(row["target/history_end"])[None]
        window["request/timestamp"] = np.asarray(row["target/timestamp"])[None]
        window["context/page_position"] = np.asarray(row["target/page_position"])[None]
        count = window["candidate/item_id"].shape[1]
        np.testing.assert_allclose(pctr[b, :count], ranker(tensors(window))[0], atol=1e-5)


def test_explain_agrees_with_the_model(trained: Trained) -> None:
    raw = toy_request(np.random.default_rng(1), users=2, candidates=3)
    answer = tf.saved_model.load(str(trained.out)).signatures["explain"](**tensors(raw))
    logits, interest = load_ranker(trained.out).ranker.score(tensors(raw))
    np.testing.assert_allclose(answer["pctr"], tf.sigmoid(logits), atol=1e-5)
    np.testing.assert_array_equal(answer["retrieved/position"], interest.position)
    np.testing.assert_allclose(answer["retrieved/attention"], interest.attended.attention, atol=1e-5)
    for b, n, k in np.ndindex(2, 3, SMALL.retrieved):
        position = interest.position[b, n, k]
        expected = raw["history/item_id"][b, position] if position >= 0 else 0
        assert answer["retrieved/item_id"][b, n, k] == expected


def test_project_items_gives_the_tables_rows(trained: Trained) -> None:
    table = load_ranker(trained.out).ranker.item_table
    rng = np.random.default_rng(0)
    for _ in range(8):
        user_row(rng, 25, 10)
    rows = catalog_rows(rng)
    lengths = [len(np.atleast_1d(r["topics"])) for r in rows]
    topics = np.full((len(rows), 3), 4)
    for i, row in enumerate(rows):
        topics[i, : lengths[i]] = row["topics"]
    answer = tf.saved_model.load(str(trained.out)).signatures["project_items"](
        item_id=tf.constant(ITEM_IDS),
        author_id=tf.constant([r["author_id"] for r in rows], tf.int64),
        topics=tf.constant(topics, tf.int64),
        duration_seconds=tf.constant([r["duration_seconds"] for r in rows], tf.float32),
        **{"topics/length": tf.constant(lengths, tf.int64)},
    )
    np.testing.assert_allclose(answer["projection"], table.projection[1:], atol=1e-6)
    for name, values in table.index.items():
        np.testing.assert_array_equal(answer[f"index/{name}"], values[1:])


def test_a_warm_start_begins_where_the_old_model_ended(trained: Trained) -> None:
    # A later span: one author dropped, one new, the others in another order.
    values = ENCODERS.features["inherent/author_id"].values
    authors = Vocabulary("int64", (777, *values[:0:-1]))  # type: ignore[arg-type]
    encoders = Encoders({**ENCODERS.features, "inherent/author_id": authors})
    config = dataclasses.replace(CONFIG, epochs=1, embedding_learning_rate=1e-9, dense_learning_rate=1e-9)
    out = trained.out.parent / "warm"
    report = train(toy_schema(), config, encoders, *trained.files, out, base=trained.out)
    assert report.auc > 0.9
    old, new = load_ranker(trained.out).ranker, load_ranker(out).ranker
    before, after = old.embeddings_by_name()["inherent/author_id"], new.embeddings_by_name()["inherent/author_id"]
    row = 2 + authors.values.index(505)
    np.testing.assert_allclose(after[row], before[2 + values.index(505)], atol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)  # unknown authors
    np.testing.assert_array_equal(load_ranker(out).known_ids, load_ranker(trained.out).known_ids)


def test_two_runs_with_one_seed_are_equal(trained: Trained) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    losses = [
        train(toy_schema(), config, ENCODERS, *trained.files, trained.out.parent / f"seed{i}").loss for i in range(2)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_nothing_to_train_on_is_said(trained: Trained, tmp_path: Path) -> None:
    empty = write(tmp_path / "none.gz", [])
    with pytest.raises(TrainingError, match="no target"):
        train(toy_schema(), CONFIG, ENCODERS, [empty], trained.files[1], tmp_path / "out")


def test_what_the_servable_says_of_itself(trained: Trained) -> None:
    about = json.loads((trained.out / "assets.extra" / "twin.json").read_text())
    assert about["table_rows"] == len(ITEM_IDS) + 1
    assert about["projection_dim"] == 8
    assert about["schema"] == "simulated"
    assert about["trained_before_ms"] == 1234
