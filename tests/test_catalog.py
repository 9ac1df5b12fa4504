"""Catalog Examples to table rows."""

import dataclasses
from pathlib import Path

import numpy as np

from model.catalog import read_catalog, rows_to_keep
from tests.toy import ENCODERS, ITEM_IDS, SMALL, toy_schema
from tests.training_data import catalog_rows, write


def test_rows_are_sorted_and_encoded(tmp_path: Path) -> None:
    rows = catalog_rows(np.random.default_rng(0))
    file = write(tmp_path / "c.gz", rows[::-1])
    catalog = read_catalog([file], toy_schema(), ENCODERS, dataclasses.replace(SMALL, min_item_frequency=21))
    np.testing.assert_array_equal(catalog.item_id, ITEM_IDS)
    assert catalog.coverage == 1.0
    # Frequencies are 50, 49, ...: items 0 to 29 reach 21, most frequent first.
    np.testing.assert_array_equal(catalog.known_ids, ITEM_IDS[:30])
    np.testing.assert_array_equal(catalog.index["item_id"], [*range(1, 31), *[0] * 10])
    np.testing.assert_array_equal(catalog.index["author_id"], 2 + np.arange(40) % 10)
    np.testing.assert_array_equal(catalog.index["duration_seconds"][[0, 5, 10, 39]], [1, 2, 3, 3])
    topics = np.asarray(rows[2]["topics"])  # three of them; the table keeps two
    np.testing.assert_array_equal(catalog.index["topics"][2], topics[:2] + 2)
    np.testing.assert_array_equal(catalog.index["topics"][0], [np.asarray(rows[0]["topics"])[0] + 2, 0])


def test_known_ids_of_an_earlier_model_keep_their_indices(tmp_path: Path) -> None:
    file = write(tmp_path / "c.gz", catalog_rows(np.random.default_rng(0)))
    config = dataclasses.replace(SMALL, min_item_frequency=49)
    gone = 999
    catalog = read_catalog([file], toy_schema(), ENCODERS, config, [ITEM_IDS[7], gone])
    np.testing.assert_array_equal(catalog.known_ids, [ITEM_IDS[7], gone, ITEM_IDS[0], ITEM_IDS[1]])
    assert catalog.index["item_id"][7] == 1
    assert catalog.index["item_id"][0] == 3


def test_the_row_budget_keeps_the_most_frequent_and_reports_coverage() -> None:
    ids, frequency = np.array([30, 10, 20, 40]), np.array([5, 1, 0, 4])
    kept, coverage = rows_to_keep(ids, frequency, 2)
    np.testing.assert_array_equal(ids[kept], [30, 40])
    assert coverage == 0.9
    assert rows_to_keep(ids, frequency, 0)[1] == 1.0
    kept, coverage = rows_to_keep(ids, np.zeros(4, int), 1)
    assert (kept.tolist(), coverage) == ([1], 1.0)
