"""The pipeline of a model of clustered histories: what is wired to what, and the components that only it has."""

import pipelines  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads, which TFX imports

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types.standard_artifacts import Examples, Model

from model.export import export
from model.schema import load_schema
from pipelines.scoring import read_scores
from pipelines.tfx.dag import PLAIN_TRAINER, components
from pipelines.tfx.history_clusterer import HistoryClusterer
from pipelines.tfx.local_runner import beam_arguments
from pipelines.tfx.plan import make_plan
from pipelines.tfx.run_records import Output, last_run_outputs
from pipelines.tfx.summary import CLUSTERER, _clustering, _learned_from
from pipelines.tfx.target_scorer import TargetScorer
from pipelines.warmup_requests import write_warmup_requests
from serving.warmup import first_predict_request
from tests.test_tfx_pipeline import CONFIG, DAY_MS, write_data
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, SMALL, toy_ranker, toy_schema
from tests.training_data import catalog_rows, user_row, write

V2 = dataclasses.replace(SMALL, interest="twin_v2", max_cluster_size=4, recluster_after=10)
BEHAVIOURS, TARGETS = 150, 12


def test_everything_after_the_clusterer_works_on_clustered_examples(tmp_path: Path) -> None:
    data, schema = write_data(tmp_path / "data", 14), load_schema("simulated")
    plain = components(make_plan(data, schema, CONFIG, tmp_path))
    config = dataclasses.replace(CONFIG, interest="twin_v2")
    nodes = {node.id: node for node in components(make_plan(data, schema, config, tmp_path))}
    ids = [node.id for node in plain]
    at = ids.index("TwinTrainer")
    assert list(nodes) == [*ids[:at], PLAIN_TRAINER, CLUSTERER, *ids[at:]]
    for node, source in {
        "StatisticsGen": "SequenceExampleGen",
        "UserTransform": "SequenceExampleGen",
        PLAIN_TRAINER: "SequenceExampleGen",
        CLUSTERER: "SequenceExampleGen",
        "TwinTrainer": CLUSTERER,
        "ServableAssembler": CLUSTERER,
        "TargetScorer": CLUSTERER,
    }.items():
        assert nodes[node].inputs["examples"].producer_component_id == source, node
    assert nodes[CLUSTERER].inputs["model"].producer_component_id == PLAIN_TRAINER
    for node, base, before in ((PLAIN_TRAINER, "LastBlessedBase", 8), ("TwinTrainer", PLAIN_TRAINER, 12)):
        assert nodes[node].inputs["base_model"].producer_component_id == base
        assert nodes[node].exec_properties["base_before_ms"] == before * DAY_MS
    for node in ("ItemProjector", "ServableAssembler"):
        assert nodes[node].inputs["model"].producer_component_id == "TwinTrainer"
    trained = {node: nodes[node].exec_properties["config"] for node in (PLAIN_TRAINER, "TwinTrainer")}
    assert trained[PLAIN_TRAINER] == trained["TwinTrainer"].replace("interest: twin_v2", "interest: twin")


@dataclasses.dataclass
class Clustered:
    """What the two components made of three users, one of them without a history, and the servable that scored."""

    outputs: dict[str, dict[str, Output]]
    servable: Path

    def records(self, split: str) -> list[tf.train.Features]:
        files = sorted((self.outputs[CLUSTERER]["clustered_examples"].uri / f"Split-{split}").glob("*.gz"))
        dataset = tf.data.TFRecordDataset([str(file) for file in files], compression_type="GZIP")
        return [tf.train.Example.FromString(record).features.feature for record in dataset.as_numpy_iterator()]


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Clustered:
    folder = tmp_path_factory.mktemp("tfx_twin_v2")
    rng = np.random.default_rng(0)
    for name in ("examples/Split-train", "examples/Split-eval", "examples/Split-test", "catalog/Split-catalog"):
        (folder / name).mkdir(parents=True)
    for split in ("train", "eval", "test"):
        rows = [{**user_row(rng, n, TARGETS), "user_id": f"u{n}".encode()} for n in (BEHAVIOURS, BEHAVIOURS + 1, 0)]
        for row, first in zip(rows, (120, 121, 0), strict=True):
            row["target/history_end"] = np.linspace(first, len(row["history/item_id"]), TARGETS).astype(np.int64)
        write(folder / "examples" / f"Split-{split}" / "data.gz", rows)
    write(folder / "catalog" / "Split-catalog" / "data.gz", catalog_rows(rng))
    (folder / "model").mkdir()
    servable = folder / "model" / "Format-Serving"
    export(toy_ranker(V2), toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, servable)

    def given(name: str, kind: type, **properties: str) -> tfx.dsl.Importer:
        return tfx.dsl.Importer(str(folder / name), kind, properties=properties).with_id(f"Given_{name}")

    examples = given("examples", Examples, split_names='["train", "eval", "test"]')
    catalog = given("catalog", Examples, split_names='["catalog"]')
    model = given("model", Model)
    clusterer = HistoryClusterer(
        examples=examples.outputs["result"],
        catalog=catalog.outputs["result"],
        model=model.outputs["result"],
        schema_folder="simulated",
        config=V2.to_yaml(),
        code_fingerprint="",
    )
    scorer = TargetScorer(
        examples=clusterer.outputs["clustered_examples"], servable=model.outputs["result"], code_fingerprint=""
    )
    metadata = folder / "metadata.sqlite"
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="clustered",
        pipeline_root=str(folder / "pipeline"),
        components=[examples, catalog, model, clusterer, scorer],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(metadata)),
        beam_pipeline_args=beam_arguments(()),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    return Clustered(last_run_outputs(metadata), servable)


def test_every_target_keeps_its_place_and_every_behaviour_is_counted(clustered: Clustered) -> None:
    for split in ("train", "eval", "test"):
        records = clustered.records(split)
        assert len(records) > 3  # a further Example begins after 10 more behaviours
        by_user: dict[bytes, int] = {}
        for feature in records:
            user = feature["user_id"].bytes_list.value[0]
            by_user[user] = by_user.get(user, 0) + len(feature["target/item_id"].int64_list.value)
            sizes = feature["history/cluster_size"].int64_list.value
            assert len(sizes) == len(feature["history/item_id"].int64_list.value)
            assert max(sizes, default=1) <= V2.max_cluster_size
        assert by_user == {f"u{n}".encode(): TARGETS for n in (BEHAVIOURS, BEHAVIOURS + 1, 0)}
    assert not (clustered.outputs[CLUSTERER]["report"].uri / "vectors").exists()


def test_the_summary_tells_the_compression(clustered: Clustered, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"steps": 7}')
    outputs = clustered.outputs | {PLAIN_TRAINER: {"model_run": Output(tmp_path, {})}}
    told = _clustering(outputs)
    assert told["plain_training"] == {"steps": 7}
    assert list(told["clustering"]) == ["train", "eval", "test"]
    for figures in told["clustering"].values():
        assert 0.25 <= figures["compression"] < 1
        assert figures["targets"] == 3 * TARGETS
    assert _learned_from(outputs) == clustered.outputs[CLUSTERER]["clustered_examples"]
    assert _clustering({}) == {}


def test_a_users_targets_are_scored_together_with_the_length_of_the_life(clustered: Clustered) -> None:
    folder = clustered.outputs["TargetScorer"]["scores"].uri
    [file] = (folder / "Split-eval").glob("*.gz")
    assert [len(labels) for labels in read_scores([file], "prediction")["label"]] == [TARGETS] * 3
    signature = tf.saved_model.load(str(clustered.servable)).signatures["serve_examples"]
    wanted: dict[bytes, list[float]] = {}
    for feature in clustered.records("eval"):
        record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
        pctr = signature(examples=tf.constant([record]))["pctr"].numpy()[0]
        wanted.setdefault(feature["user_id"].bytes_list.value[0], []).extend(pctr.tolist())
    for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        user = feature["user_id"].bytes_list.value[0]
        np.testing.assert_allclose(feature["prediction"].float_list.value, wanted[user], atol=1e-6)
        # The first target sees 120 behaviours, in some 40 entries.
        assert feature["history_length"].bytes_list.value == [b"0-99" if user == b"u0" else b"100-999"]


def test_warm_up_requests_have_sizes(clustered: Clustered, tmp_path: Path) -> None:
    files = (clustered.outputs[CLUSTERER]["clustered_examples"].uri / "Split-train").glob("*.gz")
    assert write_warmup_requests(clustered.servable, [str(file) for file in files], toy_schema(), tmp_path) > 0
    inputs = first_predict_request(tmp_path).inputs
    assert inputs["history/cluster_size"].tensor_shape == inputs["history/item_id"].tensor_shape
    assert json.loads((clustered.servable / "assets.extra" / "twin.json").read_text())["schema"] == "simulated"
