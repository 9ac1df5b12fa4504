"""Item vectors: from an item table, through files, with durations."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from model.feature import Feature, Role
from model.servable_table import TableRows
from pipelines.clustering.durations import catalog_durations, table_durations
from pipelines.clustering.vectors import (
    ItemVectors,
    VectorsError,
    load_vectors,
    save_vectors,
    table_vectors,
    with_durations,
)
from tests.preprocess_support import EVENTS, ITEMS, write_csv, write_schema
from tests.training_data import write


def test_rows_and_values() -> None:
    values = np.array([[1, -2], [3, 4]], np.int8)
    vectors = ItemVectors(np.array([5, 9]), values, np.array([0.5, 2.0], np.float32))
    assert vectors.rows(np.array([9, 5, 7, 10, 1])).tolist() == [1, 0, -1, -1, -1]
    found = vectors.at(np.array([1, 0, 1]))
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, 8.0], [0.5, -4.0], [1.5, 8.0]]
    none = ItemVectors(np.zeros(0, np.int64), np.zeros((0, 2), np.float32), np.ones(2, np.float32))
    assert none.rows(np.array([1])).tolist() == [-1]


def test_files_bring_back_what_was_saved(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    vectors = ItemVectors(np.array([5, 9]), values, np.ones(3, np.float32))
    vectors = with_durations(vectors, np.array([9, 7]), np.array([4.0, 5.0], np.float32))
    save_vectors(vectors, tmp_path / "deep" / "vectors")
    found = load_vectors(tmp_path / "deep" / "vectors")
    assert isinstance(found.values, np.memmap)
    assert np.array_equal(found.at(np.array([0, 1])), values)
    assert found.duration is not None and np.array_equal(found.duration, [np.nan, 4.0], equal_nan=True)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["vectors"]
    with pytest.raises(VectorsError, match=r"no item vectors \(expected ids.npy"):
        load_vectors(tmp_path)


def test_bfloat16_becomes_float32() -> None:
    exact = np.array([[0, 0], [1.5, -2.25]])
    table = TableRows(np.array([-(1 << 63), 7]), exact.astype(tf.bfloat16.as_numpy_dtype), np.ones(2, np.float32), {})
    vectors = table_vectors(table)
    assert vectors.values.dtype == np.float32
    assert (vectors.ids.tolist(), vectors.values.tolist()) == ([7], [[1.5, -2.25]])


def test_durations_of_a_raw_table(tmp_path: Path) -> None:
    items = ITEMS.replace("type: FLOAT annotation {", 'type: FLOAT annotation { tag: "duration"')
    events = EVENTS.replace("type: FLOAT annotation {", 'type: FLOAT annotation { tag: "completion"')
    schema = write_schema(tmp_path / "schema", events, items)
    assert schema.duration is not None
    rows = {
        "item": ["3", "1", "", "2", "1", "4"],
        "author": ["7"] * 6,
        "topics": [""] * 6,
        "size": ["2.5", "1.5", "9", "much", "8", ""],
    }
    write_csv(tmp_path / "items.csv", rows)
    keys, durations = table_durations(str(tmp_path), schema, schema.duration)
    assert keys.tolist() == [1, 3, 4]
    assert np.array_equal(durations, np.array([1.5, 2.5, np.nan], np.float32), equal_nan=True)
    pq.write_table(pa.table({"item": [8], "author": [1], "topics": [["a"]], "size": [4.0]}), tmp_path / "items.parquet")
    (tmp_path / "items.csv").unlink()
    assert table_durations(str(tmp_path), schema, schema.duration)[1].tolist() == [4.0]


def test_durations_of_catalog_examples(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"item_id": 8, "d": np.float32(3)},
        {"item_id": 2},
        {"item_id": 5, "d": np.float32(0)},
    ]
    file = write(tmp_path / "a.gz", rows)
    keys, durations = catalog_durations([file], Feature("d", Role.INHERENT, "float32"))
    assert keys.tolist() == [2, 5, 8]
    assert np.array_equal(durations, np.array([np.nan, 0, 3], np.float32), equal_nan=True)
