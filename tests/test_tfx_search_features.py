"""The pipeline of a model that searches by pre-trained clusters, small."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.config import InterestName
from model.schema import load_schema
from pipelines.pretrained_search import load_search_features
from pipelines.tfx.dag import components
from pipelines.tfx.local_runner import run
from pipelines.tfx.plan import make_plan
from tests.test_tfx_pipeline import CONFIG, ITEMS, write_data

CLUSTERS = dataclasses.replace(CONFIG, interest="sim_cluster", epochs=1, min_auc=0.0)


def test_only_models_that_need_it_have_the_component(tmp_path: Path) -> None:
    data, schema = write_data(tmp_path / "data", 14), load_schema("simulated")

    def ids(interest: InterestName) -> list[str]:
        config = dataclasses.replace(CONFIG, interest=interest)
        return [node.id for node in components(make_plan(data, schema, config, tmp_path))]

    twin = ids("twin")
    assert len(twin) == 16
    assert "SearchFeatures" not in twin
    at = twin.index("TwinTrainer")
    searching: list[InterestName] = ["sim_soft", "sim_cluster", "sim_cluster_plus"]
    for interest in searching:
        assert ids(interest) == [*twin[:at], "SearchFeatures", *twin[at:]]


def test_clusters_go_from_the_training_split_to_the_pushed_servable(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", write_data(tmp_path / "data", 14), "simulated", CLUSTERS)
    assert summary["pushed"]
    assert summary["servable_check"] == "passed"
    [artifact] = (tmp_path / "run" / "pipeline" / "SearchFeatures" / "search_features").iterdir()
    cluster = load_search_features(artifact)["cluster"]
    np.testing.assert_array_equal(cluster.ids, np.arange(ITEMS))
    # 80 items: 40 clusters at most, instead of 1,000.
    assert 1 <= cluster.values.min() <= cluster.values.max() <= ITEMS // 2
    assert summary["training"]["clusters"] == cluster.values.max()
    servable = tf.saved_model.load(summary["paths"]["servable"])
    np.testing.assert_array_equal(servable.item_table.search["cluster"], [0, *cluster.values])
    assert {"serving_default", "explain"} <= set(servable.signatures)
