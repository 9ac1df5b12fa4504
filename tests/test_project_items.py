"""The projection job: a catalog through a servable's `project_items` to shards and a manifest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from model.export import export
from model.schema import item_key, load_schema
from model.servable_table import read_spec, read_table
from pipelines.beam_options import beam_options
from pipelines.project_items import ProjectionError, projector
from pipelines.projection_job import project_examples, project_tables
from pipelines.projection_shards import read_rows
from pipelines.readers import RawDataError
from tests.test_portable_runner import portable_args  # noqa: F401
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, toy_ranker, toy_schema

MISSING_TOPIC = -1


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "1"
    export(toy_ranker(), toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, out)
    return out


def write_items(
    folder: Path, name: str, rows: list[tuple[Any, Any, Any, Any]], id_type: pa.DataType = pa.int64()
) -> None:
    (folder / "items").mkdir(parents=True, exist_ok=True)
    columns = list(zip(*rows, strict=True))
    types = [id_type, pa.int64(), pa.list_(pa.int64()), pa.float32()]
    names = ["item_id", "author_id", "topics", "duration_seconds"]
    arrays = [pa.array(list(values), kind) for values, kind in zip(columns, types, strict=True)]
    pq.write_table(pa.table(dict(zip(names, arrays, strict=True))), folder / "items" / name, row_group_size=2)


def shard_rows(folder: Path) -> dict[int, dict[str, Any]]:
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = [row for shard in manifest["shards"] for row in pq.read_table(folder / shard["file"]).to_pylist()]
    return {row["item_id"]: row for row in rows}


def test_items_get_the_signatures_projections(servable: Path, tmp_path: Path) -> None:
    # The third has three topics, of which the table keeps two; 9999 is new; the fifth misses everything.
    rows = [
        (100, 500, [0], 3.0),
        (107, 509, [], 7.0),
        (114, 777, [5, 2, 1], 30.0),
        (9999, 501, [3, 4], 90.0),
        (121, None, None, None),
    ]
    write_items(tmp_path / "data", "a.parquet", rows)
    manifest = project_tables(servable, str(tmp_path / "data"), toy_schema(), tmp_path / "out", beam_options())

    found = shard_rows(tmp_path / "out")
    assert sorted(found) == [100, 107, 114, 121, 9999]
    # Indices: missing 0, unknown 1, the i-th value 2 + i; buckets 1 + number of borders (5, 10, 60) <= x.
    assert [found[i]["index/author_id"] for i in (100, 107, 114, 9999, 121)] == [2, 11, 1, 3, 0]
    assert [found[i]["index/topics"] for i in (100, 107, 114, 9999, 121)] == [[2, 0], [0, 0], [7, 4], [5, 6], [0, 0]]
    assert [found[i]["index/duration_seconds"] for i in (100, 107, 114, 9999, 121)] == [1, 2, 3, 4, 0]
    assert [found[i]["index/item_id"] for i in (100, 107, 114, 9999, 121)] == [1, 2, 3, 0, 4]
    direct = projector(str(servable))(
        np.array([114]),
        {
            "author_id": np.array([777]),
            "topics": np.array([[5, 2]]),
            "topics/length": np.array([2]),
            "duration_seconds": np.array([30.0], np.float32),
        },
    )
    np.testing.assert_allclose(found[114]["projection"], direct["projection"][0], rtol=1e-6)
    assert (manifest["rows"], manifest["read"], manifest["projection_dim"]) == (5, 5, 8)
    all_projections = np.array([row["projection"] for row in found.values()])
    np.testing.assert_allclose(manifest["max_abs"], np.abs(all_projections).max(axis=0), rtol=1e-6)
    assert manifest["made_from"]["servable"] == str(servable)
    schema = pq.read_schema(tmp_path / "out" / manifest["shards"][0]["file"])
    assert schema.field("item_id").type == pa.int64()
    assert schema.field("projection").type == pa.list_(pa.float32(), 8)
    assert schema.field("index/topics").type == pa.list_(pa.int32(), 2)


def test_bad_rows_are_dead_letters_and_counts_reconcile(servable: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    good = (100, 500, [0], 1.0)
    write_items(data, "a.parquet", [good, (None, 500, [0], 1.0), (-4, 500, [0], 1.0), (107, 500, [0], 1.0)])
    write_items(data, "b.parquet", [(107, 501, [0], 1.0), good, (114, 500, [0], 1.0)])
    header = "item_id,author_id,topics,duration_seconds\n"
    (data / "items" / "c.csv").write_text(
        # 121 is unusable in its first row, so its second one counts; the last line has a field too many.
        header + "abc,500,1|2,1.0\n121,many,1,1.0\n121,502,1|2,1.0\n128,500,1,1.0,7\n"
    )
    manifest = project_tables(servable, str(data), toy_schema(), tmp_path / "out", beam_options())

    found = shard_rows(tmp_path / "out")
    assert sorted(found) == [100, 107, 114, 121]
    assert found[107]["index/author_id"] == 2  # the first file's row, author 500
    assert found[121]["index/author_id"] == 4
    expected = {"null_id": 1, "garbage_id": 2, "duplicate_item": 2, "bad_value": 1, "malformed_row": 1}
    assert manifest["dead_letters"] == expected
    assert (manifest["read"], manifest["rows"]) == (11, 4)
    letters = pq.read_table(tmp_path / "out" / "dead_letters").to_pylist()
    assert len(letters) == 7
    duplicates = [(Path(x["file"]).name, x["row"], x["value"]) for x in letters if x["reason"] == "duplicate_item"]
    assert sorted(duplicates) == [("b.parquet", 1, "107"), ("b.parquet", 2, "100")]
    bad = next(x for x in letters if x["reason"] == "bad_value")
    assert (Path(bad["file"]).name, bad["row"], bad["column"], bad["value"]) == ("c.csv", 2, "author_id", "many")


def test_string_ids_become_item_keys(tmp_path: Path) -> None:
    folder = tmp_path / "schema"
    folder.mkdir()
    for file in toy_schema().folder.glob("*.pbtxt"):
        text = file.read_text().replace('name: "item_id" type: INT', 'name: "item_id" type: BYTES')
        (folder / file.name).write_text(text)
    schema = load_schema(folder)
    export(toy_ranker(), schema, ENCODERS, ITEM_IDS[:KNOWN], 1.0, tmp_path / "1")
    rows = [("film é", 500, [0], 1.0), ("", 500, [0], 1.0), ("x", 500, [0], 1.0), ("x", 500, [0], 1.0)]
    write_items(tmp_path / "data", "a.parquet", rows, pa.string())
    manifest = project_tables(tmp_path / "1", str(tmp_path / "data"), schema, tmp_path / "out", beam_options())
    assert sorted(shard_rows(tmp_path / "out")) == sorted([item_key("film é"), item_key("x")])
    assert manifest["dead_letters"] == {"null_id": 1, "duplicate_item": 1}


def test_catalog_examples_give_the_exported_table(servable: Path, tmp_path: Path) -> None:
    """Projecting items by their raw features repeats the table that the model itself computed."""
    authors, topics, durations = _raw_features(servable)
    path = tmp_path / "catalog.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for item, author, topic, duration in zip(ITEM_IDS, authors, topics, durations, strict=True):
            example = tf.train.Example()
            example.features.feature["item_id"].int64_list.value.append(item)
            example.features.feature["author_id"].int64_list.value.extend([author] if author >= 0 else [])
            example.features.feature["topics"].int64_list.value.extend(t for t in topic)
            example.features.feature["duration_seconds"].float_list.value.extend([duration] if duration else [])
            writer.write(example.SerializeToString())
    manifest = project_examples(servable, [str(path)], toy_schema(), tmp_path / "out", beam_options())
    assert manifest["rows"] == len(ITEM_IDS)
    table, again = read_table(servable), read_rows(tmp_path / "out", read_spec(servable))
    np.testing.assert_array_equal(again.ids, table.ids)
    for feature, values in table.index.items():
        np.testing.assert_array_equal(again.index[feature], values, err_msg=feature)
    np.testing.assert_allclose(again.projection, table.projection, rtol=1e-5, atol=1e-6)


def _raw_features(servable: Path) -> tuple[list[int], list[list[int]], list[float]]:
    """Raw values whose indices are those of the servable's table."""
    index = read_table(servable).index
    authors = [{0: -1, 1: 123456}.get(i, 498 + i) for i in index["author_id"][1:].tolist()]
    # An absent topic within a list is -1.
    topics = [[{0: MISSING_TOPIC, 1: 99}.get(i, i - 2) for i in pair] for pair in index["topics"][1:].tolist()]
    durations = [{0: 0.0, 1: 1.0, 2: 7.0, 3: 20.0, 4: 70.0}[i] for i in index["duration_seconds"][1:].tolist()]
    return authors, topics, durations


def test_runs_through_a_portable_runner(servable: Path, tmp_path: Path, portable_args: list[str]) -> None:  # noqa: F811
    write_items(tmp_path / "data", "a.parquet", [(100, 500, [0], 1.0), (100, 500, [0], 1.0), (7, 500, [1], 2.0)])
    manifest = project_tables(
        servable, str(tmp_path / "data"), toy_schema(), tmp_path / "out", beam_options(portable_args)
    )
    assert sorted(shard_rows(tmp_path / "out")) == [7, 100]
    assert manifest["dead_letters"] == {"duplicate_item": 1}


def test_user_errors_name_file_column_and_schema(servable: Path, tmp_path: Path) -> None:
    def project(data: Path) -> None:
        project_tables(servable, str(data), toy_schema(), tmp_path / "out", beam_options())

    with pytest.raises(RawDataError, match="no items table"):
        project(tmp_path)
    (tmp_path / "column" / "items").mkdir(parents=True)
    (tmp_path / "column" / "items" / "a.csv").write_text("item_id,topics,duration_seconds\n")
    with pytest.raises(RawDataError, match=r"a\.csv: column 'author_id'.* is missing"):
        project(tmp_path / "column")
    write_items(tmp_path / "unusable", "a.parquet", [(None, 1, [1], 1.0)])
    with pytest.raises(ProjectionError, match=r"no usable item \(1 rows read, {'null_id': 1}\)"):
        project(tmp_path / "unusable")
    write_items(tmp_path / "data", "a.parquet", [(1, 1, [1], 1.0)])
    with pytest.raises(ProjectionError, match=r"schema 'un_votes'.*author_id: model int64, schema none"):
        project_tables(servable, str(tmp_path / "data"), load_schema("un_votes"), tmp_path / "out", beam_options())


def test_damaged_or_unfinished_shards_are_refused(servable: Path, tmp_path: Path) -> None:
    spec, out = read_spec(servable), tmp_path / "out"
    write_items(tmp_path / "data", "a.parquet", [(1, 500, [1], 1.0), (2, 500, [1], 1.0)])
    manifest = project_tables(servable, str(tmp_path / "data"), toy_schema(), out, beam_options())
    shard = out / manifest["shards"][0]["file"]
    content = shard.read_bytes()
    shard.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(ProjectionError, match="damaged: SHA-256"):
        read_rows(out, spec)
    shard.unlink()
    with pytest.raises(ProjectionError, match="missing, although"):
        read_rows(out, spec)
    (out / "manifest.json").unlink()
    with pytest.raises(ProjectionError, match="did not finish"):
        read_rows(out, spec)
