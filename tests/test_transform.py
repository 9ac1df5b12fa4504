import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import metadata_io
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tfx_bsl.public import tfxio

from model.config import TwinConfig
from model.encoders import Boundaries, Encoders, Vocabulary, make_encoder
from model.schema import DatasetSchema, load_schema
from pipelines.beam_options import beam_options
from pipelines.example_schema import catalog_example_schema, user_example_schema
from pipelines.examples import Values, encode_example
from pipelines.transform import catalog_transform_config, preprocessing_fn, read_encoders, user_transform_config

EVENTS = """
feature { name: "user" type: INT annotation { tag: "id" } }
feature { name: "item" type: INT annotation { tag: "id" } }
feature { name: "time" type: INT annotation { tag: "timestamp" } }
feature { name: "click" type: INT annotation { tag: "label" } }
feature { name: "seconds" type: FLOAT annotation { tag: "cross" } }
feature { name: "liked" type: INT annotation { tag: "cross" } }
feature { name: "empty" type: FLOAT annotation { tag: "cross" } }
feature { name: "tab" type: BYTES annotation { tag: "context" } }
"""
ITEMS = """
feature { name: "item" type: INT annotation { tag: "id" } }
feature { name: "author" type: INT annotation { tag: "inherent" } }
feature { name: "words" type: BYTES value_count { max: 0 } annotation { tag: "inherent" } }
feature { name: "height" type: FLOAT annotation { tag: "inherent" } }
"""
USERS = """
feature { name: "user" type: INT annotation { tag: "id" } }
feature { name: "country" type: BYTES annotation { tag: "user" } }
"""
CONFIG = TwinConfig(min_value_frequency=3, quantile_buckets=4)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> DatasetSchema:
    folder = tmp_path_factory.mktemp("schema")
    for table, text in {"events": EVENTS, "items": ITEMS, "users": USERS}.items():
        (folder / f"{table}.pbtxt").write_text(text)
    return load_schema(folder)


def strings(values: Sequence[str]) -> pa.Array:
    return pa.array([v.encode() for v in values], pa.binary())


def users(count: int = 30) -> list[dict[str, Values]]:
    rng = np.random.default_rng(7)
    result = []
    for user in range(count):
        length, targets = int(rng.integers(0, 12)), int(rng.integers(1, 4))
        result.append(
            {
                "user_id": strings([str(user)]),
                "user/country": strings(["fr", "de", "seen once"][user % 2 : user % 2 + 1] if user else ["seen once"]),
                "history/item_id": rng.integers(0, 9, length),
                "history/timestamp": np.arange(length),
                "history/seconds": np.where(
                    rng.random(length) < 0.2, np.nan, rng.choice([0.0, 1.5, 2.5, 1e6], length) + rng.random(length)
                ).astype(np.float32),
                "history/liked": rng.choice([-1, 0, 1, 5, -7], length, p=[0.2, 0.4, 0.2, 0.1, 0.1]),
                "history/empty": np.full(length, np.nan, np.float32),
                "target/item_id": rng.integers(0, 9, targets),
                "target/timestamp": np.arange(targets),
                "target/history_end": np.zeros(targets, np.int64),
                "target/label": np.zeros(targets, np.float32),
                "target/tab": strings(list(rng.choice(["", "home", "search", "été"], targets))),
            }
        )
    result[0]["history/liked"] = np.append(result[0]["history/liked"], 99)
    return result


def items(count: int = 40) -> list[dict[str, Values]]:
    rng = np.random.default_rng(8)
    return [
        {
            "item_id": np.asarray([item]),
            "frequency": np.asarray([1]),
            "author": np.asarray([int(rng.integers(0, 20))][: item % 5], np.int64),
            "words": strings(list(rng.choice(["a", "b", "c", "rare " + str(item)], int(rng.integers(0, 4))))),
            "height": np.asarray([rng.normal() * 1e-3], np.float32),
        }
        for item in range(count)
    ]


def future_items(count: int = 10) -> list[dict[str, Values]]:
    """Items of which no training Example has an event."""
    return [
        {
            "item_id": np.asarray([1000 + item]),
            "frequency": np.asarray([0]),
            "author": np.asarray([77]),
            "words": strings(["a", "new"]),
            "height": np.asarray([1e9], np.float32),
        }
        for item in range(count)
    ]


def analyze(
    examples: Sequence[Mapping[str, Values]], schema: schema_pb2.Schema, config: Mapping[str, object], out: Path
) -> Path:
    records = out / "examples.tfrecord"
    with tf.io.TFRecordWriter(str(records)) as writer:
        for example in examples:
            writer.write(encode_example(example))
    source = tfxio.TFExampleRecord(str(records), schema=schema)
    with beam.Pipeline(options=beam_options()) as p, tft_beam.Context(str(out / "temporary")):
        data = p | source.BeamSource(batch_size=8)
        function = functools.partial(preprocessing_fn, custom_config=config)
        transform = (data, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(function)
        _ = transform | tft_beam.WriteTransformFn(str(out / "graph"))
    metadata_io.write_metadata(DatasetMetadata(schema), str(out / "graph" / "metadata"))
    return out / "graph"


@pytest.fixture(scope="module")
def graphs(schema: DatasetSchema, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    user = analyze(
        users(), user_example_schema(schema), user_transform_config(schema, CONFIG), tmp_path_factory.mktemp("user")
    )
    catalog = analyze(
        items() + future_items(),
        catalog_example_schema(schema),
        catalog_transform_config(schema, CONFIG),
        tmp_path_factory.mktemp("item"),
    )
    return user, catalog


@pytest.fixture(scope="module")
def encoders(graphs: tuple[Path, Path], schema: DatasetSchema) -> Encoders:
    return read_encoders(*graphs, schema)


def test_every_feature_has_an_encoder(encoders: Encoders) -> None:
    assert set(encoders.features) == {
        "cross/seconds",
        "cross/liked",
        "cross/empty",
        "context/tab",
        "user/country",
        "inherent/author",
        "inherent/words",
        "inherent/height",
    }


def test_vocabularies_hold_the_frequent_values_by_frequency(encoders: Encoders) -> None:
    counts: dict[int, int] = {}
    for example in users():
        for value in np.asarray(example["history/liked"]).tolist():
            counts[value] = counts.get(value, 0) + 1
    liked = encoders.features["cross/liked"]
    assert isinstance(liked, Vocabulary)
    assert set(liked.values) == {v for v, n in counts.items() if n >= 3 and v != -1}
    assert [counts[int(v)] for v in liked.values] == sorted((counts[int(v)] for v in liked.values), reverse=True)
    assert counts[99] == 1
    country = encoders.features["user/country"]
    assert isinstance(country, Vocabulary)
    assert set(country.values) == {"fr", "de"}
    tab = encoders.features["context/tab"]
    assert isinstance(tab, Vocabulary)
    assert set(tab.values) == {"home", "search", "été"}


def test_boundaries_are_quantiles(encoders: Encoders) -> None:
    heights = np.sort(np.concatenate([np.asarray(i["height"]) for i in items()]))
    found = encoders.features["inherent/height"]
    assert isinstance(found, Boundaries)
    ranks = np.searchsorted(heights, found.values)
    np.testing.assert_allclose(ranks, [10, 20, 30], atol=1)


def test_a_feature_without_any_value_has_harmless_boundaries(encoders: Encoders) -> None:
    found = encoders.features["cross/empty"]
    assert isinstance(found, Boundaries)
    assert np.isfinite(found.values).all()


def test_items_of_the_future_leave_no_trace(encoders: Encoders) -> None:
    authors, words, heights = (encoders.features[f"inherent/{name}"] for name in ("author", "words", "height"))
    assert isinstance(authors, Vocabulary) and isinstance(words, Vocabulary) and isinstance(heights, Boundaries)
    assert 77 not in authors.values and authors.values
    assert set(words.values) == {"a", "b", "c"}
    assert max(heights.values) < 1


@pytest.mark.parametrize("which", [0, 1])
def test_encoders_equal_the_transform_graph_index_for_index(
    which: int, graphs: tuple[Path, Path], encoders: Encoders, schema: DatasetSchema
) -> None:
    config = (user_transform_config if which == 0 else catalog_transform_config)(schema, CONFIG)
    transformed = tft.TFTransformOutput(str(graphs[which]))
    rng = np.random.default_rng(9)
    raw: dict[str, tf.SparseTensor] = {}
    rows = 200
    for name, spec in transformed.raw_feature_spec().items():
        raw[name] = tf.sparse.from_dense(tf.ones([rows, 3], spec.dtype if spec.dtype != tf.string else tf.int64))
        values = random_values(spec.dtype, encoders, 3 * rows, rng)
        raw[name] = tf.SparseTensor(raw[name].indices, values, [rows, 3])
    outputs = transformed.transform_raw_features(raw)
    for column in config["columns"]:
        key = column["key"]
        expected = outputs[key].values.numpy()
        got = make_encoder(encoders.features[key], "encoder")(raw[column["column"]].values).numpy()
        np.testing.assert_array_equal(got, expected, err_msg=key)
        assert len(set(got.tolist())) > 1


def random_values(dtype: tf.DType, encoders: Encoders, count: int, rng: np.random.Generator) -> tf.Tensor:
    """Known, unknown, missing and border values mixed."""
    known: list[object] = []
    for statistics in encoders.features.values():
        if isinstance(statistics, Vocabulary) and statistics.dtype == dtype.name:
            known += statistics.values
        if isinstance(statistics, Boundaries) and dtype == tf.float32:
            known += [v for x in statistics.values for v in (x, np.nextafter(np.float32(x), np.float32(-np.inf)))]
    if dtype == tf.float32:
        pool = [*known, np.nan, np.inf, -np.inf, 0.0, -1.0, *rng.normal(size=20), *(rng.normal(size=20) * 1e6)]
    elif dtype == tf.int64:
        pool = [*known, -1, -2, 0, 2**62, *rng.integers(-100, 100, 20).tolist()]
    else:
        pool = [*known, "", " ", "-1", "unheard of", "ÉTÉ"]
    return tf.constant([pool[i] for i in rng.integers(0, len(pool), count)], dtype)


def test_a_data_set_with_nothing_to_encode(schema: DatasetSchema, tmp_path: Path) -> None:
    config = {**catalog_transform_config(schema, CONFIG), "columns": []}
    graph = analyze(items(), catalog_example_schema(schema), config, tmp_path)
    assert (graph / "transform_fn" / "saved_model.pb").is_file()
