"""What a search reads of items: handed in, kept with the item table, moved when the table is replaced."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.catalog import CatalogRows
from model.config import TwinConfig
from model.item_table import UNKNOWN_ID, ItemTable
from model.search_features import SearchArray, SearchFeatureError, empty_search_features, values_of
from model.servable_table import TableRows, read_ids, replace_table
from model.train import assign_search
from tests.rivals import rival_ranker
from tests.toy import ITEM_IDS


def test_values_go_to_their_ids_and_others_are_zero() -> None:
    found = values_of(np.array([1, 5, 9]), np.array([9, 1, 7]), np.array([[9.0, 90], [1, 10], [7, 70]]))
    np.testing.assert_array_equal(found, [[1, 10], [0, 0], [9, 90]])
    np.testing.assert_array_equal(values_of(np.array([1]), np.array([], np.int64), np.array([], np.int32)), [0])


def test_which_interests_read_which_arrays() -> None:
    names = ("twin", "sim_hard", "sim_soft", "sim_cluster", "sim_cluster_plus")
    shapes = {
        name: {n: (v.shape, v.dtype) for n, v in empty_search_features(TwinConfig(interest=name)).items()}  # type: ignore[arg-type]
        for name in names
    }
    clusters = {"cluster": ((1,), np.int32)}
    assert shapes == {
        "twin": {},
        "sim_hard": {},
        "sim_soft": {"embedding": ((1, 64), np.float32)},
        "sim_cluster": clusters,
        "sim_cluster_plus": clusters,
    }


def test_the_table_takes_one_value_an_item_and_zero_for_the_unknown() -> None:
    table = ItemTable({"item_id": None}, 1, 1, "float32", {"cluster": np.zeros([1], np.int32)})
    table.assign(np.array([3, 4]), {"item_id": np.array([1, 2], np.int32)})
    table.assign_search("cluster", np.array([8, 9], np.int32))
    np.testing.assert_array_equal(table.search["cluster"], [0, 8, 9])
    with pytest.raises(ValueError, match=r"'cluster': expected int32 \[2\], got int32 \[3\]"):
        table.assign_search("cluster", np.array([1, 2, 3], np.int32))
    with pytest.raises(ValueError, match=r"no search feature 'embedding'; it has \['cluster'\]"):
        table.assign_search("embedding", np.zeros([2, 4], np.float32))
    table.assign(np.array([5]), {"item_id": np.array([1], np.int32)})
    np.testing.assert_array_equal(table.search["cluster"], [0, 0])  # no item keeps another's


def _catalog() -> CatalogRows:
    return CatalogRows(ITEM_IDS, np.ones(len(ITEM_IDS), np.int64), {}, ITEM_IDS, 1.0)


def test_arrays_of_the_pipeline_reach_their_items() -> None:
    ranker = rival_ranker("sim_cluster")
    assign_search(ranker, _catalog(), {"cluster": SearchArray(ITEM_IDS[[7, 2]], np.array([70, 20], np.int32))})
    expected = np.zeros(len(ITEM_IDS) + 1)
    expected[[8, 3]] = [70, 20]
    np.testing.assert_array_equal(ranker.item_table.search["cluster"], expected)


def test_missing_and_needless_arrays_are_named() -> None:
    with pytest.raises(SearchFeatureError, match=r"'sim_soft' searches by \['embedding'\] of every item, got \[\]"):
        assign_search(rival_ranker("sim_soft"), _catalog(), {})
    clusters = {"cluster": SearchArray(ITEM_IDS, np.zeros(len(ITEM_IDS), np.int32))}
    with pytest.raises(SearchFeatureError, match=r"'eta' searches by no arrays of every item, got \['cluster'\]"):
        assign_search(rival_ranker("eta"), _catalog(), clusters)


class _Servable(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        search = {"cluster": np.zeros([1], np.int32), "embedding": np.zeros([1, 2], np.float32)}
        self.item_table = ItemTable({"item_id": None}, 1, 2, "float32", search)
        self.item_table.assign(np.array([5, 9]), {"item_id": np.array([1, 2], np.int32)})
        self.item_table.assign_search("cluster", np.array([50, 90], np.int32))
        self.item_table.assign_search("embedding", np.array([[5, 6], [9, 10]], np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="item_id")])
    def look_up(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        row = self.item_table.lookup(item_id)
        return {name: tf.gather(values, row) for name, values in self.item_table.search.items()}


def test_a_replaced_table_keeps_what_its_items_had(tmp_path: Path) -> None:
    model = _Servable()
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"serving_default": model.look_up})
    new = np.array([UNKNOWN_ID, 2, 9, 11], np.int64)
    index = {"item_id": np.array([0, 0, 2, 0], np.int32)}
    rows = TableRows(new, np.ones([4, 2], np.float32), np.ones(1, np.float32), index)
    replace_table(tmp_path / "1", rows, tmp_path / "2")
    assert read_ids(tmp_path / "2").tolist() == new.tolist()
    look_up = tf.saved_model.load(str(tmp_path / "2")).signatures["serving_default"]
    answer = look_up(tf.constant([5, 9, 11, 2], tf.int64))
    np.testing.assert_array_equal(answer["cluster"], [0, 90, 0, 0])  # 5 is gone, 11 and 2 are new
    np.testing.assert_array_equal(answer["embedding"], [[0, 0], [9, 10], [0, 0], [0, 0]])
