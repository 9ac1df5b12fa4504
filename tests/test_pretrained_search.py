"""Pre-training and clustering of items, on a world of two tastes."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.catalog import read_catalog
from model.config import TwinConfig
from model.search_features import SearchArray
from model.sim_auxiliary import SimAuxiliary
from model.train import TrainingError, assign_search, build_ranker
from pipelines.pretrained_search import (
    ItemEmbeddings,
    cluster_embeddings,
    fit_search_features,
    load_search_features,
    pretrain_embeddings,
    save_search_features,
)
from tests.toy import ENCODERS, NOW, SMALL, toy_schema
from tests.training_data import write

ITEMS = np.arange(12) + 100
TASTE = np.arange(12) % 2
UNSEEN = 112
CONFIG = dataclasses.replace(
    SMALL,
    search_width=4,
    epochs=20,
    embedding_learning_rate=0.1,
    dense_learning_rate=0.02,
    users_per_batch=15,
    targets_per_window=8,
)
Files = tuple[list[str], list[str]]


def user_row(rng: np.random.Generator) -> dict[str, Any]:
    """A user of one taste: all behaviours are of it, and of the targets those that are get the label 1."""
    taste = rng.integers(0, 2)
    target = rng.permutation(ITEMS)[:8]
    return {
        "user_id": b"u",
        "history/item_id": rng.choice(ITEMS[taste == TASTE], 10),
        "history/timestamp": NOW - 10**6 + np.arange(10),
        "history/play_seconds": np.full(10, 3, np.float32),
        "history/completion": np.full(10, 0.5, np.float32),
        "history/liked": np.ones(10, np.int64),
        "target/item_id": target,
        "target/timestamp": NOW + np.arange(8),
        "target/label": (TASTE[target - 100] == taste).astype(np.float32),
        "target/history_end": np.full(8, 10),
        "target/page_position": np.zeros(8, np.int64),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """All items have the same features but their ids; one was never seen."""
    folder = tmp_path_factory.mktemp("tastes")
    rng = np.random.default_rng(0)
    users = [user_row(rng) for _ in range(60)]
    items = [
        {"item_id": i, "frequency": 0 if i == UNSEEN else 9, "author_id": 500, "topics": [1], "duration_seconds": 1.0}
        for i in [*ITEMS, UNSEEN]
    ]
    return [write(folder / "train.gz", users)], [write(folder / "catalog.gz", items)]


@pytest.fixture(scope="module")
def embeddings(files: Files) -> ItemEmbeddings:
    return pretrain_embeddings(toy_schema(), CONFIG, ENCODERS, *files)


def test_items_of_one_taste_are_nearer_by_inner_product(embeddings: ItemEmbeddings) -> None:
    assert embeddings.values.shape == (13, 4)
    assert embeddings.values.dtype == np.float32
    np.testing.assert_array_equal(embeddings.ids, [*ITEMS, UNSEEN])
    np.testing.assert_array_equal(embeddings.seen, [True] * 12 + [False])
    product = embeddings.values[:12] @ embeddings.values[:12].T
    same = (TASTE[:, np.newaxis] == TASTE) & ~np.eye(12, dtype=bool)
    np.testing.assert_allclose(embeddings.values[:12].mean(axis=0), 0, atol=1e-5)  # all twelve occur equally often
    assert product[same].min() > product[TASTE[:, np.newaxis] != TASTE].max()


def test_the_embeddings_are_of_averaged_weights(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[np.ndarray]] = []
    models: list[SimAuxiliary] = []

    class Recorded(SimAuxiliary):
        def fit(self, *args: Any, callbacks: list[tf.keras.callbacks.Callback], **options: Any) -> Any:
            models.append(self)
            step = tf.keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: seen.append([w.numpy() for w in self.trainable_variables])
            )
            return super().fit(*args, callbacks=[step, *callbacks], **options)

    monkeypatch.setattr("pipelines.pretrained_search.SimAuxiliary", Recorded)
    averaged = pretrain_embeddings(toy_schema(), dataclasses.replace(CONFIG, ema_momentum=0.9), ENCODERS, *files)
    shares = 0.9 ** np.arange(len(seen))[::-1]
    (model,) = models
    for at, weight in enumerate(model.trainable_variables):
        expected = np.tensordot(shares / shares.sum(), np.stack([step[at] for step in seen]), 1)
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    index = read_catalog(files[1], toy_schema(), ENCODERS, CONFIG).index
    values = model.project(index).numpy()
    # All but the unseen item occur equally often.
    np.testing.assert_allclose(averaged.values, values - values[:12].mean(axis=0), atol=1e-5)


def test_clusters_are_the_tastes(embeddings: ItemEmbeddings) -> None:
    found = cluster_embeddings(embeddings, 2, seed=1)
    assert found.values.dtype == np.int32
    of_taste = [set(found.values[:12][taste == TASTE]) for taste in (0, 1)]
    assert of_taste in ([{1}, {2}], [{2}, {1}])
    # Known by its other features.
    assert found.values[12] in (1, 2)


def test_the_seed_decides_the_clusters() -> None:
    rng = np.random.default_rng(0)
    many = ItemEmbeddings(np.arange(300), rng.normal(size=[300, 4]).astype(np.float32), np.ones(300, bool))
    first = cluster_embeddings(many, 20, seed=1).values
    np.testing.assert_array_equal(first, cluster_embeddings(many, 20, seed=1).values)
    assert (first != cluster_embeddings(many, 20, seed=2).values).any()
    assert set(first) == set(range(1, 21))


def test_clusters_group_by_direction_and_leave_out_what_has_none() -> None:
    values = np.array([[9, 0], [0, 1], [0.1, 0], [0, 7], [0, 0], [5, 1]], np.float32)
    found = cluster_embeddings(ItemEmbeddings(np.arange(6), values, np.ones(6, bool)), 2, seed=0).values
    assert found[0] == found[2] == found[5] != found[1] == found[3]
    assert found[4] == 0
    assert set(found) == {0, 1, 2}


def test_fewer_items_than_clusters(caplog: pytest.LogCaptureFixture) -> None:
    # Pairs of directions: 4 seen items give 2 clusters, not 1,000 of one item each.
    values = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1], [0, 5]], np.float32)
    seen = np.array([True, True, True, True, False])
    with caplog.at_level(logging.WARNING):
        found = cluster_embeddings(ItemEmbeddings(np.arange(5), values, seen), 1_000, seed=3).values
    assert "2 clusters instead of 1000: training saw only 4 items" in caplog.text
    assert found.min() == 1
    assert found.max() <= 2
    nothing = ItemEmbeddings(np.arange(2), np.zeros([2, 2], np.float32), np.ones(2, bool))
    np.testing.assert_array_equal(cluster_embeddings(nothing, 1_000, seed=3).values, [0, 0])


def test_items_never_seen_move_no_centroid() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=[60, 3]).astype(np.float32)
    seen = np.arange(60) < 30
    found = cluster_embeddings(ItemEmbeddings(np.arange(60), values, seen), 5, seed=0).values
    values[30:] = rng.normal(size=[30, 3])
    moved = cluster_embeddings(ItemEmbeddings(np.arange(60), values, seen), 5, seed=0).values
    np.testing.assert_array_equal(found[:30], moved[:30])
    assert (found[30:] != moved[30:]).any()


def test_sim_soft_gets_the_embeddings_that_the_seed_decides(
    files: Files, embeddings: ItemEmbeddings, tmp_path: Path
) -> None:
    def fit(seed: int) -> dict[str, SearchArray]:
        config = dataclasses.replace(CONFIG, interest="sim_soft", seed=seed)
        return fit_search_features(
            toy_schema(), config, ENCODERS, *files, lambda done, total, text: steps.append((done, total))
        )

    steps: list[tuple[int, int]] = []
    soft = fit(1)
    # 60 users in windows of all their 8 targets: 4 steps of 15, 20 times.
    assert steps == [(done, 80) for done in range(1, 81)]
    assert set(soft) == {"embedding"}
    np.testing.assert_allclose(soft["embedding"].values, embeddings.values, atol=1e-4)
    assert np.abs(fit(2)["embedding"].values - embeddings.values).max() > 0.01
    in_table = table_with(soft, dataclasses.replace(CONFIG, interest="sim_soft"), files)["embedding"]
    np.testing.assert_array_equal(in_table, np.concatenate([np.zeros([1, 4]), soft["embedding"].values]))
    save_search_features(soft, tmp_path)
    loaded = load_search_features(tmp_path)
    assert set(loaded) == {"embedding"}
    np.testing.assert_array_equal(loaded["embedding"].ids, soft["embedding"].ids)
    np.testing.assert_array_equal(loaded["embedding"].values, soft["embedding"].values)


def test_sim_cluster_plus_gets_clusters_that_fit_its_table(files: Files) -> None:
    config = dataclasses.replace(CONFIG, interest="sim_cluster_plus", epochs=1)
    search = fit_search_features(toy_schema(), config, ENCODERS, *files)
    assert set(search) == {"cluster"}
    # 12 items seen: 6 clusters instead of 10,000.
    assert 1 <= search["cluster"].values.min() < search["cluster"].values.max() <= 6
    np.testing.assert_array_equal(table_with(search, config, files)["cluster"], [0, *search["cluster"].values])


def table_with(search: dict[str, SearchArray], config: TwinConfig, files: Files) -> Mapping[str, tf.Variable]:
    """What the item table of a ranker to be trained holds of the arrays."""
    catalog = read_catalog(files[1], toy_schema(), ENCODERS, config)
    ranker = build_ranker(toy_schema(), config, ENCODERS, catalog)
    assign_search(ranker, catalog, search)
    return ranker.item_table.search


def test_other_modules_get_nothing() -> None:
    assert fit_search_features(toy_schema(), CONFIG, ENCODERS, ["not read"], ["not read"]) == {}


def test_without_targets_there_is_nothing_to_learn(files: Files, tmp_path: Path) -> None:
    whole = user_row(np.random.default_rng(0))
    row = {name: values for name, values in whole.items() if not name.startswith("target/")}
    with pytest.raises(TrainingError, match="no target"):
        pretrain_embeddings(toy_schema(), CONFIG, ENCODERS, [write(tmp_path / "u.gz", [row])], files[1])
