"""Texts of items, from tables as the pipeline takes them."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from model.feature import Dtype
from model.schema import DatasetSchema, item_key
from pipelines.experiments.items import describe_items
from tests.toy import toy_schema


def schema_of(dtype: Dtype) -> DatasetSchema:
    schema = toy_schema()
    return dataclasses.replace(schema, item_id=dataclasses.replace(schema.item_id, name="item_id", dtype=dtype))


def test_ids_of_text_stay_text(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n007,Bond\n7,Seven\n")
    texts = describe_items(tmp_path, schema_of("string"), {item_key("007"), item_key("7")})
    assert texts == {item_key("007"): "Bond", item_key("7"): "Seven"}


def test_rows_that_the_pipeline_leaves_out_are_no_items(tmp_path: Path) -> None:
    rows = ["item_id,title", "1,One", ",Nobody", "x,No number", "2,Two,too,many", "1,One again", '3,"Three\nlines"']
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "1.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "items" / "2.csv").touch()
    assert describe_items(tmp_path, schema_of("int64"), {1, 2, 3}) == {1: "One", 3: "Three\nlines"}


def test_an_id_of_another_encoding_is_no_item(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes(b"item_id,title\na,One\n\xe9x,Two\n")
    assert describe_items(tmp_path, schema_of("string"), {item_key("a")}) == {item_key("a"): "One"}


def test_binary_ids_are_text(tmp_path: Path) -> None:
    table = pa.table({"item_id": pa.array([b"a"], pa.binary()), "title": ["One"]})
    pq.write_table(table, tmp_path / "items.parquet")
    assert describe_items(tmp_path, schema_of("string"), {item_key("a")}) == {item_key("a"): "One"}


def test_text_of_parquet_need_not_be_utf_8(tmp_path: Path) -> None:
    ids = pa.array([b"a", b"\xe9x"], pa.binary()).cast(pa.string(), safe=False)
    titles = pa.array([b"Caf\xe9", b"Two"], pa.binary()).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"item_id": ids, "title": titles}), tmp_path / "items.parquet")
    assert describe_items(tmp_path, schema_of("string"), {item_key("a")}) == {item_key("a"): "Caf\ufffd"}


def test_columns_that_are_no_features_are_not_read(tmp_path: Path) -> None:
    bad = pa.array([b"\xe9"], pa.binary()).cast(pa.string(), safe=False)
    brand = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), bad)
    titles = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["One"]))
    topics = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), bad)
    name = next(feature.name for feature in toy_schema().inherent if feature.multi_hot)
    pq.write_table(
        pa.table({"item_id": [1], "title": titles, "brand": brand, name: topics}), tmp_path / "items.parquet"
    )
    assert describe_items(tmp_path, schema_of("int64"), {1}) == {1: "One"}


def test_an_id_without_an_end_is_no_item(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": [1.0, float("inf")], "title": ["One", "None"]}), tmp_path / "items.parquet")
    assert describe_items(tmp_path, schema_of("int64"), {1}) == {1: "One"}


def test_a_title_of_another_encoding_is_readable(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes("item_id,title\n1,Caf\u00e9\n".encode("latin-1"))
    assert describe_items(tmp_path, schema_of("int64"), {1}) == {1: "Caf\ufffd"}


def test_without_a_title_the_features_speak(tmp_path: Path) -> None:
    names = [feature.name for feature in toy_schema().inherent]
    header, row = ",".join(["item_id", *names]), ",".join(["1", *["5"] * len(names)])
    (tmp_path / "items.csv").write_text(f"{header}\n{row}\n")
    (text,) = describe_items(tmp_path, schema_of("int64"), {1}).values()
    assert text == ", ".join(f"{name.removesuffix('_id').replace('_', ' ')} 5" for name in names)
